"""What is fuzzed: every reader of the project, right files for it, and the damage that fits them.

The one place that says where in parity a reader lives.
"""

import io
import pickle
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from fuzz import structures
from fuzz.mutations import Mutation
from fuzz.structures import payloads, read_header, write_header
from onnx import numpy_helper
from PIL import Image
from safetensors.torch import save
from torch import nn

from parity import Comparison, ParityError, State, Trace
from parity.backends import onnx_backend, torch_backend
from parity.judging.explain import with_culprits
from parity.judging.judge import judge
from parity.numerics.distance import Distance
from parity.picture import load_input, load_picture
from parity.tracing.record import record
from parity.weights.checkpoint import read
from parity.weights.contents import contents
from parity.weights.fit import fitted
from parity.weights.pdparams import write_pdparams
from parity.weights.pth import write_pth
from parity.weights.state import Slot

__all__ = ["ParityError", "Reader", "readers"]


@dataclass(frozen=True)
class Reader:
    """One kind of file, and what is done with it.

    Attributes:
        name: For the table.
        ending: Of its files.
        seeds: Right files.
        structured: Damage that knows the format.
        steps: Called one after another with a file's path, whatever the one before said.
        share: How many of 100 mutants are for it.
        hostile: Files that run code, which makes a file beside them, where a reader lets them.
    """

    name: str
    ending: str
    seeds: Sequence[bytes]
    structured: Sequence[Mutation]
    steps: Sequence[Callable[[Path], object]]
    share: int
    hostile: Sequence[bytes] = ()


# A network's weights, small: most of a file is what describes them.
SLOTS = {
    "conv.weight": Slot((2, 1, 3, 3), "Conv2d", "weight"),
    "norm.weight": Slot((2,), "BatchNorm2d", "weight"),
    "norm.bias": Slot((2,), "BatchNorm2d", "bias"),
    "norm.running_mean": Slot((2,), "BatchNorm2d", "running_mean"),
    "norm.running_var": Slot((2,), "BatchNorm2d", "running_var"),
    "fc.weight": Slot((3, 2), "Linear", "weight"),
    "fc.bias": Slot((3,), "Linear", "bias"),
}


def _weights(turned: bool = False) -> dict[str, Any]:
    generator = np.random.default_rng(0)
    made = {name: generator.standard_normal(slot.shape).astype(np.float32) for name, slot in SLOTS.items()}
    return {**made, "fc.weight": made["fc.weight"].T} if turned else made


def _weigh(path: Path) -> None:
    """Say what is in a file, then give each of its sets of weights to the network, and look at every number."""
    keys = contents(path).sets
    for key in keys if len(keys) > 1 else (None,):
        found = contents(path, key)
        f"{found.beside} {found.bytes} {found.numbers}".encode()
        if key != "whole.net":  # another network's
            state, _ = read(path, SLOTS, "", key=key)
            State(fitted(state, SLOTS, "net", "any")[0]).digest()


def _written(write: Callable[[Path], object], folder: Path) -> bytes:
    write(folder / "seed")
    return (folder / "seed").read_bytes()


def _saved(**options: Any) -> bytes:
    made = io.BytesIO()
    torch.save({name: torch.from_numpy(array) for name, array in _weights().items()}, made, **options)
    return made.getvalue()


class _Setting:
    """Someone's own class: only its name and its attributes are in a file."""

    def __init__(self) -> None:
        self.rate, self.steps = 0.1, {1, 2}


def _checkpoint(**options: Any) -> bytes:
    """Return what a training script saves: two sets of weights, and much beside them."""
    network = _network(0.01)
    tensors = {f"module.{name}": torch.from_numpy(array) for name, array in _weights().items()}
    half = {name: tensor.bfloat16() for name, tensor in tensors.items()}
    beside = {"epoch": 3, "best": np.float64(0.5), "args": _Setting(), "state": {0: {"step": torch.ones(1)}}}
    made = io.BytesIO()
    torch.save({"model": tensors, "ema": {"half": half}, **beside, "whole": {"net": network}}, made, **options)
    return made.getvalue()


def _pth(folder: Path) -> list[Reader]:
    zipped = [_written(lambda path: write_pth(_weights(), path), folder), _saved(), _checkpoint()]
    zips, others = _torch_payloads(zipped=True), [*_torch_payloads(zipped=False), *payloads()]
    old = [make(_use_new_zipfile_serialization=False) for make in (_saved, _checkpoint)]
    return [
        Reader(".pth, ours and torch's", ".pth", zipped, (structures.archive,), (_weigh,), 16, zips),
        Reader(".pth of before 1.6", ".pth", old, (structures.instructions,), (_weigh,), 9, others),
    ]


