"""Who may import whom. Every check is also fed something bad, to show that it can fail."""

import ast
import graphlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.core

ROOT = Path(__file__).parent.parent
FRAMEWORKS = {"torch", "torchvision", "paddle"}
DOORS = {
    "parity/backends/torch_backend.py": {"torch", "torch_cnn"},
    "parity/backends/paddle_backend.py": {"paddle", "paddle_cnn"},
    "parity/backends/torch_export.py": {"torch"},
    "parity/backends/paddle_export.py": {"paddle"},
    "parity/backends/paddle_float64.py": {"paddle"},
    "parity/backends/torch_functions.py": {"torch"},
    "parity/backends/paddle_functions.py": {"paddle"},
    "parity/backends/paddle_runner.py": {"paddle"},
    "parity/backends/paddle_eager.py": {"paddle"},
    "parity/backends/torch_eager.py": {"torch"},
    "parity/backends/torch_autograd.py": {"torch"},
    "parity/backends/paddle_autograd.py": {"paddle"},
    # What a user without us would run, and the networks that twins are timed against.
    "parity/commands/baselines/compare.py": {"torch", "torch_cnn", "paddle", "paddle_cnn"},
    "parity/commands/baselines/export.py": {"torch", "paddle"},
    "parity/commands/baselines/forward.py": {"torchvision", "paddle"},
    "parity/commands/baselines/resnet50.py": {"paddle"},
}
ONNX = {"onnx", "onnx_ir", "onnxscript", "onnxruntime", "paddle2onnx"}
ONNX_DOORS = {
    "parity/onnx_files/canonical.py": {"onnx", "onnx_ir", "onnxscript"},
    "parity/onnx_files/rewrite_rules/": {"onnx_ir", "onnxscript"},
    "parity/deploy/export.py": {"onnx", "onnx_ir"},
    "parity/deploy/export_proof.py": {"onnx", "onnx_ir"},
    "parity/deploy/exported.py": {"onnx"},
    "parity/onnx_files/model_file.py": {"onnx"},
    "parity/onnx_files/float64.py": {"onnx"},
    "parity/onnx_files/description.py": {"onnx"},
    "parity/onnx_files/halves.py": {"onnx"},
    "parity/backends/onnx_backend.py": {"onnx"},
    "parity/backends/onnx_recording.py": {"onnx"},
    "parity/deploy/precision.py": {"onnx", "onnx_ir", "onnxruntime"},  # the quantiser is a part of onnxruntime
    "parity/onnx_files/runtime.py": {"onnxruntime"},
    "parity/backends/paddle_export.py": {"paddle2onnx"},
    "parity/commands/baselines/export.py": {"paddle2onnx"},
}
IMPORTING = ("import_module", "__import__")
BACKENDS = {"parity.backends.torch_backend", "parity.backends.paddle_backend"}


def imported(source, package=""):
    """Return the dotted names that a source imports, wherever it does; a relative one starts with its package."""
    parts = package.split(".")
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = parts[: len(parts) - node.level + 1] if node.level else []
            module = ".".join(filter(None, [*above, node.module]))
            found |= {f"{module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in IMPORTING:
            found |= {str(word.value) for word in node.args[:1] if isinstance(word, ast.Constant)}
    return found


def roots(names):
    return {name.partition(".")[0] for name in names}


def package(name):
    """Return the package of a file, by its path from the root."""
    return ".".join(Path(name).parent.parts)


def sources(*folders):
    """Return every source file below the folders, by its path from the root."""
    paths = sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))
    assert paths
    return {path.relative_to(ROOT).as_posix(): path.read_text() for path in paths}


def through_the_wall(name, source):
    """Return which frameworks and twins a file of the core imports that is not their door."""
    return roots(imported(source, package(name))) & (FRAMEWORKS | {"torch_cnn", "paddle_cnn"}) - DOORS.get(name, set())


def beyond_the_onnx_files(name, source):
    """Return which packages of ONNX a file imports that is none of theirs."""
    allowed = {root for door, names in ONNX_DOORS.items() for root in names if name.startswith(door)}
    return roots(imported(source, "parity")) & ONNX - allowed


