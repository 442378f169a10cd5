"""The table of exporter faults: each is measured, planted, and shown by docs/onnx.md; nothing measured is left out."""

from pathlib import Path

import exports
import paddle
import pytest
import torch
from export_layers import FIXED, LAYERS
from facts import export_page

from parity.analysis.export_cases import Case
from parity.analysis.exporter_faults import FAULTS, met, sentence
from parity.backends import paddle_backend, torch_backend

PAGE = Path(__file__).parent.parent.parent / "docs" / "onnx.md"
HEADING = "## What the exporters get wrong\n"
INTRODUCTION = """\
Written by `make docs` from `parity/analysis/exporter_faults.py`, which `parity lint` and `parity export` read too; do
not edit.

* *fixed*: the file is right. paddle2onnx 2.1 reads as float32 what Paddle 3.3 saves as float64, so it reads a random
  value: the saved program's attributes are rewritten as float32 first. A network is set to evaluation mode first.
  The remedy is for an exporter that is called without `parity export`.
* *refused*: no file is written; the layer and the remedy are named; exit 2.
* *found out in the file*: no layer's settings show it, the proof does: no file, exit 1 or 2. The same holds for
  any fault of a layer that is called as a function.
* *noted*: the file is right, and Paddle computes something else: it is written, with a note."""
T, P = torch.nn, paddle.nn


def case(layer, **known):
    backend = torch_backend if isinstance(layer, torch.nn.Module) else paddle_backend
    kind, config = backend.describe(layer)
    return Case(kind, config, **{"size": (8, 8), "opset": 18, "dynamic_size": False, **known})


def names(layer_case, exporter=None):
    return {fault.name for fault, _ in met(layer_case, exporter)}


# The document


def measured_link(row):
    heading = "onnx-pooling" if row.endswith(", drop") else "onnx-operators"
    return f"[{row}](differences.md#{heading})"


def handling(fault):
    """Return what `parity export` does about it."""
    return "found out in the file" if fault.handling == "refused" and not fault.kinds else fault.handling


def table():
    """Return the section of docs/onnx.md."""
    lines = [HEADING, *INTRODUCTION.splitlines(), ""]
    lines += ["| layer | exporter | alone, it | here | remedy | measured |", "|---|---|---|---|---|---|"]
    for fault in FAULTS:
        links = ", ".join(map(measured_link, fault.measured))
        first = f'<a id="{fault.name}"></a>{fault.layer}'
        lines.append(f"| {' | '.join([first, fault.who, fault.effect, handling(fault), _cell(fault.remedy), links])} |")
    return "\n".join(lines) + "\n\n"


def _cell(words):
    return words.replace("|", "\\|")


def page(text):
    """Return the document with the section as the table has it now."""
    before, _, rest = text.partition(HEADING)
    return before + table() + rest[rest.index("## ") :]


def test_the_document_shows_the_table():
    assert PAGE.read_text() == page(PAGE.read_text()), "run `make docs`"


def test_a_changed_row_would_be_seen_in_the_document(monkeypatch):
    monkeypatch.setitem(globals(), "FAULTS", FAULTS[1:])
    assert PAGE.read_text() != page(PAGE.read_text())


# What holds the rows


def wrong(row, backend, results):
    """Return whether a row of docs/differences.md was measured, and is wrong in this exporter's file."""
    if row.endswith(", drop"):
        pools = row.removesuffix(", drop")
        found = [p for p in results["pools"] if (p["exporter"], p["pools"], p["stratum"]) == (backend, pools, "drop")]
        return bool(found) and all(p["onnxruntime"] < p["cells"] for p in found)
    found = results["operators"].get(row, {})
    return backend in found and export_page.fault(found[backend]) != ""


def test_every_fault_is_measured():
    results = exports.kept()
    for fault in FAULTS:
        assert fault.measured
        assert all(wrong(row, fault.exporter, results) for row in fault.measured), fault.name


