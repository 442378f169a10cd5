"""The minimal work of a comparison: import both frameworks, build both networks, run the same four forwards.

Run as a script: compare.py MODEL N,C,H,W
"""

import sys

import numpy as np
import paddle
import torch

import paddle_cnn
import torch_cnn

if __name__ == "__main__":
    image = np.zeros(tuple(map(int, sys.argv[2].split(","))), np.float32)
    torch_network = torch_cnn.build(sys.argv[1]).eval()
    paddle_network = paddle_cnn.build(sys.argv[1])
    paddle_network.eval()
    with torch.no_grad():
        _ = torch_network(torch.from_numpy(image))
        _ = torch_network.double()(torch.from_numpy(image).double())
    with paddle.no_grad():
        _ = paddle_network(paddle.to_tensor(image))
        _ = paddle_network.to(dtype="float64")
        _ = paddle_network(paddle.to_tensor(image).astype("float64"))