def beyond_its_framework(name, source):
    """Return what a twin's file imports besides its framework, its own package and the standard library."""
    own = name.partition("/")[0]
    return roots(imported(source, own)) - sys.stdlib_module_names - {own, own.removesuffix("_cnn")}


def backends_by_import(name, source):
    """Return the sides that a file imports itself, in place of asking for them by name when they are needed."""
    found = imported(source, package(name))
    return {backend for backend in BACKENDS if any(f"{each}.".startswith(f"{backend}.") for each in found)}


def upwards(source):
    """Return which of the tools and tests a source imports."""
    tests = {path.stem for path in (ROOT / "tests").rglob("*.py")}
    return roots(imported(source)) & {"tools", "tests", *tests}


BAD = "import os\ndef late():\n    if os.name:\n        {}\n"


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("import torch.nn as nn", {"torch"}),
        ("from paddle.nn import Conv2D", {"paddle"}),
        ("import torch_cnn, paddle_cnn.resnet", {"torch_cnn", "paddle_cnn"}),
        ("importlib.import_module('torch')", {"torch"}),
        ("__import__('paddle')", {"paddle"}),
    ],
)
def test_a_framework_in_the_core_is_found(line, names):
    assert through_the_wall("parity/judging/judge.py", BAD.format(line)) == names
    assert through_the_wall("parity/backends/torch_backend.py", BAD.format(line)) == names - {"torch", "torch_cnn"}


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("import onnx.helper", {"onnx"}),
        ("from onnx_ir import passes", {"onnx_ir"}),
        ("from onnxscript.rewriter import RewriteRule", {"onnxscript"}),
        ("import onnxruntime as ort", {"onnxruntime"}),
        ("importlib.import_module('paddle2onnx')", {"paddle2onnx"}),
    ],
)
def test_a_package_of_onnx_elsewhere_is_found(line, names):
    assert beyond_the_onnx_files("parity/judging/judge.py", BAD.format(line)) == names
    assert beyond_the_onnx_files("parity/onnx_files/rewrite_rules/linear.py", BAD.format(line)) == names - {
        "onnx_ir",
        "onnxscript",
    }
    assert beyond_the_onnx_files("parity/onnx_files/runtime.py", BAD.format(line)) == names - {"onnxruntime"}


