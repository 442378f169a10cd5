"""`parity compare` as a user meets it: bad input first, then what differs, then what passes, then how it looks."""

import dataclasses
import json
import os
import pty
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from program import HERE, PADDLE, PROGRAM, TORCH, environment, run, script
from safetensors.numpy import save_file
from torch_nets import net, wave

from parity import Comparison
from parity.backends.torch_backend import get_state
from parity.commands.program import main
from parity.judging.comparison import SCHEMA, Culprit, Divergence, Layer
from parity.weights.pdparams import write_pdparams

SMALL = ("--input", "2,3,8,8")
ESCAPE = "\x1b"
COLOUR = re.compile(r"\x1b\[(?:\d+;)*(?:3[0-9]|9[0-7])(?:;\d+)*m")


def listing(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.fixture
def desk(tmp_path):
    """A folder with the files a user may get wrong, and a folder for temporary files beside it."""
    folder, scratch = tmp_path / "desk", tmp_path / "scratch"
    folder.mkdir()
    scratch.mkdir()
    (folder / "text.png").write_text("no picture")
    (folder / "folder.png").mkdir()
    np.save(folder / "four.npy", np.ones((1, 4, 64, 64), np.float32))
    np.save(folder / "none.npy", np.ones((0, 3, 64, 64), np.float32))
    np.save(folder / "objects.npy", np.array([{"a": 1}], dtype=object))
    np.save(folder / "good.npy", np.ones((1, 3, 64, 64), np.float32))
    (folder / "cut.npy").write_bytes((folder / "good.npy").read_bytes()[:5000])
    (folder / "header.npy").write_bytes((folder / "good.npy").read_bytes().replace(b"64, 64)", b"64, 64 "))
    os.mkfifo(folder / "pipe")
    return folder


def refused(desk, *arguments, **more):
    """Run what must fail; return its one line on stderr."""
    before = listing(desk)
    done = run("compare", *arguments, cwd=desk, TMPDIR=str(desk.with_name("scratch")), **more)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("parity: ")
    assert listing(desk) == before
    assert listing(desk.with_name("scratch")) == set()
    return done.stderr.removeprefix("parity: ").removesuffix("\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["resnet19"], r"unknown network 'resnet19'; did you mean resnet18"),
        (["torch:resnet5", "paddle:resnet50"], r"unknown network 'resnet5'; did you mean resnet50"),
        (["jax:resnet18", "paddle:resnet18"], r"unknown model 'jax:resnet18'; a model is a zoo name, torch:"),
        (["torch:resnet18"], r"torch:resnet18: compare it with what\?"),
        (["resnet18", "paddle:resnet18"], r"resnet18 names both twins already"),
        (["trace:gone.safetensors", "paddle:resnet18"], r"trace:gone\.safetensors: no such file"),
        (["resnet18", "--input", "gone.png"], r"--input gone\.png: No such file"),
        (["resnet18", "--input", "text.png"], r"--input text\.png: not a picture that can be read; give a JPEG or PNG"),
        (["resnet18", "--input", "folder.png"], r"--input folder\.png: Is a directory"),
        (["resnet18", "--input", "1,4,64,64"], r"--input 1,4,64,64: 4 channels .* the network takes 3"),
        (["resnet18", "--input", "four.npy"], r"--input four\.npy: 4 channels .* the network takes 3"),
        (["resnet18", "--input", "0,3,64,64"], r"--input 0,3,64,64: a shape is N,C,H,W, each at least 1"),
        (["resnet18", "--input", "none.npy"], r"--input none\.npy: .* a batch needs at least one image"),
        (["resnet18", "--input", "1,3,9000000,9000000"], r"--input 1,3,9000000,9000000: too large for this machine"),
        (["resnet18", "--input", "objects.npy"], r"--input objects\.npy: not a \.npy file of numbers"),
        (["resnet18", "--input", "cut.npy"], r"--input cut\.npy: not a \.npy file of numbers"),
        (["resnet18", "--input", "header.npy"], r"--input header\.npy: not a \.npy file of numbers"),
        (["resnet18", "--json", "gone/out.json"], r"gone/out\.json: cannot write: no such folder"),
        (["resnet18", "--json", "pipe"], r"pipe: cannot write: it is not a file"),
        (["resnet18", "--json", "folder.png"], r"folder\.png: cannot write: it is a folder"),
        (["resnet18", "--weights", "gone.safetensors"], r"gone\.safetensors: no such file"),
        (["resnet18", "--weights", "weights.ckpt"], r"weights\.ckpt: unknown kind of weights file"),
        (["resnet18", "--torch-python", "gone"], r"--torch-python gone: cannot start it: No such file"),
    ],
)
def test_bad_input_is_one_line(desk, arguments, words, monkeypatch, capfd):
    outputs = [] if "--json" in arguments else ["--json", "out.json"]
    monkeypatch.chdir(desk)
    monkeypatch.setattr(tempfile, "tempdir", str(desk.with_name("scratch")))
    monkeypatch.setattr(sys, "argv", ["parity", "compare", *arguments, *outputs])
    before = listing(desk.parent)
    with pytest.raises(SystemExit) as end:
        main()
    out, err = capfd.readouterr()
    assert (end.value.code, out) == (2, "")
    assert re.fullmatch(f"parity: {words}.*\n", err)
    assert listing(desk.parent) == before


