"""ONNX files: read without trusting them, checked, written whole or not at all, and their canonical hash."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx.external_data_helper import load_external_data_for_model, set_external_data

from parity.atomic import atomic
from parity.errors import ParityError

# A protobuf message ends at 2 GB; what is larger has its tensors beside it.
LIMIT = (1 << 31) - (1 << 24)
_SMALL = 1 << 8  # bytes; smaller tensors stay in the file, so that shapes can be inferred


def read(path: Path) -> onnx.ModelProto:
    """Return a checked model, tensors that lie beside the file included.

    Raises:
        ParityError: If it is no ONNX file, is damaged, breaks ONNX's rules (a cycle, a shape that does not follow), or
            keeps tensors outside its own folder.
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
    try:
        load_external_data_for_model(model, str(path.parent))
    except (OSError, ValueError, onnx.checker.ValidationError) as error:
        raise ParityError(f"{path}: its tensors beside it cannot be read: {_line(error)}") from error
    check(model, str(path), path)
    return model


def check(model: onnx.ModelProto, what: str, path: Path | None = None) -> None:
    """Return if a model keeps ONNX's rules and every shape follows from those before it.

    Args:
        model: With its tensors.
        what: For the message.
        path: Of its file, needed where the model is larger than a protobuf message may be.

    Raises:
        ParityError: Naming the first rule it breaks.
    """
    large = path is not None and size(model) > LIMIT
    try:
        onnx.checker.check_model(str(path) if large else model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, ValueError) as error:
        raise ParityError(f"{what}: breaks ONNX's rules: {_line(error)}") from error


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:400]


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Yield every tensor of a model, those of inner graphs included."""
    graphs = [model.graph, *model.functions]
    while graphs:
        graph = graphs.pop()
        yield from getattr(graph, "initializer", ())
        for node in graph.node:
            for attribute in node.attribute:
                yield from [attribute.t] if attribute.HasField("t") else attribute.tensors
                graphs += [attribute.g] if attribute.HasField("g") else attribute.graphs


def confine(path: Path, tensor: onnx.TensorProto) -> None:
    """Return if a tensor's data, where it is kept outside the model, lie in a file of the model's own folder.

    Raises:
        ParityError: If it is to be read from elsewhere, by "..", an absolute path or a link; if it is missing or cut.
    """
    if tensor.data_location != onnx.TensorProto.EXTERNAL:
        return
    told = {entry.key: entry.value for entry in tensor.external_data}
    location, folder = told.get("location", ""), path.resolve().parent
    beside = (folder / location).resolve()
    if not location or Path(location).is_absolute() or folder not in beside.parents:
        raise ParityError(f"{path}: tensor {tensor.name!r} lies outside the file's folder, at {location!r}: refused")
    if not beside.is_file():
        raise ParityError(f"{path}: {location} is missing, which holds tensor {tensor.name!r}. Get it too.")
    try:
        end = int(told.get("offset", 0)) + int(told.get("length", 0))
    except ValueError as error:
        raise ParityError(f"{path}: tensor {tensor.name!r}: its place in {location} is no number") from error
    if end > beside.stat().st_size:
        raise ParityError(f"{path}: {location} is truncated: tensor {tensor.name!r} would end at byte {end}")


def size(model: onnx.ModelProto) -> int:
    """Return the bytes of a model's tensors."""
    return sum(len(tensor.raw_data) for tensor in model.graph.initializer)


def digest(model: onnx.ModelProto) -> str:
    """Return the canonical SHA-256 (hex): of the serialised model without its metadata.

    Of a model too large for one message, tensors' bytes are hashed behind the rest.
    """
    bare = onnx.ModelProto()
    with _without_data(model) if size(model) > LIMIT else contextlib.nullcontext([]) as data:
        bare.CopyFrom(model)
    del bare.metadata_props[:]
    total = hashlib.sha256(bare.SerializeToString(deterministic=True))
    for part in data:
        total.update(part)
    return total.hexdigest()


@contextlib.contextmanager
def _without_data(model: onnx.ModelProto) -> Iterator[list[bytes]]:
    """Take the larger tensors' bytes out of a model for a while, each replaced by a reference to the file beside it."""
    taken = [tensor for tensor in model.graph.initializer if len(tensor.raw_data) >= _SMALL]
    data = [tensor.raw_data for tensor in taken]
    for tensor in taken:
        tensor.ClearField("raw_data")
    try:
        yield data
    finally:
        for tensor, part in zip(taken, data, strict=True):
            tensor.raw_data = part
            tensor.ClearField("data_location")
            del tensor.external_data[:]


def write(model: onnx.ModelProto, path: Path, metadata: Mapping[str, str], limit: int = LIMIT) -> None:
    """Write a model, whole or not at all; with tensors of more than `limit` bytes, these go to `path`.data beside it.

    Raises:
        ParityError: If a file cannot be written.
    """
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, dict(metadata))
    beside = path.with_name(f"{path.name}.data")
    if size(model) <= limit:
        with atomic(path) as part:
            _ = part.write_bytes(model.SerializeToString(deterministic=True))
        return
    with _without_data(model) as data:
        taken = [tensor for tensor in model.graph.initializer if not tensor.HasField("raw_data")]
        with atomic(beside) as part, part.open("wb") as file:
            for tensor, content in zip(taken, data, strict=True):
                _ = file.seek(-(-file.tell() // 4096) * 4096)  # where a memory map can start
                tensor.raw_data = b""  # set_external_data wants the field
                set_external_data(tensor, beside.name, offset=file.tell(), length=len(content))
                tensor.ClearField("raw_data")
                _ = file.write(content)
        with atomic(path) as part:
            _ = part.write_bytes(model.SerializeToString(deterministic=True))


def remove(path: Path) -> bool:
    """Remove a model and what lies beside it; return whether there was one."""
    found = path.exists()
    for each in (path, path.with_name(f"{path.name}.data")):
        with contextlib.suppress(OSError):
            each.unlink()
    return found
