"""What JSON becomes by a type hint, and how what does not fit is told."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Optional

import pytest

from parity.json_codec import DecodeError, decode, encode


@dataclass(frozen=True)
class Window:
    size: tuple[int, int]
    shift: float = 0.0


@dataclass(frozen=True)
class Named:
    name: str


@dataclass(frozen=True)
class Net:
    name: str
    count: int
    rate: float
    leaf: bool
    mode: Literal["zeros", "same", 0]
    window: Window
    windows: tuple[Window, ...]
    by_name: Mapping[str, Window]
    path: Path
    parent: Optional[Window] = None  # noqa: UP045  (either spelling)
    either: Window | Named | str | None = None
    tags: list[str] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)


NET = Net(
    name="n", count=3, rate=math.inf, leaf=True, mode="same", window=Window((1, 2), -math.inf),
    windows=(Window((3, 4)),), by_name={"a.b": Window((5, 6))}, path=Path("x/y"), parent=Window((7, 8)),
    either=Named("m"), tags=["t"], config={"kernel_size": [3, 3], "p": None},
)  # fmt: skip


def written(value):
    return json.loads(json.dumps(encode(value), allow_nan=False))


def test_what_is_written_reads_as_it_was():
    assert decode(Net, written(NET)) == NET
    assert decode(Net, {**written(NET), "either": "text"}).either == "text"
    assert decode(Net, {**written(NET), "either": {"size": [1, 1]}}).either == Window((1, 1))
    assert math.isnan(decode(Window, written(Window((1, 1), math.nan))).shift)
    assert decode(float, 3) == 3.0
    assert type(decode(float, 3)) is float
    assert decode(None, None) is None


def test_strict_json_has_words_for_infinity_and_nan_and_python_has_its_own():
    values = [math.inf, -math.inf, math.nan, 1.5]
    assert encode(values) == ["inf", "-inf", "nan", 1.5]
    assert json.dumps(encode(values, strict=False)) == "[Infinity, -Infinity, NaN, 1.5]"
    assert decode(Any, encode({"a": [math.inf]}, strict=False)) == {"a": [math.inf]}


MISTAKES = [
    ("name", 3, "name: expected a string, found 3"),
    ("count", True, "count: expected an integer, found True"),
    ("count", 3.0, "count: expected an integer, found 3.0"),
    ("rate", "fast", "rate: expected a number, found 'fast'"),
    ("rate", "Infinity", "rate: expected a number, found 'Infinity'"),
    ("rate", False, "rate: expected a number, found False"),
    ("rate", 10**400, "rate: expected a number that a float can hold, found 1000"),
    ("leaf", 1, "leaf: expected true or false, found 1"),
    ("leaf", None, "leaf: expected true or false, found None"),
    ("mode", "reflect", "mode: expected 'zeros' or 'same' or 0, found 'reflect'"),
    ("mode", False, "mode: expected 'zeros' or 'same' or 0, found False"),
    ("window", [1, 2], "window: expected an object, Window, found [1, 2]"),
    ("window", {"size": [1]}, "window.size: expected a list of 2, found [1]"),
    ("window", {"size": [1, "2"]}, "window.size[1]: expected an integer, found '2'"),
    ("window", {"shift": 1}, "window: missing: 'size'"),
    ("window", {"size": [1, 2], "s\x1b[31m": 1}, "window: unknown: 's\\x1b[31m'"),
    ("windows", "12", "windows: expected a list, found '12'"),
    ("windows", {"0": {}}, "windows: expected a list, found {'0': {}}"),
    ("windows", [{"size": [1, 2]}, 7], "windows[1]: expected an object, Window, found 7"),
    ("by_name", [], "by_name: expected an object, found []"),
    ("by_name", {"a.b": {"size": 0}}, "by_name['a.b'].size: expected a list, found 0"),
    ("path", None, "path: expected a string, found None"),
    ("parent", 3, "parent: expected an object, Window or null, found 3"),
    ("parent", {"size": [1, None]}, "parent.size[1]: expected an integer, found None"),
    ("either", {"size": [1, 1], "name": "x"}, "either: expected an object, Window or an object, Named or a string"),
    ("tags", ["a", 1], "tags[1]: expected a string, found 1"),
    ("config", [1], "config: expected an object, found [1]"),
]


@pytest.mark.parametrize(("name", "value", "words"), MISTAKES, ids=[f"{row[0]}-{row[1]!s:.20}" for row in MISTAKES])
def test_what_does_not_fit_is_told_by_its_path(name, value, words):
    with pytest.raises(DecodeError) as error:
        decode(Net, {**written(NET), name: value})
    assert str(error.value).startswith(words)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 200


def test_missing_and_unknown_fields_are_told_together():
    found = written(NET)
    del found["name"], found["count"], found["tags"]
    with pytest.raises(DecodeError, match=r"^net: missing: 'count', 'name'; unknown: 'size'$"):
        decode(Net, {**found, "size": 1}, "net")


def test_what_has_no_json_is_a_mistake_of_the_program():
    for value in ({1: 2}, {"a": {3}}, [b"x"], Window):
        with pytest.raises(TypeError):
            encode(value)
    with pytest.raises(TypeError):
        decode(bytes, "x")
