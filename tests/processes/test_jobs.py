"""What a worker can be asked for: each job has a method that answers it, and a mistyped one is one line."""

import dataclasses
import inspect
import json
import sys
import typing
from pathlib import Path

import pytest

from parity import ParityError
from parity.processes import jobs
from parity.processes.session import Session
from parity.processes.workers import Worker, ask

NETWORKS = [jobs.Twin("lenet5"), jobs.Twin("lenet5", 3), jobs.Spec("a.py:b"), jobs.ModelFile(Path("a.onnx"))]
WEIGHTS = [
    jobs.RandomWeights(3),
    jobs.OwnWeights(),
    jobs.OwnWeights("file's"),
    jobs.WeightsFile(Path("w"), "w", "torch", "ema", ("kernel",)),
    jobs.CarriedWeights(Path("w"), "w", {"conv1": "stem.conv"}),
]
SETUPS = [jobs.Setup("n", network, weights, "cpu", 2, "lenet") for network in NETWORKS for weights in WEIGHTS]
EXAMPLES = [
    *[jobs.Trace(setup, (Path("x.npy"),), Path("t"), gradients=True) for setup in SETUPS],
    jobs.Trace(SETUPS[0], (Path("x.npy"), Path("y.npy")), Path("t"), names=("x", "y")),
    jobs.Trace(SETUPS[0], (Path("x.npy"),), Path("t"), mode="train"),
    jobs.Prepare(SETUPS[0]),
    jobs.PrepareWays(Path("x.npy"), ("eager", "compile")),
    jobs.TimeWay("eager", 3),
    jobs.Multiply(8),
    *[jobs.Layers(network) for network in NETWORKS],
    *[jobs.Slots(network) for network in NETWORKS],
    jobs.State(Path("s")),
    jobs.LayerOrigin("layer1.0", Path("weights.npz")),
    jobs.Sketch(SETUPS[0], (Path("x.npy"),), ("x",), Path("weights")),
    jobs.Replay(Path("t"), {"conv1": "stem.conv"}),
    jobs.Overwriting(Path("t"), 1e-11),
    jobs.Outline(NETWORKS[0], (1, 3, 8, 8), 1),
    jobs.Survey(NETWORKS[0], None, (1, 2)),
    jobs.Shape(Path("a.onnx")),
    jobs.Export(Path("x.npy"), Path("a.onnx"), 18, False),
    jobs.Outputs(((Path("x.npy"), Path("folder")),)),
    jobs.FileOutputs(Path("x.npy"), Path("folder")),
    jobs.Losses(Path("t"), (("a", 0, "b", 1, "t0", "t1"),)),
]


def test_every_job_has_a_method_that_returns_its_answer():
    handlers = vars(Session)["do"].dispatcher.registry
    assert set(handlers) - {object} == set(jobs.JOBS.values())
    assert len(jobs.JOBS) == 19
    for kind in jobs.JOBS.values():
        (promised,) = typing.get_args(kind.__orig_bases__[0])
        returned = typing.get_type_hints(handlers[kind])["return"]
        assert returned == promised, kind


def test_every_job_arrives_as_it_was_sent():
    assert {type(job) for job in EXAMPLES} == set(jobs.JOBS.values())
    for job in EXAMPLES:
        assert jobs.from_line(jobs.to_line(job)) == job


@pytest.mark.parametrize("job", [EXAMPLES[0], *EXAMPLES[len(SETUPS) :]], ids=lambda job: type(job).__name__)
def test_a_mistyped_field_is_one_line(job):
    for field in dataclasses.fields(job):
        mistyped = [b"[[]]", *([] if str(field.type).startswith("Mapping") else [b"{}"])]
        for value in (*mistyped, *([b"1.5"] if field.type != "float" else [])):
            line = json.loads(jobs.to_line(job))
            line[field.name] = json.loads(value)
            with pytest.raises(ParityError) as error:
                jobs.from_line(json.dumps(line).encode())
            assert str(error.value).startswith(f"invalid job: {type(job).__name__}.{field.name}")
            assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"nonsense", "invalid job: "),
        (b"[]", "invalid job: no such job: None"),
        (b'{"do": "do"}', "invalid job: no such job: 'do'"),
        (b'{"do": ["TimeWay"]}', "invalid job: no such job: ['TimeWay']"),
        (b'{"do": "TimeWay", "repeat": 1, "often": 2}', "invalid job: TimeWay: missing: 'way'; unknown: 'often'"),
    ],
)
def test_what_is_no_job_is_one_line(line, words):
    with pytest.raises(ParityError) as error:
        jobs.from_line(line)
    assert str(error.value).startswith(words)
    assert "\n" not in str(error.value)


def test_an_answer_of_another_type_is_one_line():
    assert jobs.answer(jobs.Multiply(1), 3) == 3.0
    assert jobs.answer(jobs.State(Path("b")), None) is None
    (found,) = jobs.answer(jobs.Replay(Path("t")), [["a", 0, {"relative": float("inf"), "index": [1]}]])
    assert found[2].index == (1,)
    for job, found in (
        (jobs.Multiply(1), "x"),
        (jobs.State(Path("b")), {}),
        (jobs.Survey(NETWORKS[0], None, (1,)), [{}]),
    ):
        with pytest.raises(ParityError, match=r"^invalid answer: the answer to "):
            jobs.answer(job, found)


def test_only_a_message_is_one():
    assert jobs.message(b'{"progress": ["float64", 1, 2]}') == jobs.Progress(("float64", 1, 2))
    assert jobs.message(b'{"done": null}') == jobs.Done(None)
    assert jobs.message(b'{"error": "x"}') == jobs.Failed("x")
    for line in (b"welcome", b"{}", b"[]", b"7", b'{"progress": 1}', b'{"done": 1, "error": "x"}', b'{"error": null}'):
        with pytest.raises(ValueError):
            jobs.message(line)


def test_a_worker_refuses_a_mistyped_job_in_a_line_and_goes_on():
    with Worker("torch", sys.executable, 1) as worker:
        for job, words in (
            (jobs.Multiply("big"), "invalid job: Multiply.size: expected an integer, found 'big'"),  # type: ignore
            (jobs.TimeWay("sideways", 1), "torch worker: KeyError: 'sideways'. --verbose shows the traceback"),
        ):
            with pytest.raises(ParityError) as error:
                ask(worker, job, 60)
            assert str(error.value) == words
        assert ask(worker, jobs.Multiply(8), 60) > 0


def test_no_job_is_asked_for_in_words():
    """A dictionary in place of a job would reach the worker unchecked."""
    import parity

    sources = {path.name: path.read_text() for path in Path(inspect.getfile(parity)).parent.rglob("*.py")}
    assert {name for name, text in sources.items() if '"do"' in text} == {"jobs.py"}
