"""Read ONNX files without trusting them, check them, write them whole or not at all, and hash them."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx import numpy_helper
from onnx.external_data_helper import load_external_data_for_model, set_external_data

from parity.atomic import atomic
from parity.errors import ParityError

# A protobuf message ends at 2 GB; a larger model has its tensors in a file beside it.
LIMIT = (1 << 31) - (1 << 24)
# The most nodes and calls that local functions may expand to. ONNX Runtime's time grows with the square: 16,384 nodes
# open in 4 s, this many in a minute, 2^25 (a file of 1.7 kB) never; no network of ours has 1,000.
CALLED = 1 << 16
# Operators that round floats to integers.
ROUNDING = ("QuantizeLinear", "DynamicQuantizeLinear")
_SMALL = 1 << 8  # bytes; smaller tensors stay in the file, so that shapes can be inferred


@dataclass(frozen=True)
class File:
    """A model file that has been read and checked.

    Attributes:
        path: Its path.
        model: Its content, weights included, local functions inlined.
        device: The device that runs it.
        level: How far the runtime rewrites it, one of `runtime.LEVELS`.
        nodes: The node of each call of the last trace, by layer and number.
    """

    path: Path
    model: onnx.ModelProto
    device: str = "cpu"
    level: str = "all"
    nodes: dict[tuple[str, int], onnx.NodeProto] = field(default_factory=dict)

    @property
    def opset(self) -> int:
        """Return the version of ONNX's own operators."""
        return next((each.version for each in self.model.opset_import if each.domain in ("", "ai.onnx")), 1)

    @property
    def grids(self) -> bool:
        """Return whether tensors of the file are rounded to grids of integers."""
        return any(node.op_type in ROUNDING for node in self.model.graph.node)


def read(path: Path, strict: bool = True) -> onnx.ModelProto:
    """Return a checked model, with its tensors in files beside it.

    Args:
        path: Of the file.
        strict: Whether every shape must follow from those before it.

    Raises:
        ParityError: If it is no ONNX file, is damaged, breaks ONNX's rules (a cycle, a shape that does not follow), or
            has tensors outside its own folder; if a tensor's bytes do not match its shape, or its local functions call
            each other without end or expand to more than `CALLED` nodes.
    """
    try:
        model = onnx.load(path, load_external_data=False)
    except OSError as error:
        raise ParityError(f"{path}: cannot read: {error.strerror or error}") from error
    except DecodeError as error:
        raise ParityError(f"{path}: no ONNX file, or a truncated one: {error}") from error
    if not model.graph.output or not model.opset_import:
        raise ParityError(f"{path}: no ONNX file, or an empty one: it declares no output or no opset")
    newest = onnx.defs.onnx_opset_version()
    for opset in model.opset_import:
        if opset.domain in ("", "ai.onnx") and not 1 <= opset.version <= newest:
            raise ParityError(f"{path}: opset {opset.version}; the installed onnx knows 1 to {newest}")
    for tensor in _tensors(model):
        confine(path, tensor)
    _limit(path, model)
    check(path, str(path), strict)
    try:
        load_external_data_for_model(model, str(path.parent))
    except (OSError, ValueError, onnx.checker.ValidationError) as error:
        raise ParityError(f"{path}: its tensors beside it cannot be read: {_line(error)}") from error
    if any(each.ref_attr_name for graph in _graphs(model.graph) for node in graph.node for each in node.attribute):
        raise ParityError(f"{path}: an attribute refers to one of a function, outside any function")
    for tensor in _tensors(model):
        try:
            _ = numpy_helper.to_array(tensor)
        except Exception as error:  # its fields contradict each other; ONNX's checker does not test this
            raise ParityError(f"{path}: damaged: tensor {tensor.name[:100]!r}: {_line(error)}") from error
    return model


def check(path: Path, name: str, strict: bool = True) -> None:
    """Return if a file follows ONNX's rules and, if `strict`, every shape follows from those before it.

    Raises:
        ParityError: Naming the first rule that the file, called `name`, breaks.
    """
    try:
        onnx.checker.check_model(str(path), full_check=strict)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, ValueError) as error:
        raise ParityError(f"{name}: breaks ONNX's rules: {_line(error)}") from error


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:400]


def _limit(path: Path, model: onnx.ModelProto) -> None:
    """Return if a file's local functions can be inlined; their nodes are counted without inlining.

    Raises:
        ParityError: If one calls itself, or they expand to more than `CALLED` nodes.
    """
    bodies = {(each.domain, each.name, each.overload): Counter(_calls(each)) for each in model.functions}
    try:
        inner_first = list(TopologicalSorter({key: bodies.keys() & bodies[key] for key in bodies}).static_order())
    except CycleError as error:
        raise ParityError(f"{path}: its function {error.args[1][0][1]!r} calls itself: refused") from error
    nodes = dict[tuple[str, str, str], int]()
    for key in inner_first:
        total = 1 + sum(count * nodes.get(called, 1) for called, count in bodies[key].items())
        nodes[key] = min(total, CALLED + 1)  # no number of a million digits
    if sum(nodes.get(each, 0) for each in _calls(model.graph)) > CALLED:
        raise ParityError(f"{path}: its functions expand to more than {CALLED:,} nodes: refused")


