"""Damage that any file can take, and damage to JSON: each repeatable by the random generator that it is given."""

import copy
import random
from collections.abc import Callable, Sequence
from typing import Any

# A file's bytes, the generator, and other files to take parts of.
Mutation = Callable[[bytes, random.Random, Sequence[bytes]], bytes]

# Where lengths, counts and signs change their meaning.
INTEGERS = [
    sign * value
    for value in (0, 1, 2, 7, 100, 2**7, 2**8, 2**15, 2**16, 2**31, 2**32, 2**40, 2**53, 2**62, 2**63, 2**64)
    for sign in (1, -1)
] + [2**8 - 1, 2**16 - 1, 2**31 - 1, 2**32 - 1, 2**63 - 1, 2**64 - 1]
FLOATS = (0.0, -0.0, 1.0, -1.0, 0.5, 1e-300, 1e300, float("inf"), float("-inf"), float("nan"))
TEXTS = (
    "", "x", "0", "-1", "weight", "output 0", "a.b.c", ".", "..", "/", "../../etc/passwd", "nan", "[1, 2]", "x" * 300,
    "9" * 5000, "a\0b", "l\x1b[31m[red]\n", "é", "\ud800", "Conv2d", "MaxPool2d", "BatchNorm2d", "Linear", "F32",
    "BF16", "F8_E4M3", "I64",
)  # fmt: skip
_PIECE = 64  # bytes that are moved at once, at the most


def place(data: bytes, rng: random.Random) -> int:
    """Return an index into the bytes, or one behind; headers are found at the front and the end."""
    near = min(len(data), 512)
    return rng.choice((rng.randint(0, len(data)), rng.randint(0, near), len(data) - rng.randint(0, near)))


def flip_bits(data: bytes, rng: random.Random, _: Sequence[bytes]) -> bytes:
    changed = bytearray(data)
    for _bit in range(rng.choice((1, 1, 2, 8)) if data else 0):
        changed[min(place(data, rng), len(data) - 1)] ^= 1 << rng.randrange(8)
    return bytes(changed)


def truncate(data: bytes, rng: random.Random, _: Sequence[bytes]) -> bytes:
    return data[: place(data, rng)]


def insert(data: bytes, rng: random.Random, _: Sequence[bytes]) -> bytes:
    start, length = place(data, rng), rng.randint(1, _PIECE)
    chunk = rng.choice((rng.randbytes(length), bytes(length), b"\xff" * length))
    return data[:start] + chunk + data[start:]


def delete(data: bytes, rng: random.Random, _: Sequence[bytes]) -> bytes:
    start = place(data, rng)
    return data[:start] + data[start + rng.randint(1, _PIECE) :]


def duplicate(data: bytes, rng: random.Random, _: Sequence[bytes]) -> bytes:
    start, target = place(data, rng), place(data, rng)
    return data[:target] + data[start : start + rng.randint(1, _PIECE)] * rng.randint(1, 3) + data[target:]


def write_integer(data: bytes, rng: random.Random, _: Sequence[bytes]) -> bytes:
    """Overwrite one, two, four or eight bytes with a number of consequence, in either order of bytes."""
    size, start = rng.choice((1, 2, 4, 8)), place(data, rng)
    number = (rng.choice(INTEGERS) % (1 << 8 * size)).to_bytes(size, rng.choice(("little", "big")))
    return data[:start] + number + data[start + size :]


def splice(data: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    """Join the front of one file and the end of another."""
    other = rng.choice(others)
    return data[: place(data, rng)] + other[place(other, rng) :]


DAMAGES: tuple[Mutation, ...] = (flip_bits, truncate, insert, delete, duplicate, write_integer, splice)


def damage(data: bytes, rng: random.Random, others: Sequence[bytes]) -> bytes:
    """Return the bytes after one to four of the damages above."""
    for _ in range(rng.choice((1, 1, 2, 4))):
        data = rng.choice(DAMAGES)(data, rng, others)
    return data


def odd(rng: random.Random) -> Any:
    """Return a value of JSON that is rarely right."""
    plain = rng.choice((rng.choice(INTEGERS), rng.choice(FLOATS), rng.choice(TEXTS), None, True, False))
    return rng.choice((plain, plain, plain, [], {}, [plain], [[plain]], {"x": plain}, [plain] * 40))


def edit_json(document: Any, rng: random.Random) -> Any:
    """Return a copy of a JSON document with one value replaced, deleted, doubled, renamed, or taken from elsewhere."""
    document = copy.deepcopy(document)
    places = list(_places(document))
    if not places:
        return odd(rng)
    (holder, key), (other, its) = rng.choice(places), rng.choice(places)
    what = rng.choice(("replace", "replace", "near", "delete", "double", "rename", "swap"))
    if what == "delete":
        del holder[key]
    elif what == "double" and isinstance(holder, list):
        holder.insert(key, copy.deepcopy(holder[key]))
    elif what in ("double", "rename") and isinstance(holder, dict):
        name = rng.choice((*TEXTS, *holder, *(str(name) for _, name in places)))
        holder[name] = copy.deepcopy(holder[key]) if what == "double" else holder.pop(key)
    elif what == "near" and isinstance(holder[key], (int, float)):
        holder[key] = holder[key] + rng.choice((1, -1, 0.5)) if rng.random() < 0.5 else -holder[key]
    else:
        holder[key] = copy.deepcopy(other[its]) if what == "swap" else odd(rng)
    return document


def _places(value: Any) -> Any:
    """Yield where every value of a document is: the object or list that holds it, and its key."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield value, key
        yield from _places(item)