def _torch_payloads(zipped: bool) -> list[bytes]:
    """Return what torch.save makes of objects that run code when they are loaded, in its new form and its old one."""
    found = []
    for does in structures.hostile():
        made = io.BytesIO()
        torch.save({"conv.weight": does}, made, _use_new_zipfile_serialization=zipped)
        found.append(made.getvalue())
    return found


class _Named:
    """Pickles as paddle.save's tensors do: tuple((name, array))."""

    def __init__(self, name: str, array: Any):
        self.made = name, array

    def __reduce__(self) -> Any:
        return tuple, (self.made,)


def _pdparams(folder: Path) -> list[Reader]:
    tensors = {name: _Named(name, array) for name, array in _weights(turned=True).items()}
    table = {"StructuredToParameterName@@": {name: f"p_{name}" for name in tensors}}
    seeds = [pickle.dumps({**tensors, **table}, protocol=protocol) for protocol in (2, 4)]
    seeds += [pickle.dumps(_weights(turned=True), protocol=protocol) for protocol in (2, 4)]
    seeds += [_written(lambda path: write_pdparams(_weights(turned=True), path), folder)]
    half = {name: (array * 1000).astype(np.uint16) for name, array in _weights(turned=True).items()}  # as bfloat16
    seeds += [pickle.dumps({"net": half, "rate": np.float32(1), "args": _Setting()}, protocol=4)]
    return [Reader(".pdparams", ".pdparams", seeds, (structures.instructions,), (_weigh,), 20, payloads())]


def _safetensors(folder: Path) -> list[Reader]:
    found = {name: torch.from_numpy(array) for name, array in _weights().items()}
    half = {name: tensor.bfloat16() if name.startswith("norm") else tensor for name, tensor in found.items()}
    seeds = [_written(State(_weights()).write, folder), save(found), save(half, {"format": "pt"})]
    return [Reader(".safetensors", ".safetensors", seeds, (structures.header,), (State.load, _weigh), 10)]


def _network(slope: float) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = nn.Sequential(
            nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.LeakyReLU(slope), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8, 3)
        )  # fmt: skip
    return made.eval()


IMAGE = np.random.default_rng(1).standard_normal((1, 1, 6, 6)).astype(np.float32)


def _trace(folder: Path) -> list[Reader]:
    seeds = []
    for gradients, slope in ((False, 0.01), (True, 0.01), (True, 0.02)):
        record(torch_backend, _network(slope), [IMAGE], folder / "trace", gradients=gradients)  # pyright: ignore
        seeds.append(write_header(*read_header((folder / "trace").read_bytes())))
    partner = folder / "partner"
    partner.write_bytes(seeds[1])
    weights = State({"0.weight": np.ones((2, 1, 3, 3), np.float32)}), State({"0.weight": np.ones((1,), np.float32)})

    def step(path: Path) -> None:
        with Trace(path) as mutant, Trace(partner) as right:
            for ours, theirs in ((right, mutant), (mutant, right), (mutant, mutant)):
                comparison = judge("net", ours, theirs)
                wrong = {call.key: Distance(1.0) if i % 2 else "why" for i, call in enumerate(ours.calls)}
                for replayed in ({}, wrong):
                    said = with_culprits(comparison, ours, theirs, replayed, weights)
                    Comparison.from_json(said.to_json())
                    str(said)

    return [Reader("trace", ".trace", seeds, (structures.trace_fields, structures.header), (step,), 15)]


_GRAPH = """<ir_version: 9, opset_import: ["": 17, "d": 1]>
net (float[N, 1, 6, 6] x) => (float[N, 3] y) {
  c = Conv <kernel_shape = [3, 3], strides = [1, 1], pads = [0, 0, 0, 0]> (x, w)
  b = BatchNormalization <epsilon = 0.00001> (c, scale, bias, mean, var)
  r = LeakyRelu <alpha = 0.01> (b)
  two = Constant <value = float[4] {1.0, 1.0, 2.0, 2.0}> ()
  u = Resize <mode = "nearest"> (r, , two)
  p = MaxPool <kernel_shape = [4, 4], strides = [4, 4], ceil_mode = 1> (u)
  a = AveragePool <kernel_shape = [2, 2], count_include_pad = 1> (p)
  f = Flatten <axis = 1> (a)
  g = d.twice (f)
  y = Gemm <transB = 1> (g, fc, fcb)
}
<domain: "d", opset_import: ["": 17]>
twice (a) => (b) { s = Sigmoid (a)  b = Add (s, a) }
"""


