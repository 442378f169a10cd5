"""The call of paddle2onnx, and the fix of the saved program that it reads."""

# pyright: reportPrivateImportUsage=false, reportAttributeAccessIssue=false
# (Paddle exports most of its names dynamically.)

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import paddle
from paddle import nn

from parity.backends.paddle_eager import sync_batch_norm_on_a_cpu
from parity.errors import ParityError
from parity.extras import install
from parity.numerics.arrays import Array
from parity.temporary import temporary_folder


def export_onnx(network: nn.Layer, example: Array, path: Path, opset: int, dynamic_size: bool) -> None:
    """Write a network's ONNX file, as `paddle_backend.export` describes it.

    Raises:
        ParityError: If the exporter cannot take the network; some networks end the process instead.
    """
    try:
        import paddle2onnx
    except ImportError as error:
        raise ParityError(f"paddle2onnx cannot be imported: {error}. {install('onnx')}") from error
    shape = [None, example.shape[1], *((None, None) if dynamic_size else example.shape[2:])]
    spec = paddle.static.InputSpec(shape, "float32", "image")
    with temporary_folder() as folder:
        saved = folder / "network"
        try:
            with sync_batch_norm_on_a_cpu():
                paddle.jit.save(network, str(saved), input_spec=[spec])
            program = saved.with_suffix(".json")
            _ = program.write_text(json.dumps(_float32_attributes(json.loads(program.read_text()))))
            _ = paddle2onnx.export(
                str(program),
                str(saved.with_suffix(".pdiparams")),
                str(path),
                opset_version=opset,
                optimize_tool="None",  # any other installs it by pip, or fails
            )
        except (Exception, SystemExit) as error:  # paddle2onnx ends the program where it should raise
            message = " ".join(str(error).split()) or "no message"
            raise ParityError(f"Paddle's exporter cannot take it: {type(error).__name__}: {message[-400:]}") from error
    if not path.is_file():
        raise ParityError("Paddle's exporter has written nothing")


def _float32_attributes(program: Any) -> Any:
    """Return a saved program with its float64 attributes as float32.

    Paddle 3.3 writes them as float64 and paddle2onnx 2.1 reads float32, so it reads arbitrary numbers: leaky_relu's
    slope, pad's value, group_norm's eps, interpolate's scale (docs/onnx.md). It reads only `full`'s value correctly.
    """
    if isinstance(program, list):
        return [_float32_attributes(item) for item in program]
    if not isinstance(program, dict) or program.get("#") == "1.full":
        return program
    converted = {key: _float32_attributes(item) for key, item in program.items()}
    return {**converted, "#": "0.a_f32"} if program.get("#") == "0.a_f64" else converted
