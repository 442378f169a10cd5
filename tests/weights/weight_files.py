"""Two tensors in every format of weights, and what every reader does with a file that it refuses."""

import io
import resource
import tracemalloc

import numpy as np
import paddle
import pytest
import safetensors.numpy
import torch

from parity import ParityError, State
from parity.weights.checkpoint import read_weights
from parity.weights.pdparams import write_pdparams

WEIGHT = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)
BIAS = np.array([0.5, -0.25, 0.125])
TENSORS = {"a.weight": WEIGHT, "a.bias": BIAS}
MEGABYTE = 1 << 20


READERS = {".pdparams": read_weights, ".safetensors": State.load, ".pth": read_weights}


def refused(path, content):
    """Return the one line with which a file of this content is refused; no code ran, no memory was taken."""
    path.write_bytes(content)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    tracemalloc.start()
    try:
        with pytest.raises(ParityError) as caught:
            READERS[path.suffix](path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 * MEGABYTE + 100 * len(content)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 1024  # kilobytes
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"{path}: ")
    return line


def bits_of(tensors):
    return {name: (array.dtype.str, array.shape, array.tobytes()) for name, array in tensors.items()}


def torch_file(tensors, **options):
    buffer = io.BytesIO()
    torch.save({name: torch.from_numpy(array.copy()) for name, array in tensors.items()}, buffer, **options)
    return buffer.getvalue()


def files(folder):
    """The same two tensors in every format, by what the format is called: path and content."""
    write_pdparams(TENSORS, folder / "a.pdparams")
    paddle.save({name: paddle.to_tensor(array) for name, array in TENSORS.items()}, str(folder / "b.pdparams"))
    State(TENSORS).save(folder / "a.safetensors")
    safetensors.numpy.save_file(TENSORS, folder / "b.safetensors")
    (folder / "a.pth").write_bytes(torch_file(TENSORS))
    (folder / "b.pth").write_bytes(torch_file(TENSORS, _use_new_zipfile_serialization=False))
    names = {
        "ours as Paddle's": "a.pdparams", "Paddle": "b.pdparams", "State": "a.safetensors",
        "safetensors": "b.safetensors", "torch": "a.pth", "torch, legacy": "b.pth",
    }  # fmt: skip
    return {label: (folder / name, (folder / name).read_bytes()) for label, name in names.items()}


KINDS = pytest.mark.parametrize(
    "kind", ["ours as Paddle's", "Paddle", "State", "safetensors", "torch", "torch, legacy"]
)
