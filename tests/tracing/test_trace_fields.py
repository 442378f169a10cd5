"""A trace whose header was changed: refused with the file and the field, or judged; nothing else."""

import copy
import json
import random

import numpy as np
import pytest
import torch

from parity import Comparison, ParityError, Trace
from parity.backends import torch_backend
from parity.judging.explain import with_culprits
from parity.judging.judge import judge
from parity.tracing.record import record
from parity.tracing.trace import TraceWriter

VALUES = [
    None, True, False, 0, 1, -1, 10**400, 0.5, -0.5, 1e300, float("nan"), float("inf"), "", "x", "nan", "t0",
    "__metadata__", [], [1], ["t0"], [None], {}, {"constant": "x"}, {"weight": "t0"}, {"weight": {}},
]  # fmt: skip


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    path = tmp_path_factory.mktemp("trace") / "t.safetensors"
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2), torch.nn.ReLU()).eval()
    image = np.random.default_rng(0).normal(size=(1, 1, 5, 5)).astype(np.float32)
    record(torch_backend, network, [image], path, gradients=True, manifest={"state_sha256": ""})
    return path


def parts(path):
    content = path.read_bytes()
    length = 8 + int.from_bytes(content[:8], "little")
    entries = json.loads(content[8:length])
    return entries, json.loads(entries["__metadata__"]["parity_trace"]), content[length:]


def written(path, entries, header, data):
    """Write a trace with another header; `path`."""
    entries = {**entries, "__metadata__": {"parity_trace": json.dumps(header)}}
    text = json.dumps(entries).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def places(value, path=()):
    """Yield the path of everything in a JSON value."""
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, item in items:
        yield from places(item, (*path, name))


def changed(value, path, new):
    value = copy.deepcopy(value)
    inner = value
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = new
    return value


def judged(one, other):
    """Everything that reads a trace's calls."""
    for pair in ((one, other), (other, one)):
        with Trace(pair[0]) as reference, Trace(pair[1]) as candidate:
            comparison = judge("net", reference, candidate)
            comparison = with_culprits(comparison, reference, candidate, {}, None)
        assert Comparison.from_json(comparison.to_json()).to_json() == comparison.to_json()
        assert str(comparison)


def outcome(path, right):
    """Return the refusal's words, "" where the trace was judged."""
    try:
        judged(path, right)
    except ParityError as error:
        words = str(error)
    else:
        return ""
    assert words.startswith(f"{path}: damaged trace: ")
    assert "\n" not in words
    return words


def test_a_trace_that_was_not_changed_passes(recorded, tmp_path):
    assert outcome(written(tmp_path / "t", *parts(recorded)), recorded) == ""


@pytest.mark.parametrize("framework", ["torch", "onnx"])
@pytest.mark.parametrize("number", [0, 3], ids=["leaf", "network"])
def test_any_field_of_a_call_may_hold_anything(recorded, tmp_path, number, framework):
    entries, header, data = parts(recorded)
    header["manifest"]["framework"] = framework  # a file's calls are paired in another way
    draw, refused = random.Random(number), 0
    for place in places(header["calls"][number]):
        if place[0] == "config" and len(place) > 2:
            continue
        for value in draw.sample(VALUES, 6):
            wrong = changed(header, ("calls", number, *place), value)
            words = outcome(written(tmp_path / "t", entries, wrong, data), recorded)
            assert not words or f"calls[{number}]" in words, (place, value)
            refused += bool(words)
    assert refused > 60


WRONG = [
    (("layer",), [1], "layer: expected a string, found [1]"),
    (("number",), -1, "number: no run has -1"),
    (("terms",), 0, "terms: no run has 0"),
    (("terms",), 10**400, "terms: no run has 1000"),
    (("terms",), 2.0, "terms: expected an integer, found 2.0"),
    (("known_error",), "x", "known_error: expected a number, found 'x'"),
    (("known_error",), float("nan"), "known_error: no run has nan"),
    (("known_error",), float("inf"), "known_error: no run has inf"),
    (("known_error",), -1.0, "known_error: no run has -1.0"),
    (("leaf",), 1, "leaf: expected true or false, found 1"),
    (("config",), [], "config: expected an object, found []"),
    (("config", "constant"), "x", "config['constant']: expected an integer, found 'x'"),
    (("inputs",), ["t999"], "inputs: the file holds no tensor 't999'"),
    (("outputs", 0), "__metadata__", "outputs: the file holds no tensor '__metadata__'"),
    (("gradients", "weight"), "t999", "gradients: the file holds no tensor 't999'"),
    (("gradients",), {"lost": "t0"}, "gradient_noise: none for 'lost'"),
    (("gradient_noise",), 3, "gradient_noise: expected an object, found 3"),
    (("noise",), [], "noise: 0 of them for 1 outputs"),
    (("noise", 0), 0.5, "noise[0]: expected an object, Noise, found 0.5"),
    (("noise", 0, "relative"), None, "noise[0].relative: expected a number, found None"),
    (("noise", 0, "relative"), -1, "noise: a distance below 0"),
    (("gradient_noise", "weight", "relative"), -1, "noise: a distance below 0"),
    (("more",), 1, ": unknown: 'more'"),
]


@pytest.mark.parametrize(("place", "value", "words"), WRONG, ids=[f"{row[0]}-{row[1]!s:.10}" for row in WRONG])
def test_a_wrong_field_is_named(recorded, tmp_path, place, value, words):
    entries, header, data = parts(recorded)
    header["calls"][0] = changed(header["calls"][0], place, value)
    with pytest.raises(ParityError) as error:
        Trace(written(tmp_path / "t", entries, header, data))
    dot = "" if words.startswith(":") else "."
    assert str(error.value).startswith(f"{tmp_path / 't'}: damaged trace: calls[0]{dot}{words}")


def test_a_missing_field_is_named_unless_it_has_a_default(recorded, tmp_path):
    entries, header, data = parts(recorded)
    del header["calls"][1]["known_error"]  # a trace from before it was there
    assert outcome(written(tmp_path / "t", entries, header, data), recorded) == ""
    del header["calls"][1]["terms"]
    with pytest.raises(ParityError, match=r"damaged trace: calls\[1\]: missing: 'terms'"):
        Trace(written(tmp_path / "t", entries, header, data))


@pytest.mark.parametrize("text", ["[]", "{}", "[" * 100_000, '{"schema": "1"}', '{"schema": 1}', "{"])
def test_a_header_that_is_none_is_refused(tmp_path, text):
    path = tmp_path / "t"
    text = json.dumps({"__metadata__": {"parity_trace": text}}).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    with pytest.raises(ParityError) as error:
        Trace(path)
    assert str(error.value).startswith(f"{path}: ")


def test_a_tensor_of_a_dtype_that_no_trace_holds_is_refused(recorded, tmp_path):
    entries, header, data = parts(recorded)
    entry = entries[header["calls"][0]["inputs"][0]]
    entry["dtype"], entry["shape"] = "BF16", [*entry["shape"], 4]  # as many bytes
    with pytest.raises(ParityError, match="is of dtype BF16"):
        Trace(written(tmp_path / "t", entries, header, data))


def test_infinity_and_nan_are_written_as_traces_always_did(tmp_path):
    TraceWriter(tmp_path / "t").close({"a": float("inf"), "b": float("nan")}, [])
    with Trace(tmp_path / "t") as trace:
        assert trace.manifest["a"] == float("inf")
    assert b'\\"a\\": Infinity, \\"b\\": NaN' in (tmp_path / "t").read_bytes()