def _graph(functions: bool) -> bytes:
    model = onnx.parser.parse_model(_GRAPH if functions else _GRAPH.replace("d.twice", "Sigmoid"))
    if not functions:
        del model.functions[:]
        del model.opset_import[1:]
    generator = np.random.default_rng(2)
    shapes = {"w": (2, 1, 3, 3), "fc": (3, 2), "fcb": (3,)} | dict.fromkeys(("scale", "bias", "mean", "var"), (2,))
    for name, shape in shapes.items():
        array = generator.uniform(0.5, 1.5, shape).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    model.graph.initializer[-1].ClearField("raw_data")
    model.graph.initializer[-1].float_data.extend([1.0, 1.0])
    return model.SerializeToString()


def _onnx(folder: Path) -> list[Reader]:
    def step(path: Path) -> None:
        network = onnx_backend.load(path)
        onnx_backend.get_state(network).digest()
        onnx_backend.input_shape(network)
        onnx_backend.record(network, [IMAGE], folder / "onnx-trace")

    seeds = [_graph(functions=True), _graph(functions=False)]
    return [Reader("ONNX", ".onnx", seeds, (structures.protobuf_fields,), (step,), 12)]


def _npy(_: Path) -> list[Reader]:
    plain = np.linspace(-1, 1, 24).reshape(1, 1, 4, 6)
    arrays = [*(plain.astype(kind) for kind in ("<f4", ">f8", "<f2", "<i8", "|u1")), np.asfortranarray(plain)]
    hostile = [np.array([does], object) for does in structures.hostile()]

    def saved(array: Any) -> bytes:
        made = io.BytesIO()
        np.save(made, array)
        return made.getvalue()

    def step(path: Path) -> None:
        load_input(str(path), (1, 1, 4, 6)).sum()

    seeds, bad = list(map(saved, arrays)), list(map(saved, hostile))
    return [Reader(".npy", ".npy", seeds, (structures.npy_header,), (step,), 6, bad)]


def _pictures(_: Path) -> list[Reader]:
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)
    noise = np.random.default_rng(3).integers(0, 256, (13, 17, 4), dtype=np.uint8)
    picture = Image.fromarray(noise)
    modes = {
        mode: picture.convert("RGB").convert(mode)
        for mode in ("RGB", "L", "P", "1", "CMYK", "I;16", "F")
        if mode[0] != "I"
    }
    modes |= {"RGBA": picture, "I;16": Image.fromarray(noise[..., 0].astype(np.uint16) * 257)}
    kinds: dict[str, list[tuple[str, dict[str, Any]]]] = {
        "png": [(mode, {}) for mode in ("RGB", "L", "P", "1", "RGBA", "I;16")],
        "jpg": [("RGB", {}), ("L", {}), ("CMYK", {}), ("RGB", {"progressive": True}), ("RGB", {"subsampling": 2})],
        "gif": [("P", {}), ("L", {}), ("RGB", {"interlace": 1})],
        "tiff": [
            ("RGB", {}),
            ("F", {}),
            ("I;16", {}),
            *(("RGB", {"compression": c}) for c in ("tiff_lzw", "jpeg", "packbits")),
        ],
        "webp": [("RGB", {}), ("RGBA", {"lossless": True})],
        "bmp": [("RGB", {}), ("P", {}), ("1", {})],
    }

    def step(path: Path) -> None:
        load_picture(str(path), 3, 8, 8).sum()

    found = []
    for kind, spellings in kinds.items():
        seeds = []
        for mode, options in spellings:
            made = io.BytesIO()
            modes[mode].save(made, {"jpg": "jpeg"}.get(kind, kind), **options)
            seeds.append(made.getvalue())
        found.append(Reader(kind, f".{kind}", seeds, (structures.png_chunks,) if kind == "png" else (), (step,), 2))
    return found


def readers(folder: Path) -> list[Reader]:
    """Return all readers; what they need beside a mutant is put into the folder, which must last."""
    torch.set_num_threads(1)  # a forked process has no other
    rooms = (_pth, _pdparams, _safetensors, _trace, _onnx, _npy, _pictures)
    return [reader for room in rooms for reader in room(folder)]
