"""Files that are whole or absent, whatever ends the program that writes them."""

import resource
import signal
import subprocess
import sys

import numpy as np
import pytest
from weights.weight_files import MEGABYTE, TENSORS, bits_of

from parity import ParityError, State
from parity.atomic import atomic


def half_written(target, error):
    with atomic(target) as part:
        part.write_text("half of the n")
        raise error


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, OSError])
def test_a_failing_block_leaves_the_old_file_and_no_litter(error, tmp_path):
    target = tmp_path / "w.json"
    target.write_text("old")
    with pytest.raises(ParityError if error is OSError else error):
        half_written(target, error)
    assert [path.name for path in tmp_path.iterdir()] == ["w.json"]
    assert target.read_text() == "old"


def test_a_file_appears_whole_under_its_own_name_with_the_usual_mode(tmp_path):
    target = tmp_path / "w.json"
    with atomic(target) as part:
        part.write_text("new")
        assert part.parent == tmp_path
        assert not target.exists()
    (tmp_path / "plain").touch()
    assert target.read_text() == "new"
    assert target.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_path_that_cannot_be_written_is_a_parity_error_before_the_work_is_done(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    for target in ("missing/w.json", "file/w.json", "folder"):
        with pytest.raises(ParityError, match=r"cannot write: .*\. Name a file in a folder you may write"):
            State(TENSORS).save(tmp_path / target)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "folder"]


def test_a_full_disk_is_a_parity_error_and_leaves_the_old_file(tmp_path):
    target = tmp_path / "w.safetensors"
    State(TENSORS).save(target)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MEGABYTE, limits[1]))
    try:
        with pytest.raises(ParityError, match="cannot write"):
            State({"a": np.zeros(MEGABYTE)}).save(target)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in tmp_path.iterdir()] == ["w.safetensors"]
    assert bits_of(State.load(target)) == bits_of(TENSORS)


def killed(program, target, when):
    """Run a program, kill it at once after it has printed a line `when` times."""
    process = subprocess.Popen([sys.executable, "-c", program, str(target)], stdout=subprocess.PIPE)
    for _ in range(when):
        assert process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    process.stdout.close()


def test_a_kill_in_the_middle_of_a_file_leaves_the_old_one(tmp_path):
    target = tmp_path / "w.json"
    target.write_text("old")
    program = """
import sys, time
from parity.atomic import atomic
with atomic(sys.argv[1]) as part:
    part.write_text("half of the n")
    print(flush=True)
    time.sleep(100)
"""
    killed(program, target, 1)
    assert target.read_text() == "old"


def test_a_kill_at_any_moment_leaves_the_old_state_or_the_new(tmp_path):
    program = """
import sys
import numpy as np
from parity.weights.state import State
states = [State({"a": np.full(1 << 19, value, np.float32)}) for value in (1, 2)]
while True:
    for state in states:
        state.save(sys.argv[1])
        print(flush=True)
"""
    target = tmp_path / "w.safetensors"
    for when in (1, 2, 3, 6):
        killed(program, target, when)
        held = State.load(target)["a"]
        assert held.shape == (1 << 19,)
        assert held[0] in (1, 2)
        assert (held == held[0]).all()
