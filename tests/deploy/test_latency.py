"""`parity bench latency`: what it refuses, what it says of ways that cannot run, and its numbers."""

import json
import sys

import pytest
from onnx_nodes import one_node
from program import run

from parity import ParityError
from parity.deploy.latency import Timing, measure
from parity.processes.models import Model
from parity.reports.latency_figure import plot

TWINS = Model("torch", "lenet5"), Model("paddle", "lenet5")


def test_what_cannot_be_timed_is_one_line(tmp_path):
    for words, message in (
        (("latency", "resnet51"), "unknown network"),
        (("resnet51",), "did you mean resnet50"),  # what is no verb of bench is a model
        (("lenet5", "--onnx", tmp_path / "none.onnx"), "no such file"),
        (("lenet5", "--way", "jax"), "no way of that name"),
        (("lenet5", "--plot", tmp_path / "none/x.png"), "no such folder"),
    ):
        done = run("bench", *words, "--json", tmp_path / "x.json")
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
        assert message in done.stderr
    assert not (tmp_path / "x.json").exists()


def test_nothing_that_runs_is_an_error(tmp_path):
    with pytest.raises(ParityError, match=r"nothing to run: .*cannot import"):
        measure("lenet5", TWINS, [1], 1, 1, ["paddle"], {"paddle": sys.base_prefix + "/bin/python3"})


def test_a_way_that_cannot_run_says_why_and_the_others_run(tmp_path):
    from onnx import helper

    file = one_node(tmp_path / "other.onnx", helper.make_node("Relu", ["x0"], ["y"]), [1, 3, 8, 8])
    models = *TWINS, Model("onnx", str(file))
    rows, rate = measure("lenet5", models, [1, 2], 1, 2, ["torch eager", "paddle", "onnx"])
    assert rate > 1e8
    ran, refused = [row for row in rows if not row.refused], [row for row in rows if row.refused]
    assert {(row.way, row.batch) for row in ran} == {
        (way, batch) for way in ("torch eager", "paddle eager", "paddle inference") for batch in (1, 2)
    }
    for row in ran:
        assert 0 < row.p50 <= row.p99
        assert row.images == pytest.approx(row.batch / row.p50 * 1e3)
        assert row.share is not None
        assert row.share > 0
    assert [row.way for row in refused] == ["onnx other.onnx"] * 2
    assert "takes shape 1x3x8x8" in refused[0].refused


def test_a_plot_is_a_picture(tmp_path):
    from PIL import Image

    rows = [
        Timing("a", 1, 1, 2.0, 3.0, 500.0),
        Timing("a", 4, 1, 4.0, 5.0, 1000.0),
        Timing("b", 1, 1, refused="absent"),
    ]
    plot("net", rows, tmp_path / "x.png")
    with Image.open(tmp_path / "x.png") as image:
        assert image.format == "PNG"
        assert min(image.size) > 300


def test_the_files_are_made_where_none_are_given(tmp_path):
    """Of a framework that is not there, it says so."""
    words = "--rounds", 1, "--way", "onnx", "--paddle-python", sys.base_prefix + "/bin/python3"
    done = run("bench", "lenet5", *words, "--json", tmp_path / "x.json")
    assert done.returncode == 0, done.stderr
    rows = {row["way"]: row for row in json.loads((tmp_path / "x.json").read_text())["rows"]}
    made, absent = ([f"onnx lenet5.{backend}{raw}.onnx" for raw in ("", ".raw")] for backend in ("torch", "paddle"))
    assert set(rows) == {*made, *absent}
    assert all(rows[way]["p50"] > 0 and not rows[way]["refused"] for way in made)
    assert all("cannot import" in rows[way]["refused"] for way in absent)


@pytest.mark.zoo
def test_every_way_to_run_a_network(tmp_path):
    """With torch.compile, which takes its time."""
    done = run("bench", "lenet5", "--rounds", 2, "--json", tmp_path / "x.json", "--plot", tmp_path / "x.png")
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "x.json").read_text())
    assert {row["way"] for row in found["rows"]} == {
        "torch eager", "torch channels-last", "torch compile", "paddle eager", "paddle inference",
        *(f"onnx lenet5.{backend}{raw}.onnx" for backend in ("torch", "paddle") for raw in ("", ".raw")),
    }  # fmt: skip
    assert all(row["p50"] > 0 or row["refused"] for row in found["rows"])
