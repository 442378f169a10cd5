"""A twin's forward against that of torchvision's or paddle.vision's network of the same name, taking turns.

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


def rival(framework: str, name: str) -> Any:
    """Return the other project's network."""
    if framework == "torch":
        models = importlib.import_module("torchvision.models")
        return getattr(models, name)(**({"init_weights": False} if name == "googlenet" else {}))
    models = importlib.import_module("paddle.vision.models")
    return getattr(models, name.removesuffix("_bn"))(**({"batch_norm": True} if name.endswith("_bn") else {}))


if __name__ == "__main__":
    framework, name, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
    backend = load_backend(framework)
    _ = backend.use("cpu", 1)  # one thread: two networks that take turns are not to wait for each other's threads
    networks = {"twin": backend.build(name), "rival": rival(framework, name)}
    for network in networks.values():
        backend.set_state(network, hardened_state(backend.slots(network)), name)
        network.eval()
    image = backend.to_tensor(np.zeros(NETWORKS[name].input, np.float32) + np.float32(0.5), networks["twin"])
    taken: dict[str, list[float]] = {who: [] for who in networks}
    with backend.autograd(False):
        for turn in range(rounds + 2):
            for who in sorted(networks, reverse=turn % 2 == 1):
                start = time.perf_counter()
                _ = networks[who](image)
                if turn > 1:  # two rounds to warm up
                    taken[who].append(time.perf_counter() - start)
    json.dump(taken, sys.stdout)
