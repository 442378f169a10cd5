"""The backend of PaddlePaddle: the same functions as `torch_backend.py`.

Written for 2.6 and 3.3: machines with a GPU may have either.
"""

# pyright: reportPrivateImportUsage=false, reportAttributeAccessIssue=false
# (Paddle exports most of its names dynamically.)

from __future__ import annotations

import contextlib
import os
import platform
import re
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from paddle import nn

from parity.backends.paddle_autograd import autograd as autograd
from parity.backends.paddle_autograd import gradients as gradients
from parity.backends.paddle_autograd import is_tracked as is_tracked
from parity.backends.paddle_autograd import leaf as leaf
from parity.backends.paddle_autograd import like as like
from parity.backends.paddle_autograd import random_numbers as random_numbers
from parity.backends.paddle_eager import eager as eager
from parity.backends.paddle_export import export_onnx
from parity.backends.paddle_float64 import exact_operators
from parity.backends.paddle_functions import describe_function as describe_function
from parity.backends.paddle_functions import functions as functions
from parity.backends.paddle_runner import WAYS as WAYS
from parity.backends.paddle_runner import runner as runner
from parity.backends.stand_in import TensorPlace, stand_ins
from parity.errors import ParityError
from parity.functions import neutral_name
from parity.layers import PADDLE_WORDS, known, pair
from parity.numerics.arrays import Array, same_bits
from parity.weights.fit import fitted
from parity.weights.names import neutral_role
from parity.weights.state import Slot, State, partner, paths

NAME = "paddle"

_KINDS = {
    **{f"Conv{n}DTranspose": f"ConvTranspose{n}d" for n in (1, 2, 3)},
    **dict.fromkeys(("Silu", "Swish"), "SiLU"),
}


def build(name: str, **options: Any) -> nn.Layer:
    """Return the twin of that name, its weights not initialised: `set_state` sets all of them.

    Raises:
        ParityError: For an unknown name, listing near matches.
    """
    import paddle_cnn

    zero = nn.initializer.Constant(0.0)  # skips the framework's own initialisation, which takes longer than a run
    nn.initializer.set_global_initializer(zero, zero)
    try:
        network = paddle_cnn.build(name, **options)
    except ValueError as error:
        raise ParityError(str(error)) from error
    finally:
        nn.initializer.set_global_initializer(None)
    network.eval()
    return network


def hollow(network: nn.Layer) -> nn.Layer:
    """Return the network without its weights, if the framework can run it so, for the shapes only: Paddle cannot."""
    return network


def use(device: str, threads: int) -> str:
    """Choose device and number of threads for this process; return the device's name, "cpu" or "gpu".

    Raises:
        ParityError: If a GPU is asked for and Paddle sees none.
    """
    del threads  # the worker has set OMP_NUM_THREADS before the import of Paddle, which has no call for it
    compiled = paddle.device.is_compiled_with_cuda()
    count = paddle.device.cuda.device_count() if compiled else 0
    if device == "gpu" and not count:
        built = f"built for CUDA {paddle.version.cuda()}" if compiled else "a build without CUDA"
        raise ParityError(
            f"--device gpu: paddle {paddle.__version__} ({built}) sees no GPU. "
            "Install paddlepaddle-gpu, check nvidia-smi and the driver, or use --device cpu."
        )
    chosen = "gpu" if device != "cpu" and count else "cpu"
    _ = paddle.set_device(chosen)
    return chosen


def place(network: nn.Layer, device: str) -> nn.Layer:
    """Return the network on the device that `use` named."""
    return network.to(device) or network


def layers(network: nn.Layer) -> Iterable[tuple[str, nn.Layer]]:
    """Yield every layer once, under its first dotted path; the network itself is ""."""
    return network.named_sublayers(include_self=True)


def _kind(layer: nn.Layer) -> str:
    """Return the neutral kind: of Paddle's layer that it is or is derived from; else the name of its class."""
    paddle_class = next(cls for cls in type(layer).__mro__ if cls.__module__.startswith("paddle."))
    name = (type(layer) if paddle_class is nn.Layer else paddle_class).__name__
    return _KINDS.get(name, re.sub(r"(\d)D$", r"\1d", name))


