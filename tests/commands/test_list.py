"""`parity list`."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from program import run

from parity.zoo import NETWORKS

pytestmark = pytest.mark.core

ROOT = Path(__file__).parents[2]


def listed(*arguments):
    """Run the verb and return its exit code, the names it shows, stdout and stderr."""
    done = run("list", *arguments)
    return done.returncode, [line.split()[0] for line in done.stdout.splitlines()[1:-1]], done.stdout, done.stderr


@pytest.mark.parametrize(
    "arguments, words",
    (
        (
            ["--family", "resnets"],
            "--family resnets: unknown; known: lenet, alexnet, vgg, nin, googlenet, resnet, densenet",
        ),
        (["--json", "/nowhere/x.json"], "/nowhere/x.json: cannot write"),
    ),
)
def test_bad_input_is_one_line_and_exit_2(arguments, words):
    code, _, stdout, stderr = listed(*arguments)
    assert (code, stdout) == (2, "")
    assert words in stderr and stderr.count("\n") == 1


@pytest.mark.parametrize(
    "arguments", (["--max-gmacs", "-1"], ["--max-gmacs", "nan"], ["--max-params", "many"], ["a", "b"])
)
def test_wrong_usage_is_exit_2(arguments):
    assert listed(*arguments)[0] == 2


def test_all_networks_are_shown_with_their_numbers():
    code, names, stdout, _ = listed()
    assert (code, names) == (0, list(NETWORKS))
    assert "50 of 50 networks" in stdout
    (line,) = [line.split() for line in stdout.splitlines() if line.startswith("resnet50 ")]
    assert line == ["resnet50", "resnet", "1x3x224x224", "1x1000", "25,557,032", "4,089,184,256"]


def test_filters_hold_together():
    assert listed("--family", "resnet", "--max-gmacs", 2)[1] == ["resnet18_d2l", "resnet18"]
    assert listed("--max-params", 1)[1] == ["lenet5", "densenet_d2l", "densenet_bc_cifar_100_12"]
    assert listed("VGG16")[1] == ["vgg16", "vgg16_bn"]
    assert listed("d2l", "--family", "vgg", "--max-gmacs", 1)[1] == ["vgg11_d2l_small"]


def test_a_limit_is_kept_to_the_unit():
    macs = NETWORKS["resnet18"].macs
    assert "resnet18" in listed("--max-gmacs", macs / 1e9)[1]
    assert "resnet18" not in listed("--max-gmacs", (macs - 1) / 1e9)[1]


@pytest.mark.parametrize(
    "name, words",
    (("zzz", "no network has 'zzz' in its name; `parity list` shows all"), ("resnet5O", "its name; near: resnet50, ")),
)
def test_a_name_that_no_network_has_is_a_mistake(tmp_path, name, words):
    code, _, stdout, stderr = listed(name, "--json", tmp_path / "x.json")
    assert (code, stdout, stderr.count("\n")) == (2, "", 1)
    assert words in stderr
    assert not (tmp_path / "x.json").exists()


def test_nothing_within_the_limits_is_an_empty_list(tmp_path):
    file = tmp_path / "x.json"
    code, names, stdout, _ = listed("vgg", "--max-params", 1, "--json", file)
    assert (code, names, json.loads(file.read_text())) == (0, [], {"schema": 1, "networks": []})
    assert "0 of 50 networks" in stdout


def test_json_has_the_fields_of_the_zoo(tmp_path):
    file = tmp_path / "x.json"
    assert listed("--json", file)[0] == 0
    found = json.loads(file.read_text())
    data = found["networks"]
    assert (list(found), found["schema"]) == (["schema", "networks"], 1)
    assert [row["name"] for row in data] == list(NETWORKS)
    assert all(list(row) == ["name", "family", "input", "output", "parameters", "macs"] for row in data)
    assert data[0] == {
        "name": "lenet5",
        "family": "lenet",
        "input": [1, 1, 28, 28],
        "output": [1, 10],
        "parameters": 44426,
        "macs": 281640,
    }


@pytest.mark.parametrize("verb, seen", (("list", "set()"), ("summary", "{'numpy'}")))
def test_neither_a_framework_nor_numpy_is_imported(verb, seen):
    """By the list; `parity summary` shows that the check can fail."""
    arguments = {"list": [], "summary": ["nosuch"]}[verb]
    code = (
        f"import sys\nfrom parity.commands.program import main\nsys.argv[1:] = {arguments}\ntry:\n    main({verb!r})\n"
        "finally:\n    print({'torch', 'paddle', 'numpy', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == seen, done.stderr


@pytest.mark.parametrize("door", ("list", "summary", "design_space"))
def test_each_verb_has_a_door(door):
    done = subprocess.run([sys.executable, ROOT / "tools" / f"{door}.py", "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and f"parity {door.replace('_', '-')} [OPTIONS]" in done.stdout
