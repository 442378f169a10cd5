"""One training step of a DenseNet's twin, with or without recomputation to save memory.

Run as a script: memory.py torch|paddle NAME N,C,H,W 0|1
"""

import importlib
import sys

import numpy as np

from parity.backends.load import load_backend

if __name__ == "__main__":
    framework, name, shape, saving = sys.argv[1:]
    image = np.zeros(tuple(map(int, shape.split(","))), np.float32)
    backend = load_backend(framework)
    _ = backend.use("cpu", 1)
    network = importlib.import_module(f"{framework}_cnn").build(name, memory_efficient=saving == "1")
    network.train()
    network(backend.to_tensor(image, network)).sum().backward()
