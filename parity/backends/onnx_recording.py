"""Write the Trace of an ONNX file: one call for each node that computes floats."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from parity.layers import terms
from parity.numerics.arrays import Array
from parity.numerics.peaks import peaks
from parity.onnx_files.description import describe, layer_of
from parity.onnx_files.float64 import Nudge
from parity.onnx_files.layout import TO_LAST
from parity.onnx_files.model_file import ROUNDING, File
from parity.tracing.measured import measured_noise
from parity.tracing.trace import Call, Noise, TraceWriter

# A rounding before a grid of 256 steps may become a step: by how much it grows.
_STEP = 1 << 16


class Recording:
    """Writes the Trace of a file, one node at a time.

    Args:
        network: The file; it is told which node each call is.
        inputs: Its inputs by name, floating ones in float64.
        float32: What the runtime computed, by the tensor's name; each array is dropped after its use.
        path: Of the Trace.
        channels_last: Whether it takes pictures as (N, H, W, C); outputs that it turns to that are recorded before.
    """

    def __init__(
        self,
        network: File,
        inputs: Mapping[str, Array],
        float32: dict[str, Array],
        path: Path | str,
        channels_last: bool,
    ):
        graph = network.model.graph
        self._channels_last, self._first = channels_last, dict[str, str]()
        self._nodes, self._opset = network.nodes, network.opset
        self._nodes.clear()
        self._inputs, self._outputs = list(inputs), [output.name for output in graph.output]
        self._float32, self._writer = float32, TraceWriter(path)
        self._keys = {name: self._writer.add(array) for name, array in inputs.items()}
        self._shapes = {name: array.shape for name, array in inputs.items()}
        self._weights = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
        self._held = {tensor.name: tensor for tensor in graph.initializer}
        self._kernels = dict[tuple[str, int], tuple[int, ...]]()  # of weights that the graph computes
        self._noises, self._errors = dict[str, Noise](), dict[str, float]()
        self._counts, self._calls = dict[str, int](), list[Call]()

    def add(self, node: onnx.NodeProto, arrays: Mapping[str, Array], moved: Mapping[str, Array]) -> bool:
        """Write a node's outputs.

        Args:
            node: The next node of the graph.
            arrays: Its outputs in float64, by name.
            moved: The same outputs, computed from nudged constants.

        Returns:
            Whether the node is a call of the Trace: it is not if it computes a constant or a copy.
        """
        operands = node.input[:1] if node.op_type == "CastLike" else node.input  # its second gives only its dtype
        if all(name in self._weights for name in operands):  # a constant, or a constant given another shape: a bias
            self._weights |= {name: array.shape for name, array in arrays.items()}
            self._kernels |= {
                (name, axis): peaks(array, axis)
                for name, array in arrays.items()
                for axis in (0, 1)
                if array.dtype.kind == "f" and array.ndim > 1
            }
            return False
        if node.op_type in ROUNDING and node.input[0] in self._keys and node.output[0] not in self._outputs:
            # It is no call; the one that gives floats again is.
            self._keys[node.output[0]] = self._keys[node.input[0]]
            self._shapes[node.output[0]] = arrays[node.output[0]].shape
            return False
        copied = self._keys.get(node.input[0]) if node.op_type == "Identity" else None
        for name, array in arrays.items():
            if name in self._float32 and (array.dtype == np.float64 or name in self._outputs):
                self._noises[name] = measured_noise(self._float32.pop(name), array)
                self._keys[name] = copied or self._writer.add(array)
        if self._channels_last and _turns_last(node) and node.input[0] in self._noises:
            self._first[node.output[0]] = node.input[0]
        written = [name for name in arrays if name in self._noises]
        self._shapes |= {name: array.shape for name, array in arrays.items()}
        if not written or copied is not None:
            return False
        label = layer_of(node)
        number = self._counts[label] = self._counts.get(label, -1) + 1
        self._nodes[label, number] = node
        read = [name for name in node.input if name in self._keys]
        before, after = self._shapes[read[0] if read else written[0]], self._shapes[written[0]]
        kind, config = describe(node, self._weights, self._opset, after)
        self._errors |= {name: Nudge.allowance(moved[name], arrays[name]) if moved else 0.0 for name in written}
        longest = _STEP if read and node.op_type == "DequantizeLinear" else terms(config, before, after)
        self._calls.append(
            Call(
                layer=label, number=number, kind=kind, leaf=True, config=config,
                inputs=tuple(self._keys[name] for name in read), outputs=tuple(self._keys[name] for name in written),
                noise=tuple(self._noises[name] for name in written), terms=longest,
                replayable=False, gradients={}, gradient_noise={},
                known_error=max(self._errors[name] for name in written), kernel=self._kernel(node),
            )
        )  # fmt: skip
        return True

    def _kernel(self, node: onnx.NodeProto) -> tuple[int, ...]:
        """Return the peaks of a node's weight, empty without one."""
        turned = node.op_type in ("ConvTranspose", "MatMul") or (
            node.op_type == "Gemm" and not any(each.name == "transB" and each.i for each in node.attribute)
        )
        if node.op_type not in ("Conv", "ConvTranspose", "Gemm", "MatMul") or node.input[1] not in self._weights:
            return ()
        name, axis = node.input[1], int(turned)
        if name in self._held:
            return peaks(numpy_helper.to_array(self._held[name]), axis)
        return self._kernels.get((name, axis), ())

    def close(self, manifest: Mapping[str, Any]) -> None:
        """Write the call of the whole file and the manifest."""
        labels = tuple(str(name) for name in self._outputs if name in self._noises)
        outputs = [self._first.get(name, name) for name in labels]
        self._calls.append(
            Call(
                layer="", number=0, kind="File", leaf=False, config={},
                inputs=tuple(self._keys[name] for name in self._inputs),
                outputs=tuple(self._keys[name] for name in outputs),
                noise=tuple(self._noises[name] for name in outputs), terms=1, replayable=False,
                gradients={}, gradient_noise={},
                known_error=max((self._errors[name] for name in self._outputs if name in self._errors), default=0.0),
                labels=labels,
            )
        )  # fmt: skip
        self._writer.close(manifest, self._calls)


def _turns_last(node: onnx.NodeProto) -> bool:
    return node.op_type == "Transpose" and any(tuple(each.ints) == TO_LAST for each in node.attribute)
