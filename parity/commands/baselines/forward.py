"""The forward of a twin and of torchvision's or paddle.vision's network of the same name, taking turns.

Run as a script: forward.py torch|paddle NAME ROUNDS. Prints the seconds of each, as JSON.
"""

import importlib
import json
import sys
import time
from typing import Any

import numpy as np

from parity.backends.load import load_backend
from parity.weights.hardened import hardened_state
from parity.zoo import NETWORKS


def original(framework: str, name: str) -> Any:
    """Return the network of the other project."""
    if framework == "torch":
        models = importlib.import_module("torchvision.models")
        return getattr(models, name)(**({"init_weights": False} if name == "googlenet" else {}))
    models = importlib.import_module("paddle.vision.models")
    return getattr(models, name.removesuffix("_bn"))(**({"batch_norm": True} if name.endswith("_bn") else {}))


if __name__ == "__main__":
    framework, name = sys.argv[1:3]
    rounds = int(sys.argv[3])
    backend = load_backend(framework)
    _ = backend.use("cpu", 1)  # one thread: networks that take turns must not wait for each other's threads
    networks = {"twin": backend.build(name), "original": original(framework, name)}
    for network in networks.values():
        _ = backend.set_state(network, hardened_state(backend.slots(network)), name)
        network.eval()
    image = backend.to_tensor(np.zeros(NETWORKS[name].input, np.float32) + np.float32(0.5), networks["twin"])
    seconds: dict[str, list[float]] = {which: [] for which in networks}
    with backend.autograd(False):
        for turn in range(rounds + 2):
            for which in sorted(networks, reverse=turn % 2 == 1):
                start = time.perf_counter()
                _ = networks[which](image)
                if turn > 1:  # two rounds to warm up
                    seconds[which].append(time.perf_counter() - start)
    json.dump(seconds, sys.stdout)