def test_a_wrong_option_is_a_wrong_usage():
    for arguments in (["resnet18", "--device", "tpu"], ["resnet18", "--seed", "-1"], ["resnet18", "--no-such"]):
        done = run("compare", *arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("Usage: parity compare")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """Paddle's trace of its network with random weights, and the run that kept it."""
    folder = tmp_path_factory.mktemp("recorded")
    model = f"{PADDLE}:net"
    done = run("compare", model, model, *SMALL, "--save-trace", ".", cwd=folder)
    return f"trace:{folder}/net.reference.trace.safetensors", done


def test_an_image_too_small_for_a_layer(desk, recorded):
    outputs = ("--json", "out.json", "--save-trace", "traces")
    line = refused(desk, recorded[0], f"{PADDLE}:wide", "--input", "1,3,4,4", *outputs)
    assert line == "0: Conv2d: a window of 7x7 does not fit its input of 4x4 (padding 0x0). Use a larger image."


def test_a_wrong_number_of_channels_for_a_users_network(desk, recorded):
    line = refused(desk, recorded[0], f"{PADDLE}:net", "--input", "four.npy")
    assert line == "conv: Conv2d takes 3 channels, its input's shape is (1, 4, 64, 64)."


def test_weights_of_another_network_are_all_named(desk, recorded):
    weights = {"conv.weight": wave((4, 3, 5, 5)), "head.weight": wave((4, 4))}
    save_file(weights, desk / "other.safetensors")
    lines = refused(desk, recorded[0], f"{PADDLE}:net", *SMALL, "--weights", "other.safetensors")
    first, *others = lines.split("\n")
    assert first.startswith("net: the weights do not fit; is it another network")
    found = [line.strip() for line in others]
    assert found == sorted(found)
    assert "conv.weight: shape differs: paddle=(4, 3, 3, 3), weights=(4, 3, 5, 5)" in found
    assert "head.weight: unexpected, the network has no such tensor" in found
    assert "fc.bias: missing from the weights, shape (4,)" in found


@pytest.mark.parametrize("ending", ["safetensors", "pdparams", "pth"])
def test_truncated_weights(desk, recorded, ending):
    path = desk / f"weights.{ending}"
    if ending == "pth":
        torch.save(net().state_dict(), path)
    else:
        write = {"safetensors": save_file, "pdparams": write_pdparams}[ending]
        write({"conv.weight": wave((4, 3, 3, 3))}, path)
    path.write_bytes(path.read_bytes()[:-40])
    model = f"{TORCH}:net" if ending == "pth" else f"{PADDLE}:net"
    line = refused(desk, recorded[0], model, *SMALL, "--weights", path.name, "--save-trace", "traces")
    assert path.name in line
    assert "\n" not in line


@pytest.mark.parametrize(("backend", "model"), [("torch", TORCH), ("paddle", PADDLE)])
def test_a_gpu_that_is_not_there(desk, recorded, backend, model):
    line = refused(desk, recorded[0], f"{model}:net", *SMALL, "--device", "gpu", CUDA_VISIBLE_DEVICES="")
    assert re.match(rf"--device gpu: {backend} \S+ \(.*\) sees no GPU\. .*use --device cpu\.", line)


def test_an_interpreter_without_torch(desk, recorded, tmp_path):
    packages = tmp_path / "packages"
    packages.mkdir()
    site = Path(np.__file__).parents[1]
    for name in ("numpy", "numpy.libs", "safetensors"):
        (packages / name).symlink_to(site / name)
    python = script(tmp_path / "python", f'PYTHONPATH={packages} exec {sys.executable} -S "$@"')
    line = refused(desk, recorded[0], f"{TORCH}:net", *SMALL, "--torch-python", python)
    assert line.endswith("cannot import the torch backend: ModuleNotFoundError: No module named 'torch'")


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("misbehaving.py:gone", "AttributeError: module 'misbehaving' has no attribute 'gone'"),
        ("misbehaving.py:makes_a_number", "returned an object of type int, which is not a network"),
        ("misbehaving.py:raises_over_three_lines", "ValueError: one two three (misbehaving.py:"),
    ],
)
def test_a_callable_that_makes_no_network(desk, recorded, spec, words):
    shutil.copy(HERE / "misbehaving.py", desk)
    line = refused(desk, recorded[0], f"paddle:{spec}", *SMALL)
    assert line.replace(f"{desk}/", "").startswith(f"paddle:{spec}: {words}")


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A user's networks with their own weights: a module's callable against a file's, and what the run left."""
    folder = tmp_path_factory.mktemp("own")
    shutil.copy(HERE / "torch_nets.py", folder)
    arguments = ("torch:torch_nets:net", f"{PADDLE}:net", *SMALL, "--weights", "own", "--save-trace", "traces")
    return folder, run("compare", *arguments, "--json", "out.json", cwd=folder)


