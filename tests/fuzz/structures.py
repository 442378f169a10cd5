"""Damage that knows its format, and so comes past the first check: headers, fields, instructions, checksums."""

import ast
import io
import json
import os
import pickle
import pickletools
import random
import re
import struct
import zipfile
import zlib
from collections.abc import Sequence
from typing import Any

import onnx
from fuzz.mutations import FLOATS, INTEGERS, TEXTS, damage, edit_json, odd
from google.protobuf.descriptor import FieldDescriptor

# safetensors, and the traces in them


def read_header(data: bytes) -> tuple[dict[str, Any], bytes]:
    """Return the JSON header of a safetensors file, and the bytes behind it."""
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def write_header(header: Any, rest: bytes) -> bytes:
    """Return the file of a header and what is behind it, without the room that a writer may have left."""
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + rest


def header(data: bytes, rng: random.Random, _: Sequence[bytes]) -> bytes:
    document, rest = read_header(data)
    for _edit in range(rng.randint(1, 3)):
        document = edit_json(document, rng)
    return write_header(document, rest)


def trace_fields(data: bytes, rng: random.Random, _: Sequence[bytes]) -> bytes:
    """Edit what a trace says of its calls, in the JSON that its header's metadata hold."""
    document, rest = read_header(data)
    told = json.loads(document["__metadata__"]["parity_trace"])
    for _edit in range(rng.randint(1, 2)):
        told = edit_json(told, rng)
    document["__metadata__"]["parity_trace"] = json.dumps(told)
    return write_header(document, rest)


# Pickles, alone and in zip files

COMMAND = "touch canary"  # in the folder of the file that is read
_CODE = "open('canary', 'w').close()"


class _Does:
    def __init__(self, function: Any, argument: str):
        self.call = function, (argument,)

    def __reduce__(self) -> Any:
        return self.call


def payloads() -> list[bytes]:
    """Return pickles that run code when Python's own reader loads them: a shell's and Python's, in three protocols."""
    return [pickle.dumps({"weight": does}, protocol=protocol) for does in hostile() for protocol in (0, 2, 4)]


def hostile() -> list[Any]:
    """Return objects whose pickles run code."""
    return [_Does(os.system, COMMAND), _Does(eval, _CODE), _Does(exec, _CODE)]


_PLANTS = (
    f"cposix\nsystem\n(V{COMMAND}\ntR0".encode(),
    f"cbuiltins\neval\n(V{_CODE}\ntR0".encode(),
    f"c__builtin__\neval\n(V{_CODE}\ntR0".encode(),
    b"cposix\nsystem\n(X" + len(COMMAND).to_bytes(4, "little") + COMMAND.encode() + b"tR",
)
_OPCODES = [opcode.code.encode("latin1") for opcode in pickletools.opcodes]