def _calls(body: onnx.GraphProto | onnx.FunctionProto) -> Iterator[tuple[str, str, str]]:
    """Yield the operator of every node, those of inner graphs included: domain, name, overload."""
    for graph in _graphs(body):
        yield from ((node.domain, node.op_type, node.overload) for node in graph.node)


def _graphs(*bodies: onnx.GraphProto | onnx.FunctionProto) -> Iterator[onnx.GraphProto | onnx.FunctionProto]:
    """Yield graphs and functions, and the graphs in their nodes' attributes."""
    graphs = list(bodies)
    while graphs:
        yield (graph := graphs.pop())
        for node in graph.node:
            for attribute in node.attribute:
                graphs += [attribute.g] if attribute.HasField("g") else attribute.graphs


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Yield every tensor of a model, those of inner graphs included."""
    for graph in _graphs(model.graph, *model.functions):
        yield from getattr(graph, "initializer", ())
        for node in graph.node:
            for attribute in node.attribute:
                yield from [attribute.t] if attribute.HasField("t") else attribute.tensors


def confine(path: Path, tensor: onnx.TensorProto) -> None:
    """Return if a tensor's data, where they are outside the model, are in a file of the model's own folder.

    Raises:
        ParityError: If they are elsewhere, by "..", an absolute path or a link; if the file is missing or truncated.
    """
    if tensor.data_location != onnx.TensorProto.EXTERNAL:
        return
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location, folder = entries.get("location", ""), path.resolve().parent
    try:
        data_file = (folder / location).resolve()
        exists = data_file.is_file()
    except (OSError, ValueError) as error:  # a name too long, or no name
        raise ParityError(f"{path}: tensor {tensor.name!r} {location[:100]!r} is no name of a file") from error
    if not location or Path(location).is_absolute() or folder not in data_file.parents:
        raise ParityError(f"{path}: tensor {tensor.name!r} lies outside the file's folder, at {location!r}: refused")
    if not exists:
        raise ParityError(f"{path}: {location} is missing, which holds tensor {tensor.name!r}. Get it too.")
    try:
        end = int(entries.get("offset", 0)) + int(entries.get("length", 0))
    except ValueError as error:
        raise ParityError(f"{path}: tensor {tensor.name!r}: its place in {location} is no number") from error
    if end > data_file.stat().st_size:
        raise ParityError(f"{path}: {location} is truncated: tensor {tensor.name!r} would end at byte {end}")


def size(model: onnx.ModelProto) -> int:
    """Return the bytes of a model's tensors."""
    return sum(len(tensor.raw_data) for tensor in model.graph.initializer)


def write(model: onnx.ModelProto, path: Path, limit: int = LIMIT) -> None:
    """Write a model; if its tensors have more than `limit` bytes, those go to `path`.data beside it.

    Raises:
        ParityError: If a file cannot be written.
    """
    large = size(model) > limit
    external = [tensor for tensor in model.graph.initializer if large and len(tensor.raw_data) >= _SMALL]
    data = [tensor.raw_data for tensor in external]
    try:
        if large:
            with _beside(path).open("wb") as file:
                for tensor, content in zip(external, data, strict=True):
                    _ = file.seek(-(-file.tell() // 4096) * 4096)  # a memory map can start there
                    set_external_data(tensor, _beside(path).name, offset=file.tell(), length=len(content))
                    tensor.ClearField("raw_data")
                    _ = file.write(content)
        _ = path.write_bytes(model.SerializeToString(deterministic=True))
    except OSError as error:
        raise ParityError(f"{path}: cannot write: {error.strerror or error}") from error
    finally:
        for tensor, content in zip(external, data, strict=True):
            tensor.raw_data = content
            tensor.ClearField("data_location")
            del tensor.external_data[:]


def digest(path: Path) -> str:
    """Return the SHA-256 (hex) of a file without metadata, and of its tensors' file if there is one."""
    total = hashlib.sha256()
    for each in (path, _beside(path)):
        if each.exists():
            with each.open("rb") as file:
                while block := file.read(1 << 20):
                    total.update(block)
    return total.hexdigest()


def place(source: Path, path: Path, metadata: Mapping[str, str]) -> None:
    """Copy a file that `write` made to its final name, metadata added: whole or not at all.

    Args:
        source: A file of the same name as `path`, in another folder, so that its tensors' file has the right name too.
        path: The final name; an existing file is replaced.
        metadata: Added to the file.

    Raises:
        ParityError: If a file cannot be written.
    """
    properties = onnx.ModelProto()
    onnx.helper.set_model_props(properties, dict(metadata))
    if _beside(source).exists():
        with atomic(_beside(path)) as part:
            _ = shutil.copyfile(_beside(source), part)
    with atomic(path) as part:
        _ = shutil.copyfile(source, part)
        with part.open("ab") as file:
            _ = file.write(properties.SerializeToString())  # protobuf merges a message that follows another
    if not _beside(source).exists():
        _beside(path).unlink(missing_ok=True)  # an older file's


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.data")


def remove(path: Path) -> None:
    """Remove a model and its tensors' file."""
    for each in (path, _beside(path)):
        with contextlib.suppress(OSError):
            each.unlink()