def test_a_module_and_a_file_hold_the_same_network(own):
    folder, done = own
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("net: rounding: 6 layers are the same function")
    found = json.loads((folder / "out.json").read_text())
    assert found["reference"]["weights"] == "own"
    assert found["reference"]["state_sha256"] == get_state(net()).digest()
    assert listing(folder) == {
        "torch_nets.py",
        "traces",
        "traces/net.torch.trace.safetensors",
        "traces/net.paddle.trace.safetensors",
        "out.json",
    } | {path for path in listing(folder) if "__pycache__" in path}


def test_a_planted_eps_is_named(tmp_path):
    done = run(
        "compare", f"{TORCH}:net", f"{PADDLE}:eps_off_by_ten_percent", *SMALL, "--weights", "own", "--quiet",
        "--json", "out.json", cwd=tmp_path,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout == "net: different: norm: eps differs: torch=1e-05, paddle=1.1e-05.\n"
    found = json.loads((tmp_path / "out.json").read_text())
    assert (found["ok"], found["verdict"], found["first_divergence"]["layer"]) == (False, "different", "norm")


def test_a_trace_is_the_same_run_again(recorded):
    trace, done = recorded
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1].startswith("net: exact: ")
    done = run("compare", trace, f"{PADDLE}:net", *SMALL, "--quiet")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("net: exact: ")


def test_a_trace_of_other_weights_differs(recorded):
    done = run("compare", recorded[0], f"{PADDLE}:net", *SMALL, "--seed", "1")
    assert (done.returncode, done.stderr) == (1, "")
    assert "note: the two have different weights\n" in done.stdout
    assert "first divergence: inside conv: " in done.stdout
    assert done.stdout.splitlines()[-1].startswith("net: different: conv: ")


def test_a_trace_of_another_input_is_no_comparison(recorded):
    done = run("compare", recorded[0], f"{PADDLE}:net", "--input", "2,3,8,9")
    assert (done.returncode, done.stderr) == (1, "")
    assert "note: the two were given different inputs\n" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("net: invalid: ")


