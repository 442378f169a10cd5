"""`parity compare` as a user meets it: what differs, what passes, and what its exit code and its JSON say of it."""

import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from program import PADDLE, PROGRAM, SMALL, TORCH, listing, run, script
from torch_nets import net

from parity import Comparison
from parity.backends.torch_backend import get_state
from parity.judging.comparison import SCHEMA, Culprit, Divergence, Layer


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
    reason = (
        "net: different: norm: eps differs: torch=1e-05, paddle=1.1e-05 (proved: with eps=1.1e-05 torch reproduces "
    )
    assert done.stdout.startswith(reason)
    assert done.stdout.count("\n") == 1
    found = json.loads((tmp_path / "out.json").read_text())
    assert (found["ok"], found["verdict"], found["first_divergence"]["layer"]) == (False, "different", "norm")


def test_training_mode_and_gradients_are_said(tmp_path):
    done = run(
        "compare", f"{TORCH}:net", f"{PADDLE}:eps_off_by_ten_percent", *SMALL, "--weights", "own", "--mode", "train",
        "--gradients", "--json", "out.json", cwd=tmp_path,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, "")
    assert "\ngradients: " in done.stdout
    result = done.stdout.splitlines()[-1]
    assert result.startswith("net: different: norm: eps differs: torch=1e-05, paddle=1.1e-05 (proved: ")
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["gradients"]["compared"] > 0
    assert found["reference"]["mode"] == found["candidate"]["mode"] == "train"


def test_runs_in_different_modes_are_no_comparison(recorded):
    done = run("compare", recorded[0], f"{PADDLE}:net", *SMALL, "--mode", "train")
    assert (done.returncode, done.stderr) == (1, "")
    assert "note: one was run in training mode, the other in evaluation mode\n" in done.stdout


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


def test_twins_of_the_zoo_are_the_same_function(zoo):
    done = zoo[1]
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1].startswith(
        "resnet18: rounding: 61 layers and 8 function calls are the same function"
    )


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
    assert len(calls) == 61 + 8  # eight additions
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