def instructions(program: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    """Edit the instructions of the pickles that the bytes begin with; some mutants get one that runs code."""
    steps, rest = _steps(program)
    for _edit in range(rng.randint(1, 3)):
        at = rng.randrange(len(steps))
        what = rng.choice(("delete", "double", "swap", "argument", "insert", "plant", "literal", "move"))
        if what == "delete" and len(steps) > 1:
            del steps[at]
        elif what == "double":
            steps.insert(at, steps[rng.randrange(len(steps))])
        elif what == "swap":
            other = rng.randrange(len(steps))
            steps[at], steps[other] = steps[other], steps[at]
        elif what == "argument" and len(steps[at]) > 1:
            steps[at] = steps[at][:1] + damage(steps[at][1:], rng, others)
        elif what == "insert":
            steps.insert(at, rng.choice(_OPCODES) + rng.randbytes(rng.choice((0, 1, 4, 8))))
        elif what == "plant":
            steps.insert(at, rng.choice(_PLANTS))
        elif what == "literal":
            value = rng.choice((rng.choice(INTEGERS), rng.choice(FLOATS), "x" * 70, b"y", (), (1, -1), None, 2**70))
            steps[at] = pickle.dumps(value, protocol=2)[2:-1]
        else:
            first = rng.randrange(len(steps))
            steps[at:at] = steps[first : first + rng.randint(1, 8)]
    return b"".join(steps) + rest


def _steps(program: bytes) -> tuple[list[bytes], bytes]:
    """Return the instructions of a few pickles in a row, as bytes, and what is behind them."""
    steps, start = list[bytes](), 0
    while program[start : start + 1] == b"\x80" and len(steps) < 1000:  # an old .pth file holds five
        stream = io.BytesIO(program[start:])
        places = [where for _, _, where in pickletools.genops(stream)]
        ends = [*places[1:], stream.tell()]
        steps += [program[start + a : start + b] for a, b in zip(places, ends, strict=True)]
        start += stream.tell()
    return (steps, program[start:]) if steps else ([program], b"")


def archive(data: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    """Edit the entries of a zip file, mostly its pickle, and write it again with sums that are right."""
    with zipfile.ZipFile(io.BytesIO(data)) as source:
        entries = [(entry.filename, source.read(entry)) for entry in source.infolist()]
    stored = zipfile.ZIP_STORED
    at = rng.randrange(len(entries))
    what = rng.choice(("pickle",) * 6 + ("entry", "rename", "drop", "double", "compress"))
    if what == "pickle":
        at = next(i for i, (name, _) in enumerate(entries) if name.endswith("data.pkl"))
        entries[at] = entries[at][0], instructions(entries[at][1], rng, others)
    elif what == "entry":
        entries[at] = entries[at][0], damage(entries[at][1], rng, others)
    elif what == "rename":
        entries[at] = rng.choice(("archive/data.pkl", "x", "archive/data/0", "../x", "é/data/1")), entries[at][1]
    elif what == "drop":
        del entries[at]
    elif what == "double":
        entries.append((f"{entries[at][0]}.", entries[rng.randrange(len(entries))][1]))
    else:
        stored = zipfile.ZIP_DEFLATED
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", stored) as target:
        for number, (name, content) in enumerate(entries):
            known = name in target.namelist()  # two entries of one name: zipfile would warn
            target.writestr(zipfile.ZipInfo(f"{name}{number}" if known else name), content, stored)
    return made.getvalue()


# .npy


def npy_header(data: bytes, rng: random.Random, _: Sequence[bytes]) -> bytes:
    """Edit the dictionary that a .npy file of version 1 begins with."""
    end = 10 + int.from_bytes(data[8:10], "little")
    told = ast.literal_eval(data[10:end].decode("latin1"))
    told["shape"] = list(told["shape"])
    told = edit_json(told, rng)
    if rng.random() < 0.4:
        told["descr"] = rng.choice(("|O", ">f8", "<c16", "|S3", "<U4", "|b1", "<M8[s]", "V5", [("a", "<f4")], odd(rng)))
    if isinstance(told.get("shape"), list):
        told["shape"] = tuple(told["shape"])
    text = repr(told).encode("utf-8", "replace")[: 2**16 - 1]
    return data[:8] + len(text).to_bytes(2, "little") + text + data[end:]


# Pictures


def png_chunks(data: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    """Damage, drop or double a chunk of a PNG file, and write its sum anew; what is compressed, before it is."""
    parts, start = list[tuple[bytes, bytes]](), 8
    while start < len(data):
        (length,) = struct.unpack_from(">I", data, start)
        parts.append((data[start + 4 : start + 8], data[start + 8 : start + 8 + length]))
        start += 12 + length
    at = rng.randrange(len(parts))
    kind, content = parts[at]
    what = rng.choice(("damage", "damage", "damage", "drop", "double", "rename"))
    if what == "damage" and kind == b"IDAT" and rng.random() < 0.7:
        content = zlib.compress(damage(zlib.decompress(content), rng, others))
    elif what == "damage":
        content = damage(content, rng, others)
    parts[at] = (
        rng.choice((b"tRNS", b"PLTE", b"IDAT", b"acTL", b"fdAT", b"iCCP")) if what == "rename" else kind,
        content,
    )
    if what == "drop":
        del parts[at]
    elif what == "double":
        parts.insert(rng.randrange(len(parts)), parts[at])
    chunks = [struct.pack(">I", len(c)) + k + c + struct.pack(">I", zlib.crc32(k + c)) for k, c in parts]
    return data[:8] + b"".join(chunks)


# ONNX

_WORDS = (
    "x",
    "y",
    "Conv",
    "Relu",
    "Gemm",
    "Reshape",
    "Resize",
    "If",
    "Loop",
    "f0",
    "d",
    "strides",
    "m.onnx",
    "location",
)


def protobuf_fields(data: bytes, rng: random.Random, _: Sequence[bytes]) -> bytes:
    """Edit one to three fields of an ONNX model: set, clear, double, or take from another message of the same kind."""
    model = onnx.ModelProto.FromString(data)
    for _edit in range(rng.randint(1, 3)):
        messages = list(_messages(model))
        message = rng.choice(messages)
        fields = list(message.DESCRIPTOR.fields)
        field = rng.choice([f for f, _ in message.ListFields()] or fields) if rng.random() < 0.7 else rng.choice(fields)
        alike = [other for other in messages if other.DESCRIPTOR is message.DESCRIPTOR]
        _edit_field(message, field, rng.choice(alike), rng)
    return model.SerializeToString()


def _messages(message: Any) -> Any:
    yield message
    for field, value in message.ListFields():
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            for inner in [value] if _single(field) else list(value):
                yield from _messages(inner)


def _single(field: Any) -> bool:
    return not field.is_repeated if hasattr(field, "is_repeated") else field.label != field.LABEL_REPEATED


def _edit_field(message: Any, field: Any, other: Any, rng: random.Random) -> None:
    what, name = rng.choice(("set", "set", "set", "clear", "borrow")), field.name
    if what == "clear":
        message.ClearField(name)
    elif what == "borrow":
        borrowed = type(message).FromString(other.SerializePartialToString())  # of itself, perhaps
        message.ClearField(name) if rng.random() < 0.5 else None
        for each in borrowed.DESCRIPTOR.fields:
            if each.name != name:
                borrowed.ClearField(each.name)
        message.MergeFrom(borrowed)
    elif _single(field) and field.type == FieldDescriptor.TYPE_MESSAGE:
        getattr(message, name).SetInParent()
    elif _single(field):
        setattr(message, name, _value(field, rng))
    else:
        _edit_list(getattr(message, name), field, rng)


def _edit_list(values: Any, field: Any, rng: random.Random) -> None:
    at = rng.randrange(len(values)) if len(values) else 0
    if len(values) and rng.random() < 0.4:
        del values[at]
    elif field.type == FieldDescriptor.TYPE_MESSAGE:
        made = values.add()
        if len(values) > 1:
            made.CopyFrom(values[at])
    elif len(values) and rng.random() < 0.6:
        values[at] = _value(field, rng)
    else:
        values.append(_value(field, rng))


def _value(field: Any, rng: random.Random) -> Any:
    """Return a value that a field can hold."""
    if field.type == FieldDescriptor.TYPE_STRING:
        return re.sub("[\ud800-\udfff]", "?", rng.choice((*_WORDS, *TEXTS)))
    if field.type == FieldDescriptor.TYPE_BYTES:
        return rng.choice((b"", b"\0", rng.randbytes(4), rng.randbytes(64), b"nearest", b"SAME_UPPER", b"\xff\xfe"))
    if field.type in (FieldDescriptor.TYPE_FLOAT, FieldDescriptor.TYPE_DOUBLE):
        return rng.choice(FLOATS)
    if field.type == FieldDescriptor.TYPE_ENUM:
        return rng.choice(field.enum_type.values).number
    least, most = {
        FieldDescriptor.TYPE_INT32: (-(2**31), 2**31 - 1),
        FieldDescriptor.TYPE_UINT64: (0, 2**64 - 1),
    }.get(field.type, (-(2**63), 2**63 - 1))
    small = rng.randint(0, 20)  # an opset, a dtype, an axis
    return rng.choice((small, rng.choice([n for n in INTEGERS if least <= n <= most])))