def describe(layer: nn.Layer) -> tuple[str, dict[str, Any]]:
    """Return a layer's neutral kind and configuration."""
    kind = _kind(layer)
    config = {}
    for word in known(kind).settings:
        paddle_word = PADDLE_WORDS.get(word, word)  # the attribute may start with an underscore
        for attribute in (paddle_word, f"_{paddle_word}"):
            if attribute in layer.__dict__:
                config[word] = pair(layer.__dict__[attribute], word, kind)
    if kind == "Linear":
        config = dict(zip(("in_features", "out_features"), map(int, layer.weight.shape), strict=True))
    elif kind == "BatchNorm":  # the old one, with an activation inside; False is its default for "as in training"
        config |= {"num_features": int(layer.weight.shape[0]), "momentum": round(1 - layer._momentum, 12)}
        config |= {"track_running_stats": True, "use_global_stats": layer._use_global_stats or None}
        config |= {"act": neutral_name(layer._act).replace("_", "")} if layer._act else {}
    elif "momentum" in known(kind).settings:
        config["momentum"] = round(1 - config["momentum"], 12)  # Paddle's is the factor of the old statistics
        given = layer._use_global_stats  # False: the batch's statistics, in evaluation too
        config |= {"track_running_stats": given is not False, "use_global_stats": given}
    elif "affine" in known(kind).settings:
        config |= {"affine": layer._weight_attr is not False, "track_running_stats": False}
    elif kind in ("MaxPool2d", "AvgPool2d"):
        kernel = pair(layer.ksize, "kernel_size")
        config = {"kernel_size": kernel, "stride": kernel, **{k: v for k, v in config.items() if v is not None}}
        if kind == "AvgPool2d":
            config |= {"count_include_pad": not layer.exclusive, "divisor_override": layer.divisor}
        else:
            config["dilation"] = [1, 1]
    elif kind == "Dropout":
        config |= {"mode": layer.mode} if layer.mode != "upscale_in_train" else {}
        config |= {"axis": layer.axis} if layer.axis is not None else {}
    elif kind == "UpsamplingBilinear2d":
        config |= {"mode": "bilinear", "align_corners": True, "align_mode": 0}
    elif kind == "GELU":
        config["approximate"] = "tanh" if config["approximate"] else "none"
    return kind, {**config, "training": layer.training}


def _is_transposed(layer: nn.Layer, role: str) -> bool:
    """Return whether Paddle stores a tensor transposed: the layer's kind decides, never the shape."""
    return _kind(layer) == "Linear" and role in ("weight", "weight_v")


def _tensors(network: nn.Layer) -> dict[str, tuple[Slot, Any, nn.Layer]]:
    """Return each weight's slot, tensor and layer; one that layers share is listed under each of its names."""
    tensors, first_names = dict[str, tuple[Slot, Any, nn.Layer]](), dict[int, tuple[str, bool]]()
    for path, layer in paths(network, lambda layer: layer._sub_layers):
        hidden = layer._non_persistable_buffer_names_set
        for key, tensor in [*layer._parameters.items(), *layer._buffers.items()]:
            if tensor is None or key in hidden:
                continue
            kind = _kind(layer)
            role = neutral_role(kind, str(key))
            name = f"{path}.{role}" if path else role
            if not tensor._is_initialized():
                raise ParityError(f"{name}: not initialised yet. Call its initialize(), then compare.")
            transposed = _is_transposed(layer, role)
            shape = tuple(map(int, tensor.shape))
            tied, other = first_names.setdefault(id(tensor), (name, transposed))
            buffer = key in layer._buffers and not role.startswith("running_")
            slot = Slot(shape[::-1] if transposed else shape, kind, role, buffer=buffer)
            if tied != name:
                slot = replace(slot, tied=tied, transposed=transposed != other)
            tensors[name] = (slot, tensor, layer)
    return tensors


