"""Temporary files: what a live owner holds is never touched; what a dead one has left goes with the next run."""

import os
import subprocess
import sys

import pytest

from parity import ParityError, temporary
from parity.atomic import atomic
from parity.temporary import temporary_folder

DIES = """
import os, sys
from pathlib import Path
from parity.atomic import atomic
from parity.temporary import temporary_folder
with temporary_folder(Path(sys.argv[1])) as folder, atomic(Path(sys.argv[1]) / "out.json") as part:
    (folder / "data").write_text("x")
    part.write_text("half")
    print("ready", flush=True)
    sys.stdin.read(1)
    os.kill(os.getpid(), 9)
"""


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def owner(tmp_path):
    """Another process that holds a folder and a part file, and dies by SIGKILL when it is told to."""
    with subprocess.Popen(
        [sys.executable, "-c", DIES, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield process
        process.kill()


def dies(owner):
    owner.stdin.write(b"x")
    owner.stdin.flush()
    assert owner.wait() == -9


def use(folder):
    with temporary_folder(folder), atomic(folder / "other.json") as part:
        part.write_text("whole")


def test_what_a_live_owner_holds_is_left_alone(owner, tmp_path):
    held = names(tmp_path)
    assert len(held) == 3
    use(tmp_path)
    assert names(tmp_path) == sorted([*held, "other.json"])


def test_what_a_dead_owner_has_left_is_removed(owner, tmp_path):
    dies(owner)
    assert len(names(tmp_path)) == 3
    use(tmp_path)
    assert names(tmp_path) == ["other.json"]


def test_only_the_sweep_of_its_own_kind_removes(owner, tmp_path):
    dies(owner)
    with temporary_folder(tmp_path):
        pass
    (left,) = names(tmp_path)
    assert left.startswith(".out.json.parity-")
    assert left.endswith(".part")


def test_what_is_the_users_own_is_left_alone(tmp_path):
    """Names like ours without our lock, and our lock's name on what is no file of this user's."""
    (tmp_path / "parity-results").mkdir()
    (tmp_path / "parity-results" / "data").touch()
    (tmp_path / ".other.json.abcdefgh.part").touch()
    (tmp_path / "kept").touch()
    (tmp_path / "parity-link.lock").symlink_to(tmp_path / "kept")
    (tmp_path / "parity-link").mkdir()
    before = names(tmp_path)
    use(tmp_path)
    assert names(tmp_path) == sorted([*before, "other.json"])
    assert (tmp_path / "parity-results" / "data").exists()


def test_another_users_are_left_alone(owner, tmp_path, monkeypatch):
    dies(owner)
    before = names(tmp_path)
    monkeypatch.setattr(os, "getuid", lambda: os.stat(tmp_path).st_uid + 1)  # noqa: PTH116
    use(tmp_path)
    assert names(tmp_path) == sorted([*before, "other.json"])


def test_a_file_that_a_sweep_has_taken_is_not_used(tmp_path, monkeypatch):
    """Between the making of a file and its lock another run may sweep it."""
    made, lock = [], temporary._locked

    def late(handle):
        made.append(handle)
        if len(made) == 1:
            for path in tmp_path.glob("parity-*.lock"):
                path.unlink()
        return lock(handle)

    monkeypatch.setattr(temporary, "_locked", late)
    with temporary_folder(tmp_path) as folder:
        assert len(made) == 2
        assert names(tmp_path) == [folder.name, f"{folder.name}.lock"]
    assert names(tmp_path) == []


def test_without_locks_nothing_is_swept(owner, tmp_path, monkeypatch):
    dies(owner)
    before = names(tmp_path)

    def none(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(temporary.fcntl, "flock", none)
    use(tmp_path)
    assert names(tmp_path) == sorted([*before, "other.json"])


def test_a_block_that_fails_leaves_nothing(tmp_path):
    with pytest.raises(ParityError, match="planted"), temporary_folder(tmp_path), atomic(tmp_path / "a.json"):
        raise ParityError("planted")
    assert names(tmp_path) == []
