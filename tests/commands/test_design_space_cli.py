"""`parity design-space`."""

import json
import struct

import pytest
from program import run

from parity.analysis.design_population import describe, summary
from parity.analysis.design_space import cost, sample
from parity.commands import design_space as command

pytestmark = pytest.mark.core


def drawn(*arguments):
    return run("design-space", *arguments)


def png_size(path):
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    return struct.unpack(">II", data[16:24])


@pytest.mark.parametrize(
    "content, words",
    (
        (None, "cannot read: No such file or directory"),
        (b"", "no column 'error'; columns: none"),
        (b"name,top1\na,1\n", "no column 'error'; columns: name, top1"),
        (b"name,error\n", "no rows"),
        (
            b"error\n1\nx\n-2\nnan\n",
            "not a number >= 0: line 3: error is 'x'; line 4: error is '-2'; line 5: error is 'nan'",
        ),
        (b"error\n" + b"x\n" * 100, "line 11: error is 'x'; and 90 more"),
        (b"\xff\xfe\x00\x01", "not a CSV file"),
        (b"error\n" + b"1" * 200_000 + b"\n", "not a CSV file: field larger than field limit"),
        (b"name,error\na\n", "line 2: error is None"),
    ),
)
def test_a_bad_results_file_is_one_line_and_exit_2(tmp_path, content, words):
    path = tmp_path / "results.csv"
    if content is not None:
        path.write_bytes(content)
    done = drawn("--samples", 1, "--edf", path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"parity: --edf {path}: ") and words in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "arguments, words",
    (
        (["--plot", "/nowhere/x.png"], "/nowhere/x.png: cannot write: no such folder"),
        (["--plot", "x.pdf"], "--plot x.pdf: this writes a PNG; name a file that ends in .png"),
        (["--json", "/nowhere/x.json"], "/nowhere/x.json: cannot write: no such folder"),
        (["--edf", "."], "--edf .: cannot read: Is a directory"),
    ),
)
def test_bad_paths_are_one_line_and_exit_2(arguments, words):
    done = drawn(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize("arguments", (["--samples", 0], ["--stage", "F"], ["--seed", "x"]))
def test_wrong_usage_is_exit_2(arguments):
    assert drawn(*arguments).returncode == 2


def test_a_missing_matplotlib_is_said_before_anything_is_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr(command, "find_spec", lambda _: None)
    done = drawn("--plot", tmp_path / "x.png")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "parity: --plot needs matplotlib: pip install matplotlib\n"
    assert drawn("--samples", 1).returncode == 0


def test_what_is_printed_and_written_is_the_draw(tmp_path):
    file = tmp_path / "x.json"
    done = drawn("--samples", 20, "--stage", "C", "--seed", 3, "--json", file)
    assert (done.returncode, done.stderr) == (0, "")
    data, designs = json.loads(file.read_text()), sample("C", 20, 3)
    assert [data[key] for key in ("schema", "space", "seed", "errors")] == [1, "C", 3, {}]
    for row, design in zip(data["networks"], designs, strict=True):
        assert (tuple(row["depths"]), tuple(row["widths"])) == (design.depths, design.widths)
        assert (row["macs"], row["parameters"]) == (cost(design).macs, cost(design).parameters)
    measures = summary(describe(designs))
    assert data["summary"] == measures
    for name, row in measures.items():
        (line,) = [line for line in done.stdout.splitlines() if line.startswith(f"{name} ")]
        assert line.removeprefix(name).split() == [f"{value:.4g}" for value in row.values()]
    best = min(data["networks"], key=lambda row: row["fit"]["error"])["fit"]
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("best ")]
    assert line.split()[1:] == [f"{best[key]:.4g}" for key in ("error", "w0", "wa", "wm")]


def test_the_same_seed_prints_the_same():
    assert drawn("--samples", 5).stdout == drawn("--samples", 5, "--stage", "E", "--seed", 0).stdout
    assert drawn("--samples", 5).stdout != drawn("--samples", 5, "--seed", 1).stdout


@pytest.mark.extras
def test_a_plot_is_a_png_with_a_panel_more_for_results(tmp_path):
    for name, errors in (("a.csv", "40,42,44"), ("b.csv", "39,41,43")):
        (tmp_path / name).write_text("error\n" + errors.replace(",", "\n") + "\n")
    curves = ["--edf", tmp_path / "a.csv", "--edf", tmp_path / "b.csv"]
    assert drawn("--samples", 8, "--plot", tmp_path / "without.png").returncode == 0
    done = drawn("--samples", 8, "--plot", tmp_path / "with.PNG", *curves, "--json", tmp_path / "x.json")
    assert done.returncode == 0
    assert [line.split()[1:] for line in done.stdout.splitlines()[-2:]] == [
        ["3", "40", "42", "44"],
        ["3", "39", "41", "43"],
    ]
    assert list(json.loads((tmp_path / "x.json").read_text())["errors"].values()) == [[40, 42, 44], [39, 41, 43]]
    small, large = png_size(tmp_path / "without.png"), png_size(tmp_path / "with.PNG")
    assert large[0] > small[0] > 1000 and large[1] == small[1]
    assert not list(tmp_path.glob(".*")), "a temporary file was left"
