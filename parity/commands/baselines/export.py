"""The minimal work of an export: one framework's exporter writes a file, without any proof.

Run as a script: export.py torch|paddle NAME FOLDER
"""

import importlib
import sys
from pathlib import Path

from parity.zoo import NETWORKS

if __name__ == "__main__":
    framework, name = sys.argv[1:3]
    folder = Path(sys.argv[3])
    network = importlib.import_module(f"{framework}_cnn").build(name)
    network.eval()
    _, channels, height, width = NETWORKS[name].input
    if framework == "torch":
        import torch

        image = torch.zeros(2, channels, height, width)
        axes = ({0: torch.export.Dim.DYNAMIC},)
        program = torch.onnx.export(
            network, (image,), dynamo=True, opset_version=18, dynamic_shapes=axes, verbose=False
        )
        assert program is not None
        program.save(str(folder / "floor.onnx"))
    else:
        import paddle
        import paddle2onnx

        shape = paddle.static.InputSpec([None, channels, height, width], "float32")
        paddle.jit.save(network, str(folder / "floor"), input_spec=[shape])
        saved = (str(folder / f"floor.{end}") for end in ("json", "pdiparams", "onnx"))
        _ = paddle2onnx.export(*saved, opset_version=18, optimize_tool="None")
