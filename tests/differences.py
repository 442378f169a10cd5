"""What a row of docs/differences.md is, and the script that measures all of them and writes the file.

A row is a function that measures what each framework does now, beside the words for what it did when the row was
written. The words are names of rules: a rule is code that predicts every case, and its name is the answer only if it
predicts all of them. No prediction, no name: the row then shows what was seen.
"""

import contextlib
import importlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import paddle
import torch

DOCUMENT = Path(__file__).parent.parent / "docs" / "differences.md"
AGREE = "the same", "the same"


class Row(NamedTuple):
    id: str
    topic: str
    torch: str
    paddle: str
    rule: str
    project: str
    measure: Callable[[], tuple[str, str]]

    @property
    def manner(self):
        """A word: "same"; "loud" if either raises; "silent" for what nothing tells you of."""
        if self.torch == self.paddle:
            return "same"
        return "loud" if "raises" in (self.torch.split()[0], self.paddle.split()[0]) else "silent"

    def __str__(self):
        return f"{self.id}: torch: {self.torch} | Paddle: {self.paddle} | {self.manner}"

    def now(self):
        """Return the row as it is now."""
        ours, theirs = self.measure()
        return self._replace(torch=ours, paddle=theirs)


ROWS: dict[str, Row] = {}
# The files of tests/facts, in the page's order.
TOPICS = (
    "convolution",
    "pooling",
    "normalisation",
    "linear",
    "activations",
    "resizing",
    "tensors",
    "losses",
    "optimizers",
    "initialisers",
)


def gather():
    """Fill ROWS from the files of tests/facts."""
    for topic in TOPICS:
        _ = importlib.import_module(f"facts.{topic}")


def row(topic, torch, paddle, rule, project):
    """Add the decorated measuring function's row; its name, with dashes, is the row's."""

    def add(measure):
        name = measure.__name__.replace("_", "-")
        assert name not in ROWS
        ROWS[name] = Row(name, topic, torch, paddle, rule, project, measure)
        return measure

    return add


def draw(*shape, seed=0):
    """Return normal numbers, float64."""
    return np.random.default_rng([seed, *shape]).standard_normal(shape)


def plain(value):
    """Return a tensor of either framework, or several of them, as numpy holds it."""
    if isinstance(value, (tuple, list)):
        return [plain(each) for each in value]
    if isinstance(value, (torch.Tensor, paddle.Tensor)):
        return value.detach().numpy()
    return value


def attempt(run, *case):
    """Return what `run` makes of a case, or "raises KIND"."""
    try:
        return plain(run(*case))
    except Exception as error:
        return f"raises {type(error).__name__}"


def alike(ours, theirs, tolerance=1e-6):
    """Return whether two outcomes are equal: numbers within `tolerance` of the largest, in equal shapes; NaN is NaN."""
    if isinstance(ours, str) or isinstance(theirs, str):
        return isinstance(ours, str) and isinstance(theirs, str) and ours == theirs
    if isinstance(ours, list) and isinstance(theirs, list):
        return len(ours) == len(theirs) and all(alike(*pair, tolerance) for pair in zip(ours, theirs, strict=True))
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    if ours.shape != theirs.shape:
        return False
    finite = np.abs(ours[np.isfinite(ours)], dtype=np.float64)
    return np.allclose(ours, theirs, rtol=0, atol=tolerance * (finite.max() if finite.size else 0), equal_nan=True)


def which(run, cases: Iterable[tuple[Any, ...]], rules: Mapping[str, Callable[..., Any]], tolerance=1e-6) -> str:
    """Return the one rule that predicts every case, "raises KIND" if all do, or else what was seen first."""
    cases = list(cases)
    seen = [attempt(run, *case) for case in cases]
    assert seen, "nothing measured"
    if isinstance(seen[0], str) and seen[0].startswith("raises") and set(map(str, seen)) == {seen[0]}:
        return seen[0]
    fitting = list(rules)
    for case, outcome in zip(cases, seen, strict=True):
        fitting = [name for name in fitting if alike(plain(rules[name](*case)), outcome, tolerance)]
        if not fitting:
            return f"no rule known: {case} makes {_short(outcome)}"
    return fitting[0] if len(fitting) == 1 else f"cannot tell: {' or '.join(fitting)}"


def agree(ours, theirs, cases: Iterable[tuple[Any, ...]], tolerance=1e-6) -> tuple[str, str]:
    """Return AGREE if both make the same of every case, and neither raises; or else what each makes of the first."""
    count = 0
    for count, case in enumerate(cases, 1):  # noqa: B007
        mine, other = attempt(ours, *case), attempt(theirs, *case)
        if isinstance(mine, str) or not alike(mine, other, tolerance):
            return f"{case} makes {_short(mine)}", f"{case} makes {_short(other)}"
    assert count, "nothing measured"
    return AGREE


def _short(value):
    if isinstance(value, np.ndarray) and value.size > 4:
        return f"{list(value.shape)} {value.ravel()[:4]}..."
    return str(value)[:120]


def alone(code: str, *values: Any) -> tuple[int, Any]:
    """Run code that may end its process in one of its own; return its exit code and what it printed last, from JSON."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(json.dumps, values)], capture_output=True, text=True, timeout=120
    )
    for line in reversed(done.stdout.splitlines()):
        with contextlib.suppress(ValueError):  # MKL has its say on stdout too
            return done.returncode, json.loads(line)
    return done.returncode, None


_HEAD = """# Where torch and Paddle differ

Written by `make docs` from the measurements in `tests/facts`; do not edit.
Versions when last written: {versions}; one x86-64 CPU, no GPU.

**silent**: nothing warns you. **loud**: one of the two raises. Each row has a test, which measures the words under
torch and Paddle: `pytest tests/facts/test_differences.py -k NAME`. If a release of either framework changes the row,
the test fails and prints the row as it is now.

## The frameworks

| name (and test) | topic | torch | Paddle | | rule | what this project does |
|---|---|---|---|---|---|---|
"""


def render(rows: Iterable[Row], onnx: str, versions: Mapping[str, str]) -> str:
    """Return docs/differences.md."""
    lines = [
        f'| <a id="{each.id}"></a>`{each.id}` | {each.topic} | {each.torch} | {each.paddle} | {each.manner} '
        f"| {each.rule} | {each.project} |\n"
        for each in rows
    ]
    said = ", ".join(f"{name} {version}" for name, version in versions.items())
    return _HEAD.format(versions=said) + "".join(lines) + "\n" + onnx


def main():
    """Measure every row, write the file, and name what has changed; exit 1 if anything has."""
    import exports
    from facts import export_page

    gather()
    found = [each.now() for each in ROWS.values()]
    results = exports.kept()
    DOCUMENT.write_text(render(found, export_page.render(results), results["versions"]))
    changed = [each for each in found if each[:6] != ROWS[each.id][:6]]
    for each in changed:
        print(f"changed: {each}\n     was: {ROWS[each.id]}", file=sys.stderr)
    sys.exit(1 if changed else 0)


if __name__ == "__main__":
    sys.modules["differences"] = sys.modules["__main__"]  # one ROWS, whoever imports it
    main()
