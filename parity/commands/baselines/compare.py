"""The bare floor of the main job: import both frameworks, build both networks, run the same four forwards; no more.

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
    ours, theirs = torch_cnn.build(sys.argv[1]).eval(), paddle_cnn.build(sys.argv[1])
    theirs.eval()
    with torch.no_grad():
        _ = ours(torch.from_numpy(image))
        _ = ours.double()(torch.from_numpy(image).double())
    with paddle.no_grad():
        _ = theirs(paddle.to_tensor(image))
        _ = theirs.to(dtype="float64")
        _ = theirs(paddle.to_tensor(image).astype("float64"))