def slots(network: nn.Layer) -> dict[str, Slot]:
    """Return the network's slots by neutral name, in order."""
    return {name: slot for name, (slot, _, _) in _tensors(network).items()}


def get_state(network: nn.Layer) -> State:
    """Return a copy of the network's weights in neutral form."""
    copies, tensors = dict[str, Array](), _tensors(network)
    for name, (slot, tensor, layer) in tensors.items():
        copies[name] = partner(copies, slot) if slot.tied else neutral(layer, slot.role, tensor.numpy())
    return State(copies, [name for name, (slot, _, _) in tensors.items() if slot.buffer])


def set_state(network: nn.Layer, state: State, name: str = "network") -> list[str]:
    """Copy a State into the network, every tensor exactly once, and return notes: `parity.weights.fit`.

    Raises:
        ParityError: Naming everything missing, unexpected or of the wrong shape; nothing is changed then.
    """
    tensors = _tensors(network)
    given, notes = fitted(state, {key: slot for key, (slot, _, _) in tensors.items()}, name, NAME)
    for key, array in given.items():
        slot, tensor, layer = tensors[key]
        if not slot.tied:
            # Transposing is its own inverse, so the same function converts from the neutral form.
            tensor.set_value(neutral(layer, slot.role, array.astype(tensor.numpy().dtype, copy=False)))
    return notes


def is_tensor(value: Any) -> bool:
    """Return whether a value is a tensor of this framework."""
    return isinstance(value, paddle.Tensor)


def is_plain(tensor: Any) -> bool:
    """Return whether a tensor is dense and holds real numbers, which numpy has."""
    return not tensor.is_sparse() and not tensor.is_complex()


def to_numpy(tensor: Any) -> Array:
    """Return a copy of a tensor's values; bfloat16, which numpy lacks, becomes float32."""
    if tensor.is_sparse():  # Paddle 3.3 crashes when it detaches one
        raise TypeError("a sparse tensor has no numpy array; make it dense with .to_dense()")
    tensor = tensor.detach()
    return (tensor.astype("float32") if tensor.dtype == paddle.bfloat16 else tensor).numpy()


def version(tensor: Any) -> int:
    """Return a number that grows whenever the tensor is changed in place."""
    return tensor.inplace_version


def to_tensor(array: Array, network: nn.Layer) -> Any:
    """Return the array as a tensor on the network's device; a floating one in the network's dtype."""
    like = next((tensor for _, tensor, _ in _tensors(network).values() if tensor.is_floating_point()), None)
    tensor = paddle.to_tensor(array, place=None if like is None else like.place)
    return tensor.astype(like.dtype) if like is not None and array.dtype.kind == "f" else tensor


@contextlib.contextmanager
def double(network: nn.Layer) -> Iterator[list[str]]:
    """Let the network compute in float64 for a while, with exact operators where Paddle's are not; yield as `native`.

    Paddle still stores each eps as float32; the torch backend rounds its own to match.
    """
    default = paddle.get_default_dtype()
    paddle.set_default_dtype("float64")
    try:
        with _replaced(network, "float64") as changed, exact_operators():
            yield changed
    finally:
        paddle.set_default_dtype(default)


def native(network: nn.Layer) -> AbstractContextManager[list[str]]:
    """Let the network compute in its own precision, but float64 as float32; its tensors are restored at the end.

    Returns:
        A context of a list: at its end, the names of weights that changed in it, statistics excluded.
    """
    first = next((tensor for _, tensor, _ in _tensors(network).values() if tensor.is_floating_point()), None)
    return _replaced(network, "float32" if first is not None and first.dtype == paddle.float64 else None)


def hollow_run(network: nn.Layer) -> None:
    """Return None: Paddle computes no shapes without the values."""
    del network