def test_a_row_that_is_missing_or_right_is_no_measurement():
    results = exports.kept()
    assert not wrong("LeakyReLU(0.4)", "paddle", results)
    assert not wrong("LeakyReLU(0.3)", "torch", results)
    assert not wrong("max, drop", "torch", results)
    assert not wrong("min, drop", "paddle", results)


def test_everything_measured_to_be_wrong_is_in_the_table():
    rows = {(fault.exporter, row) for fault in FAULTS for row in fault.measured}
    for name, backends in exports.kept()["operators"].items():
        for backend, result in backends.items():
            assert (export_page.fault(result) != "") == ((backend, name) in rows), (backend, name)


def test_names_are_anchors_and_differ():
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)
    assert all(fault.name.replace("-", "").isalpha() for fault in FAULTS)


PLANTED = [  # the fault, a layer that has it, what is known of the export, and the setting that is shown
    ("leaky-relu", P.LeakyReLU(0.2), {}, "negative_slope=0.2"),
    ("leaky-relu", T.LeakyReLU(0.2), {}, "negative_slope=0.2"),
    ("group-norm", T.GroupNorm(2, 4), {}, "eps=1e-05"),
    ("pad", T.ZeroPad2d(1), {}, "value=0"),
    ("pad", P.ZeroPad2D(1), {}, "value=0"),
    ("pad", T.ConstantPad2d(1, 0.5), {}, "value=0.5"),
    ("pad", P.Pad2D(1, value=0.5), {}, "value=0.5"),
    ("local-response-norm", T.LocalResponseNorm(5), {}, ""),
    ("softplus", P.Softplus(), {}, ""),
    ("softplus", T.Softplus(), {}, ""),
    ("softplus-set", P.Softplus(2, 20), {}, "beta=2, threshold=20"),
    ("softplus-set", T.Softplus(1, 15), {}, "beta=1, threshold=15"),
    ("upsample", T.Upsample(scale_factor=2), {}, "scale_factor=2.0"),
    ("gelu-tanh", T.GELU(approximate="tanh"), {}, "approximate=tanh"),
    ("gelu-tanh", P.GELU(True), {}, "approximate=tanh"),
    ("hardtanh", P.Hardtanh(-2, 2), {}, "min_val=-2, max_val=2"),
    ("unknown-operator", P.CELU(0.7), {}, ""),
    ("unknown-operator", P.Maxout(2), {}, ""),
    ("unknown-operator", P.ChannelShuffle(2), {}, ""),
    ("unknown-operator", T.PixelUnshuffle(2), {}, ""),
    ("same-dilation", P.Conv2D(2, 3, 3, padding="SAME", dilation=2), {}, "padding='same', dilation=[2, 2]"),
    ("layer-norm", P.LayerNorm([3, 4]), {}, "normalized_shape=[3, 4]"),
    ("layer-norm", T.LayerNorm([3, 4]), {}, "normalized_shape=[3, 4]"),
    ("circular", P.Pad2D(1, mode="circular"), {}, "mode=circular"),
    ("circular", P.Pad2D(1, mode="circular"), {"opset": None}, "mode=circular"),
    ("circular", T.CircularPad2d(1), {}, "mode=circular"),
    ("circular", P.Conv2D(2, 3, 3, padding=1, padding_mode="circular"), {}, "padding_mode=circular"),
    ("adaptive-uneven", P.AdaptiveAvgPool2D(3), {"size": (11, 9)}, "from [11, 9], output_size=[3, 3]"),
    ("adaptive-uneven", P.AdaptiveMaxPool2D((3, None)), {"size": None}, "output_size=[3, None]"),
    ("adaptive-uneven", P.AdaptiveAvgPool2D(4), {"size": (3, 3)}, "from [3, 3], output_size=[4, 4]"),
    ("adaptive-max", T.AdaptiveMaxPool2d(2), {"size": (9, 9)}, "from [9, 9], output_size=[2, 2]"),
    ("adaptive-dynamic", T.AdaptiveAvgPool2d(2), {"dynamic_size": True}, "--dynamic-size, output_size=[2, 2]"),
    ("adaptive-dynamic", T.AdaptiveAvgPool2d(2), {"dynamic_size": None}, "--dynamic-size, output_size=[2, 2]"),
    ("adaptive-dynamic-paddle", P.AdaptiveMaxPool2D(2), {"dynamic_size": True}, "--dynamic-size, output_size=[2, 2]"),
    ("divisor-override", T.AvgPool2d(3, divisor_override=4), {}, "divisor_override=4"),
    ("training-mode", T.Dropout(0.5), {"training": True}, "training mode"),
    ("log-softmax", P.LogSoftmax(1), {}, ""),
]


