"""The ways in which Paddle runs a network, for `parity bench`."""

# pyright: reportPrivateImportUsage=false, reportAttributeAccessIssue=false
# (Paddle exports most of its names dynamically.)

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import paddle
from paddle import nn

from parity.numerics.arrays import Array
from parity.temporary import temporary_folder

WAYS = ("eager", "inference")


def runner(network: nn.Layer, way: str, array: Array) -> Callable[[], Any]:
    """Return a call that runs the network on an input once: eagerly, or by Paddle Inference with oneDNN."""
    if way == "eager":
        x = paddle.to_tensor(array)

        def once() -> Any:
            with paddle.no_grad():
                return network(x)

        return once
    with temporary_folder() as folder:
        spec = paddle.static.InputSpec(list(array.shape), "float32", "image")
        paddle.jit.save(network, f"{folder}/net", input_spec=[spec])
        model = next(path for end in ("json", "pdmodel") if (path := folder / f"net.{end}").exists())
        config = paddle.inference.Config(str(model), f"{folder}/net.pdiparams")
        config.disable_glog_info()
        config.enable_mkldnn()
        config.set_cpu_math_library_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
        predictor = paddle.inference.create_predictor(config)
    input_handle = predictor.get_input_handle(predictor.get_input_names()[0])
    output_handle = predictor.get_output_handle(predictor.get_output_names()[0])
    array = array.astype(np.float32)

    def infer() -> Any:
        input_handle.copy_from_cpu(array)
        predictor.run()
        return output_handle.copy_to_cpu()

    return infer