def _replaced(network: nn.Layer, dtype: str | None) -> AbstractContextManager[list[str]]:
    """Replace all tensors by copies, floating ones in another dtype, and put the originals back at the end."""

    def copied(tensor: Any) -> Any:
        floating = dtype is not None and tensor.is_floating_point()
        with paddle.no_grad():
            copy = tensor.detach().astype(dtype) if floating else tensor.detach().clone()
        copy.stop_gradient = tensor.stop_gradient
        return copy

    def equal(tensor: Any, copy: Any) -> bool:
        tensor, copy = tensor.detach().astype(copy.dtype), copy.detach()
        return bool(paddle.equal_all(tensor, copy)) or same_bits(to_numpy(tensor), to_numpy(copy))  # NaN, bit for bit

    _ = _tensors(network)  # refuses tensors that are not initialised
    places = list[TensorPlace]()
    for path, layer in layers(network):
        for store in (layer._parameters, layer._buffers):
            for key, tensor in store.items():
                if tensor is not None:
                    # BatchNorm's statistics are parameters, but not trained; a run may change them.
                    role = neutral_role(_kind(layer), str(key))
                    name = f"{path}.{role}" if path else role
                    weight = store is layer._parameters and not role.startswith("running_")
                    places.append(TensorPlace(name if weight else "", store, key, tensor))
    return stand_ins(places, copied, version, equal)


def neutral(layer: nn.Layer, role: str, array: Array) -> Array:
    """Return a layer's tensor in neutral orientation."""
    return np.ascontiguousarray(array.T) if _is_transposed(layer, role) else array


def parameters(layer: nn.Layer) -> dict[str, Any]:
    """Return a layer's own trained parameters by role."""
    return {
        neutral_role(_kind(layer), role): tensor
        for role, tensor in layer._parameters.items()
        if tensor is not None and not tensor.stop_gradient
    }


def frozen(layer: nn.Layer) -> list[str]:
    """Return the roles of a layer's own parameters that are not trained; statistics are none."""
    roles = {neutral_role(_kind(layer), role): tensor for role, tensor in layer._parameters.items()}
    return [
        role
        for role, tensor in roles.items()
        if tensor is not None and tensor.stop_gradient and not role.startswith("running_")
    ]


def statistics(layer: nn.Layer) -> dict[str, Any]:
    """Return the statistics that a layer keeps in training, by role."""
    roles = {
        neutral_role(_kind(layer), str(key)): tensor
        for key, tensor in [*layer._parameters.items(), *layer._buffers.items()]
    }
    return {role: tensor for role, tensor in roles.items() if role.startswith("running_") and tensor is not None}


def manifest(network: nn.Layer) -> dict[str, Any]:
    """Return framework, versions, device, dtype, threads, and the flags that change results."""
    first = next(iter(network.parameters()), paddle.zeros([1]))
    gpu = first.place.is_gpu_place()
    return {
        "framework": NAME,
        "version": paddle.__version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "machine": platform.machine(),
        "device": "gpu" if gpu else "cpu",
        "device_name": paddle.device.cuda.get_device_name() if gpu else platform.processor(),
        "dtype": str(first.dtype).removeprefix("paddle."),
        "threads": int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)),
        # Paddle has no flag for this: its GPU kernels use TF32 unless this variable of the driver is 0.
        "tf32": gpu and os.environ.get("NVIDIA_TF32_OVERRIDE") != "0",
        "deterministic": not gpu or bool(paddle.get_flags("FLAGS_cudnn_deterministic")["FLAGS_cudnn_deterministic"]),
    }


def export(network: nn.Layer, example: Array, path: Path, opset: int, dynamic_size: bool) -> dict[str, str]:
    """Write the network with paddle2onnx, from a saved program: the only way that never calls pip.

    Args:
        network: In evaluation mode, on the CPU.
        example: An input; its batch is dynamic in the file, with `dynamic_size` its height and width too.
        path: Of the new file.
        opset: Version of ONNX's operators.
        dynamic_size: Whether the image's size stays open.

    Returns:
        Each tensor's name in the State, by its name in the file.

    Raises:
        ParityError: If the exporter cannot take the network; some networks end the process instead.
    """
    export_onnx(network, example, path, opset, dynamic_size)
    return {tensor.name: name for name, (slot, tensor, _) in _tensors(network).items() if not slot.tied}