def banned(line, name):
    """Return which of its bans the linter finds broken by a line of a file called so."""
    command = [sys.executable, "-m", "ruff", "check", "--no-cache", "--output-format", "concise", "--select", "TID251"]
    done = subprocess.run(
        [*command, "--stdin-filename", name, "-"],
        cwd=ROOT,
        input=line + "\n",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    return {part for part in done.stdout.split("`") if part in ONNX | FRAMEWORKS}


@pytest.mark.extras  # ruff is not among what the core needs
@pytest.mark.parametrize("package", sorted(ONNX))
def test_the_linter_bans_it_where_this_file_does(package):
    assert banned(f"import {package}", "parity/judging/judge.py") == {package}
    for door, names in ONNX_DOORS.items():
        if package in names:
            assert banned(f"import {package}", f"{door}x.py" if door.endswith("/") else door) == set()


def test_a_guest_in_a_twin_is_found():
    for line in (
        "import numpy",
        "from parity import State",
        "import paddle",
        "import torchvision",
        "import paddle_cnn",
    ):
        assert beyond_its_framework("torch_cnn/vgg.py", BAD.format(line))
    assert beyond_its_framework("paddle_cnn/vgg.py", BAD.format("from torch import nn")) == {"torch"}
    for line in ("import torch", "from . import resnet", "from .resnet import ResNet", "import math"):
        assert not beyond_its_framework("torch_cnn/vgg.py", BAD.format(line))


@pytest.mark.parametrize(
    "line",
    [
        "import parity.backends.torch_backend",
        "from parity.backends import torch_backend",
        "from ..backends.torch_backend import build",
        "from ..backends import torch_backend",
    ],
)
def test_a_side_that_the_core_imports_is_found(line):
    assert backends_by_import("parity/judging/judge.py", BAD.format(line)) == {"parity.backends.torch_backend"}


@pytest.mark.parametrize("line", ["import tools.compare", "from tests import pairs", "import conftest", "import pairs"])
def test_an_import_of_tools_or_tests_is_found(line):
    assert upwards(BAD.format(line))


def test_each_framework_has_one_door():
    assert {
        name: found for name, source in sources("parity").items() if (found := through_the_wall(name, source))
    } == {}


def test_onnx_is_imported_in_its_own_files():
    core = sources("parity", "torch_cnn", "paddle_cnn", "tools")
    assert {name: found for name, source in core.items() if (found := beyond_the_onnx_files(name, source))} == {}


def test_twins_import_their_framework_and_the_standard_library():
    twins = sources("torch_cnn", "paddle_cnn")
    assert {name: found for name, source in twins.items() if (found := beyond_its_framework(name, source))} == {}


def test_the_core_asks_for_sides_by_name():
    core = sources("parity")
    assert {name: found for name, source in core.items() if (found := backends_by_import(name, source))} == {}


def test_nobody_imports_tools_or_tests():
    everything = sources("parity", "torch_cnn", "paddle_cnn", "tools")
    assert {name: found for name, source in everything.items() if (found := upwards(source))} == {}


def test_a_tool_is_no_more_than_a_door():
    assert {root for source in sources("tools").values() for root in roots(imported(source))} == {"parity"}


def loaded(code):
    """Return the packages that a fresh interpreter has loaded after running the code."""
    report = "import json, sys\nprint('\\n' + json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    command = [sys.executable, "-c", f"try:\n    {code}\nexcept SystemExit as end:\n    assert not end.code\n{report}"]
    done = subprocess.run(command, cwd="/", capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


HEAVY = {"numpy", "safetensors", "PIL", "torch_cnn", "paddle_cnn", *FRAMEWORKS}


def test_what_has_been_loaded_is_seen():
    assert loaded("import parity; parity.State") & HEAVY == {"numpy", "safetensors"}
    assert "torchvision" in loaded("import sys, types; sys.modules['torchvision.ops'] = types.ModuleType('planted')")


@pytest.mark.parametrize(
    "verbs", [["--help"], ["--version"], ["compare", "-h"], ["bench", "--help"], ["bench", "verify", "--help"]]
)
def test_help_loads_no_framework(verbs):
    code = f"import sys; sys.argv = ['parity', *{verbs}]; from parity.commands.program import main; main()"
    assert loaded(code) & HEAVY == set()


def test_importing_the_package_loads_nothing():
    assert loaded("import parity") & {*HEAVY, "rich", "typer"} == set()


@pytest.mark.extras
def test_the_core_loads_without_a_framework():
    core = [name.removesuffix(".py").replace("/", ".") for name in sources("parity") if name not in DOORS]
    names = ", ".join(name for name in core if not name.endswith(("__init__", "__main__")))
    assert loaded(f"import {names}") & {*FRAMEWORKS, "torch_cnn", "paddle_cnn"} == set()


@pytest.mark.parametrize(("ours", "other"), [("torch", "paddle"), ("paddle", "torch")])
@pytest.mark.extras
def test_a_twin_loads_neither_the_other_framework_nor_the_core(ours, other):
    files = [f"{ours}_cnn.{path.stem}" for path in (ROOT / f"{ours}_cnn").glob("*.py") if path.stem != "__init__"]
    found = loaded(f"import {', '.join(files)}")
    assert {ours, f"{ours}_cnn"} <= found
    assert found & {other, f"{other}_cnn", "parity", "tools"} == set()


# The rooms of parity/, and the files at its top, by floor, the lowest first: an import stays in its room or goes down.
FLOORS = (
    {"errors", "extras", "functions", "json_codec", "printable", "temporary", "zoo"},
    {"atomic", "layers", "limited", "numerics"},
    {"json_file", "onnx_files", "picture", "safetensors_file"},
    {"weights"},
    {"tracing"},
    {"analysis", "backends", "judging"},
    {"commands/baselines", "processes", "repro"},
    {"deploy", "runs"},
    {"api", "reports", "pytest_plugin"},
    {"commands"},
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
FACADE = ("parity/__init__.py", "parity/__main__.py")  # what a user meets first names what lies deepest


def room(name):
    """Return the room of a file of parity/: its folder, or its own name at the top."""
    folders = Path(name).parts[1:-1]
    inner = "/".join(folders)
    return inner if inner in FLOOR else folders[0] if folders else Path(name).stem


def arrows(core):
    """Return what each file of the core imports of the others, late imports and those for types included."""
    files = {name.removesuffix("/__init__.py").removesuffix(".py").replace("/", "."): name for name in core}
    found = {}
    for name in sorted(core.keys() - set(FACADE)):
        parts = [each.split(".") for each in imported(core[name], package(name))]
        modules = {".".join(each[:length]) for each in parts for length in range(2, len(each) + 1)}
        found[name] = {files[module] for module in modules & files.keys()} - {name, *FACADE}
    return found


def upstairs(core):
    """Return the imports that leave a room without going down a floor."""
    return [
        (name, other)
        for name, others in arrows(core).items()
        for other in sorted(others)
        if room(name) != room(other) and FLOOR[room(other)] >= FLOOR[room(name)]
    ]


def circle(core):
    """Return the files of a circle of imports, none if there is no circle."""
    try:
        graphlib.TopologicalSorter(arrows(core)).prepare()
    except graphlib.CycleError as error:
        return error.args[1]
    return []


def test_every_room_has_its_floor_and_every_floor_its_rooms():
    assert {room(name) for name in sources("parity").keys() - set(FACADE)} == set(FLOOR)


def test_imports_go_down():
    assert upstairs(sources("parity")) == []


def test_no_file_imports_itself_by_way_of_others():
    assert circle(sources("parity")) == []


@pytest.mark.parametrize(
    "line", ["from parity.judging.judge import judge", "import parity.judging.judge", "from .judging import judge"]
)
def test_an_import_that_goes_up_or_round_is_found(line):
    core = {**sources("parity"), "parity/errors.py": BAD.format(line)}
    assert ("parity/errors.py", "parity/judging/judge.py") in upstairs(core)
    assert "parity/errors.py" in circle(core)


def test_an_import_within_a_floor_is_found():
    here, there = sorted(next(rooms for rooms in FLOORS if {"analysis", "judging"} & rooms and len(rooms) > 1))[:2]
    core = {f"parity/{here}/a.py": f"import parity.{there}.b", f"parity/{there}/b.py": ""}
    assert upstairs(core) == [(f"parity/{here}/a.py", f"parity/{there}/b.py")]


def test_a_room_says_in_one_line_what_it_is_for():
    rooms = {name: source for name, source in sources("parity").items() if name.endswith("/__init__.py")}
    del rooms["parity/__init__.py"]
    assert {name for name, source in rooms.items() if not re.fullmatch(r'"""[^\n]+\."""\n', source)} == set()


@pytest.mark.parametrize("readme", ["README.md", "README.zh-CN.md"])
def test_the_code_map_is_the_list_of_folders(readme):
    inside = re.search(r"^parity/ .*?(?=^\S)", (ROOT / readme).read_text(), re.M | re.S)
    assert inside
    told = re.findall(r"^  (\w[\w/]*)/ ", inside.group(), re.M)
    assert sorted(told) == sorted(name for name in FLOOR if (ROOT / "parity" / name).is_dir())
    assert told == sorted(told, key=lambda name: -FLOOR[name])  # the highest first


def test_tests_have_the_rooms_of_what_they_test():
    folders = {path.parent.relative_to(ROOT / "tests").as_posix() for path in (ROOT / "tests").rglob("test_*.py")}
    assert folders - FLOOR.keys() == {".", "facts", "twins"}