@pytest.mark.parametrize("name, layer, known, setting", PLANTED, ids=[f"{i}-{row[0]}" for i, row in enumerate(PLANTED)])
def test_a_fault_is_met(name, layer, known, setting):
    found = {fault.name: said for fault, said in met(case(layer, **known))}
    assert found[name] == setting


def test_every_fault_with_kinds_is_planted_in_each():
    assert {fault.name for fault in FAULTS if fault.kinds} == {name for name, *_ in PLANTED}
    planted = {(name, case(layer).kind) for name, layer, *_ in PLANTED}
    rest = {(fault.name, kind) for fault in FAULTS for kind in fault.kinds} - planted
    assert rest == {("adaptive-dynamic", "AdaptiveMaxPool2d"), ("adaptive-dynamic-paddle", "AdaptiveAvgPool2d")}


@pytest.mark.parametrize(
    "layer, known",
    [
        (P.Pad2D(1, mode="reflect"), {}),
        (P.Pad2D(1, mode="circular"), {"opset": 19}),
        (T.Upsample((4, 4)), {}),
        (P.GELU(), {}),
        (P.Hardtanh(), {}),
        (T.ReLU6(), {}),
        (P.Conv2D(2, 3, 3, padding="SAME"), {}),
        (P.Conv2D(2, 3, 3, padding=2, dilation=2, padding_mode="reflect"), {}),
        (P.LayerNorm(4), {}),
        (T.AvgPool2d(3), {}),
        (T.Dropout(0.5), {}),
        (P.AdaptiveAvgPool2D(4), {}),
        (P.AdaptiveMaxPool2D((None, 1)), {"size": None, "dynamic_size": None}),
        (T.AdaptiveAvgPool2d(1), {"dynamic_size": True}),
    ],
)
def test_a_right_layer_meets_none(layer, known):
    assert names(case(layer, **known)) == set()


def test_a_fault_is_its_exporters_own():
    nine = case(P.AdaptiveMaxPool2D(2), size=(9, 9))
    assert names(nine, "torch") == {"adaptive-max"}
    assert names(nine, "paddle") == set()  # of equal windows, though 2 does not divide 9
    assert names(case(T.LeakyReLU()), "torch") == set()


def test_a_sentence_names_layer_setting_exporter_and_remedy():
    given = case(P.GELU(True))
    ((fault, setting),) = met(given)
    assert sentence(fault, "act", given, setting) == (
        "act: GELU: approximate=tanh: paddle2onnx writes erf for tanh. Remedy: write the tanh form out"
    )
    given = case(P.CELU())
    ((fault, setting),) = met(given)
    assert sentence(fault, "act", given, setting).startswith("act: CELU: paddle2onnx does not know it")


def test_every_fault_that_is_fixed_has_a_layer_that_is_exported():
    """tests/deploy/test_export.py does."""
    assert {fault.name for fault in FAULTS if fault.handling == "fixed"} == set(FIXED.values())
    assert set(FIXED) <= set(LAYERS)


if __name__ == "__main__":
    _ = PAGE.write_text(page(PAGE.read_text()))