def test_weights_that_only_torch_can_read_reach_both_sides(tmp_path):
    weights = net().state_dict()
    weights["fc.bias"] += 1
    torch.save(weights, tmp_path / "net.pth")
    arguments = (f"{TORCH}:net", f"{PADDLE}:net", "--weights", "net.pth", "--json", "out.json", "--quiet")
    done = run("compare", *arguments, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["layers"][0]["shape"] == [1, 4, 222, 222]  # of the project's own photograph
    assert found["reference"]["weights"] == "net.pth"
    assert found["reference"]["state_sha256"] == found["candidate"]["state_sha256"]


def strict(path):
    def refuse(constant):
        raise ValueError(constant)

    return json.loads(path.read_text(), parse_constant=refuse)


def names(kind):
    return [field.name for field in dataclasses.fields(kind)]


def test_a_nan_in_the_input_proves_nothing_and_its_json_is_strict(tmp_path):
    image = np.ones((1, 3, 8, 8), np.float32)
    image[0, 1, 2, 3] = np.nan
    np.save(tmp_path / "nan.npy", image)
    model = f"{PADDLE}:net"
    done = run("compare", model, model, "--input", "nan.npy", "--json", "out.json", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.splitlines()[-1].startswith("net: invalid: ")
    found = strict(tmp_path / "out.json")
    assert (found["ok"], found["verdict"]) == (False, "invalid")
    assert found["layers"][0]["distance"] == "nan"
    assert list(found) == ["schema", "ok", *names(Comparison)]
    assert list(found["first_divergence"]) == names(Divergence)
    assert list(found["culprits"][0]) == names(Culprit)


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    """ResNet-18's twins, and what the run left."""
    folder = tmp_path_factory.mktemp("zoo")
    arguments = ("resnet18", "--input", "1,3,64,64", "--save-trace", ".", "--json", "out.json", "--all-layers")
    return folder, run("compare", *arguments, cwd=folder)


def test_twins_of_the_zoo_are_the_same_function(zoo):
    done = zoo[1]
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1].startswith("resnet18: rounding: 61 layers are the same function (worst float64")


def test_json_has_the_names_of_a_comparison(zoo):
    found = strict(zoo[0] / "out.json")
    assert (found["schema"], SCHEMA) == (1, 1)
    assert list(found) == ["schema", "ok", *names(Comparison)]
    assert (found["ok"], found["verdict"], found["culprits"], found["first_divergence"]) == (True, "rounding", [], None)
    assert all(list(layer) == names(Layer) for layer in found["layers"])
    assert (found["reference"]["framework"], found["candidate"]["framework"]) == ("torch", "paddle")


def test_all_layers_has_a_row_for_every_layer(zoo):
    heading, *rows, _ = zoo[1].stdout.splitlines()
    assert heading.split()[:3] == ["layer", "kind", "output"]
    layers = strict(zoo[0] / "out.json")["layers"]
    calls = [(each["layer"], each["call"]) for each in layers if each["leaf"]]
    assert len(calls) == 61
    labels = [name + (f" (call {number})" if number else "") for name, number in calls]
    assert [row.split("  ")[0] for row in rows] == [*labels, "(network)"]
    assert all(row.rstrip().endswith(("rounding", "exact")) for row in rows)


def test_both_sides_of_the_zoo_can_be_named_in_either_order(tmp_path):
    arguments = ("paddle:resnet18", "torch:resnet18", "--input", "1,3,32,32", "--num-classes", "7")
    done = run("compare", *arguments, "--json", "out.json", "--quiet", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    found = strict(tmp_path / "out.json")
    assert (found["reference"]["framework"], found["candidate"]["framework"]) == ("paddle", "torch")
    assert found["layers"][-1]["shape"] == [1, 7]


@pytest.fixture(scope="module")
def traces(own):
    """Two traces: a comparison that starts no worker."""
    return [f"trace:{own[0]}/traces/net.{backend}.trace.safetensors" for backend in ("torch", "paddle")]


def test_quiet_prints_one_line(traces):
    done = run("compare", *traces, "--quiet")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\n") == 1
    assert ": rounding: 6 layers are the same function" in done.stdout


def test_what_is_piped_has_no_escape_codes_and_is_not_cut(zoo, own):
    report = zoo[1].stdout + own[1].stdout
    assert ESCAPE not in report
    assert "…" not in report


def terminal(*arguments, streams=("stdout", "stderr"), cwd=None, **more):
    """Run with a terminal at some of the streams; return the exit code, what it showed, and what went past it."""
    ours, theirs = pty.openpty()
    ends = {name: theirs if name in streams else subprocess.PIPE for name in ("stdout", "stderr")}
    command = [PROGRAM, *map(str, arguments)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, cwd=cwd, env=environment(**more), **ends) as process:
        os.close(theirs)
        shown = b""
        while piece := _read(ours):
            shown += piece
        rest = [stream.read() for stream in (process.stdout, process.stderr) if stream]
    os.close(ours)
    return process.returncode, shown.decode().replace("\r\n", "\n"), b"".join(rest).decode()


def _read(handle):
    try:
        return os.read(handle, 1 << 16)
    except OSError:  # Linux says so when the other end has been closed
        return b""


def test_a_terminal_has_colour_and_the_whole_table(traces, own):
    code, shown, _ = terminal("compare", *traces, streams=("stdout",), COLUMNS="200")
    assert code == 0
    assert COLOUR.search(shown)
    assert "…" not in shown
    table = [line.rstrip() for line in own[1].stdout.splitlines()[:-1]]
    assert [line.rstrip() for line in re.sub(r"\x1b\[[\d;]*m", "", shown).splitlines()[:-1]] == table


@pytest.mark.parametrize(("columns", "left_out"), [(200, set()), (72, {"kind"}), (60, {"kind", "output"})])
def test_a_narrow_terminal_shows_fewer_columns_and_whole_rows(traces, columns, left_out):
    code, shown, _ = terminal("compare", *traces, streams=("stdout",), COLUMNS=str(columns), NO_COLOR="1")
    heading, *rows = [re.sub(r"\x1b\[[\d;]*m", "", line) for line in shown.splitlines()][:-1]
    assert code == 0
    assert max(map(len, (heading, *rows))) <= columns
    everything = ["stage", "kind", "output", "float64", "allowed", "torch", "paddle", "bound", "verdict"]
    assert heading.split() == [word for word in everything if word not in left_out]
    assert all(row.rstrip().endswith(("rounding", "exact")) for row in rows)


def test_no_color_is_honoured_on_a_terminal(traces):
    code, shown, _ = terminal("compare", *traces, streams=("stdout",), NO_COLOR="1")
    assert code == 0
    assert "rounding" in shown
    assert not COLOUR.search(shown)


def test_progress_is_shown_on_stderr_and_the_report_on_stdout(recorded):
    code, shown, report = terminal("compare", recorded[0], f"{PADDLE}:net", *SMALL, streams=("stderr",))
    assert code == 0
    assert "net: paddle float" in shown
    assert "exact: 6 layers" not in shown
    assert ESCAPE not in report
    assert report.splitlines()[-1].startswith("net: exact: 6 layers")


def test_another_interpreter_runs_its_side_alone(tmp_path):
    python = script(tmp_path / "python", f'echo "$@" >> {tmp_path}/started\nexec {sys.executable} "$@"')
    Image.effect_noise((300, 280), 60).convert("RGB").save(tmp_path / "picture.jpg")
    arguments = (f"{TORCH}:net", f"{PADDLE}:net", "--input", "picture.jpg", "--paddle-python", python, "--quiet")
    done = run("compare", *arguments, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    (started,) = (tmp_path / "started").read_text().splitlines()
    assert started.split()[-1] == "paddle"


@pytest.mark.parametrize("arguments", [[], ["--quiet"]])
def test_a_report_that_nobody_takes_is_not_the_answer_no(traces, arguments):
    """1 says that two networks differ; a closed pipe, a full disk say nothing of the kind."""
    command = [PROGRAM, "compare", *traces, *arguments]
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as closed:
        done = subprocess.run(command, stdout=closed, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "")
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert re.fullmatch(r"parity: .*No space left on device\n", done.stderr)


def test_a_mistake_of_our_own_is_not_the_answer_no(capsys):
    import typer

    from parity.commands.app import answers

    @answers
    def broken():
        raise KeyError("a mistake of ours")

    with pytest.raises(typer.Exit) as ended:
        broken()
    assert ended.value.exit_code == 2
    assert "KeyError: 'a mistake of ours'" in capsys.readouterr().err
