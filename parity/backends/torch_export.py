"""The call of torch's own ONNX exporter."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from parity.errors import ParityError
from parity.numerics.arrays import Array


def export_onnx(
    network: nn.Module, example: Array, path: Path, opset: int, dynamic_size: bool, external_data: bool
) -> None:
    """Write a network's ONNX file, as `torch_backend.export` describes it; its weights beside it if `external_data`.

    Raises:
        ParityError: If the exporter cannot take the network.
    """
    axes = (0, 2, 3) if dynamic_size else (0,)
    # An example of one image would make the batch a constant.
    batch_of_two = torch.from_numpy(np.concatenate([example, example]).astype(np.float32))
    try:
        program = torch.onnx.export(
            network,
            (batch_of_two,),
            dynamo=True,
            optimize=False,
            opset_version=opset,
            input_names=["image"],
            output_names=["logits"],
            dynamic_shapes=(dict.fromkeys(axes, torch.export.Dim.DYNAMIC),),
            verbose=False,
        )
        assert program is not None
        program.save(str(path), external_data=external_data)
    except (Exception, SystemExit) as error:  # the exporter's libraries raise exceptions of many kinds
        cause = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        message = next((line.strip() for line in str(cause).splitlines() if line.strip()), "no message")
        raise ParityError(f"torch's exporter cannot take it: {type(cause).__name__}: {message[:400]}") from error
