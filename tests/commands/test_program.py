"""What all verbs of `parity` share: the list of them, --version, where --json may go, a stdout that is closed."""

import importlib
import inspect
import json
import os
import shutil
import stat
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from program import PROGRAM, environment, run

import parity
from parity.atomic import atomic, check_writable
from parity.commands import terminal
from parity.commands.bench.group import bench
from parity.commands.program import app
from parity.errors import ParityError
from parity.json_file import to_text, write_json

ROOT = Path(parity.__file__).parents[1]
VERBS = [*app.info.cls.verbs.items(), *((f"bench {name}", verb) for name, verb in bench.info.cls.verbs.items())]


# Must fail


def test_a_closed_stdout_is_one_line_and_exit_2():
    for words in ("list", "list --json -", "--help", "compare resnet18 --quiet"):
        done = subprocess.run(
            ["sh", "-c", f'exec "$0" {words} >&-', PROGRAM],
            capture_output=True,
            text=True,
            env=environment(),
            check=False,
        )
        assert done.returncode == 2
        assert done.stderr == (
            "parity: stdout is closed, but the report needs it; redirect it to /dev/null if nobody reads it\n"
        )


def test_a_closed_stdin_or_stderr_does_no_harm():
    done = subprocess.run(["sh", "-c", 'exec "$0" list vgg16 2>&- <&-', PROGRAM], capture_output=True, check=False)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, b"2 of 50 networks")


WITH_JSON = {
    "list": (),
    "lint": ("lenet5",),
    "summary": ("lenet5",),
    "compare": ("lenet5",),
    "pooling": ("--size", 9, "--kernel", 3),
    "design-space": ("--samples", 1),
    "weights": ("x.pth",),
    "export": ("lenet5", "--out", "out"),
    "precision": ("x.onnx", "--to", "fp16", "--output", "y.onnx"),
    "predict": ("x.onnx", "y.png"),
    "bench latency": ("lenet5",),
    "bench forward": ("resnet18",),
    "bench verify": ("lenet5",),
    "bench diagnosis": (),
    "bench export": ("lenet5",),
    "bench transfer": ("lenet5",),
    "bench memory": ("densenet121",),
    "bench verdict": (),
}


@pytest.fixture
def occupied(tmp_path, monkeypatch):
    """A folder with what a file may not take the place of."""
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    Path("folder").mkdir()
    Path("to_pipe").symlink_to("pipe")
    Path("to_stdout").symlink_to("/dev/stdout")
    Path("circle").symlink_to("circle")
    Path("to_nowhere").symlink_to("gone/x.json")
    return {
        "pipe": "it is not a file",
        "folder": "it is a folder",
        "to_pipe": "it is not a file",
        "to_stdout": "it is an open stream, not a file",
        "/dev/stdout": "it is an open stream, not a file",
        "/proc/self/fd/1": "it is an open stream, not a file",
        "circle": "Too many levels of symbolic links",
        "to_nowhere": "no such folder",
        "/dev/null": "it is not a file",
    }


def test_what_has_json_is_tested():
    listed = {name for name, verb in VERBS if "--json" in run(*name.split(), "--help").stdout and name != "bench"}
    assert listed == set(WITH_JSON)


@pytest.mark.parametrize("verb", WITH_JSON)
@pytest.mark.parametrize("where", ["pipe", "to_stdout"])  # in a folder of ours: as root the real ones would be lost
def test_json_replaces_nothing_but_a_file_and_says_so_before_the_work(occupied, verb, where):
    done = run(*verb.split(), *WITH_JSON[verb], "--json", where)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"parity: {where}: cannot write: {occupied[where]}. Name a file in a folder you may write.\n"
    )
    assert stat.S_ISFIFO(Path("pipe").stat().st_mode)


def test_no_file_takes_the_place_of_a_device_a_pipe_a_folder_or_a_stream(occupied):
    for where, words in occupied.items():
        with pytest.raises(ParityError, match=f"{where}: cannot write: {words}"):
            check_writable(Path(where))
    before = sorted(Path().iterdir())
    for path in before:  # all of them our own: as root a mistake here would cost the machine its /dev/null
        with pytest.raises(ParityError, match=f"{path}: cannot write: "), atomic(path) as part:
            _ = part.write_text("new")
    assert sorted(Path().iterdir()) == before
    assert Path("circle").is_symlink()
    assert Path("to_pipe").is_symlink()


def test_a_mistyped_verb_gets_a_suggestion():
    done = run("lst")
    assert (done.returncode, done.stdout) == (2, "")
    assert "No such command 'lst'. Did you mean 'list'?" in done.stderr


# What holds


def test_what_a_link_points_to_is_written_and_the_link_stays(tmp_path):
    for folder in ("real", "links"):
        (tmp_path / folder).mkdir()
    file, link, far = tmp_path / "real" / "x.json", tmp_path / "links" / "link", tmp_path / "links" / "far"
    link.symlink_to("../real/x.json")
    far.symlink_to("link")
    for text in ("made", "replaced"):
        check_writable(far)
        with atomic(far) as part:
            assert part.parent.resolve() == file.parent.resolve()
            _ = part.write_text(text)
        assert (link.readlink(), far.readlink()) == (Path("../real/x.json"), Path("link"))
        assert file.read_text() == text
    assert [path.name for path in file.parent.iterdir()] == ["x.json"]
    assert run("list", "vgg16", "--json", far).returncode == 0
    assert json.loads(file.read_text())["networks"][0]["name"] == "vgg16"
    assert far.is_symlink()


def test_json_on_stdout_is_alone_there(tmp_path):
    for words in (["list", "vgg16"], ["pooling", "--size", 28, "--kernel", 3, "--stride", 5, "--ceil-mode"]):
        file = tmp_path / "x.json"
        there = run(*words, "--json", file)
        here = run(*words, "--json", "-", cwd=tmp_path)
        assert (here.returncode, here.stderr) == (there.returncode, "")
        assert here.stdout == file.read_text()
        assert there.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]


def test_json_of_a_sweep_needs_a_folder():
    done = run("compare", "--all", "--json", "-")
    assert (done.returncode, done.stdout) == (2, "")
    assert "name a folder" in done.stderr


def test_json_is_strict(tmp_path):
    write_json(tmp_path / "x.json", {"numbers": [float("nan"), (float("-inf"), 1.5)], "more": {"x": float("inf")}})
    found = json.loads((tmp_path / "x.json").read_text(), parse_constant=lambda word: pytest.fail(word))
    assert found == {"numbers": ["nan", ["-inf", 1.5]], "more": {"x": "inf"}}
    assert to_text("é\n") == '"\\u00e9\\n"'


def test_the_version_is_that_of_the_package():
    assert parity.__version__ == metadata.version("cnn-parity")
    done = run("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"parity {parity.__version__}\n", "")


def test_a_checkout_that_is_not_installed_knows_its_version(tmp_path):
    (tmp_path / "parity").mkdir()
    shutil.copy(ROOT / "parity" / "__init__.py", tmp_path / "parity")
    words = "import importlib.metadata as m, parity; print(parity.__version__, [*m.distributions(name='cnn-parity')])"
    command = [sys.executable, "-S", "-c", words]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, text=True).stdout == "unknown []\n"
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "cnn-parity"\nversion = "4.5.6"\n')
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, text=True).stdout == "4.5.6 []\n"


@pytest.mark.parametrize(("name", "verb"), VERBS, ids=[name for name, _ in VERBS])
def test_the_list_says_of_a_verb_what_the_verb_says_of_itself(name, verb):
    module, _, attribute = verb.where.partition(":")
    found = getattr(importlib.import_module(module), attribute)
    words = found.info.help if name == "bench" else inspect.getdoc(found)
    assert words.startswith(verb.help.removesuffix("."))
    done = run(*name.split(), "-h")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"Usage: parity {name} [OPTIONS]")
    assert len(verb.help) <= 60  # the list is not to be cut on 80 columns


def test_the_list_of_verbs_imports_none_of_them():
    words = (
        "import sys; from parity.commands.program import main; sys.argv = ['parity', *sys.argv[1:]]\n"
        "try: main()\nfinally: print(sorted(name for name in sys.modules if name.startswith('parity.commands.')))"
    )
    modules = {}
    for asked in ("--help", "--version", "list"):
        done = subprocess.run([sys.executable, "-c", words, asked], capture_output=True, text=True, check=False)
        modules[asked] = set(done.stdout.splitlines()[-1].strip("[]").replace("'", "").split(", "))
    assert modules["--help"] == modules["--version"] == {"parity.commands.lazy", "parity.commands.program"}
    assert "parity.commands.zoo" in modules["list"]  # the check can fail


def test_what_only_lists_imports_no_package_that_is_slow_to_start():
    """Within 0.25 s of processor time: the table of `list` shows that the check can fail."""
    words = (
        "import sys; from parity.commands.program import main; sys.argv = ['parity', *sys.argv[1:]]\n"
        "try: main()\nfinally: print(*sys.modules)"
    )
    slow = {
        "rich.progress",
        "rich._emoji_codes",
        "numpy",
        "torch",
        "paddle",
        "onnx",
        "onnxruntime",
        "safetensors",
        "scipy",
        "matplotlib",
        "PIL",
        "psutil",
    }
    packages = {}
    for asked in ("--help", "--version", "list"):
        done = subprocess.run([sys.executable, "-c", words, asked], capture_output=True, text=True, check=False)
        packages[asked] = set(done.stdout.splitlines()[-1].split()) & {*slow, "rich", "pydantic"}
    assert packages["--help"] == packages["--version"] == set()
    assert "rich" in packages["list"] and not packages["list"] & slow


def test_a_name_in_a_table_is_no_emoji(capsys):
    terminal.stdout().print("net:x:y")
    assert capsys.readouterr().out == "net:x:y\n"
