"""`parity bench verdict`: how many planted mistakes `parity compare` finds, and how well it explains them."""

from __future__ import annotations

import json as jsonlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from parity.commands import options as opt
from parity.commands.app import answers
from parity.commands.bench.turns import OnProgress, Row, show
from parity.commands.outputs import check_outputs
from parity.errors import ParityError

TESTS = Path(__file__).parents[3] / "tests"
_COUNTS = ("flagged", "layer", "reason", "proved")


@answers
def verdict(
    kind: Annotated[str | None, typer.Option(help="Only mistakes, or right pairs, of this kind.")] = None,
    network: Annotated[str | None, typer.Option(help="Only pairs of this network of the catalogue.")] = None,
    json: opt.Json = None,
) -> bool:
    """Count the planted mistakes that `parity compare` finds.

    The pairs are those of tests/catalogue, each with a known mistake or right. Counted for each kind: flagged; its
    layer named, as a culprit or the first divergence; its reason named; proved by experiment; another layer blamed too.
    Of right pairs: how many are flagged. The catalogue is a part of the tests: a wheel does not hold it.
    """
    check_outputs(json)
    if not (TESTS / "catalogue" / "verdicts.py").is_file():
        raise ParityError(f"no catalogue in {TESTS}: it is no part of a wheel; run this from a checkout of the project")
    head = ("kind", "pairs", *_COUNTS, "others blamed", "wrong alarms")
    show("verdict", head, lambda on_progress: _rows(kind, network, on_progress), json)
    return True


def _rows(kind: str | None, network: str | None, on_progress: OnProgress) -> Iterator[Row]:
    chosen = [word for name, given in (("--kind", kind), ("--network", network)) if given for word in (name, given)]
    found = list(_answers(chosen, on_progress))
    if not found:
        raise ParityError("the catalogue has no pair of that kind and network")
    mistakes = [each for each in found if each["group"] != "right"]
    right = [each for each in found if each["group"] == "right"]
    for name in dict.fromkeys(each["kind"] for each in mistakes):
        rows = [each for each in mistakes if each["kind"] == name]
        counts = _counts(rows)
        yield {"kind": name, **counts, "answers": rows}, (name, *map(str, counts.values()), "")
    for field in ("group", "style"):
        for name in dict.fromkeys(each[field] for each in mistakes):
            yield _total(name, *([each for each in rows if each[field] == name] for rows in (mistakes, right)))
    entry, cells = _total("all", mistakes, right)
    yield {**entry, "answers": right}, cells


def _counts(mistakes: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Return how many pairs there are, what is found of them, and in how many another layer is blamed."""
    counts = {word: sum(each[word] for each in mistakes) for word in _COUNTS}
    return {"pairs": len(mistakes), **counts, "others_blamed": sum(bool(each["besides"]) for each in mistakes)}


def _total(name: str, mistakes: Sequence[Mapping[str, Any]], right: Sequence[Mapping[str, Any]]) -> Row:
    """Return the JSON entry and the cells of a total, of mistakes and of right pairs."""
    counts, alarms = _counts(mistakes), sum(each["flagged"] for each in right)
    shares = [f"{counts[word]} ({counts[word] / max(len(mistakes), 1):.0%})" for word in _COUNTS]
    cells = (f"all: {name}", str(len(mistakes)), *shares, str(counts["others_blamed"]))
    entry = {"all": name, **counts, "right_pairs": len(right), "wrong_alarms": alarms}
    return entry, (*cells, f"{alarms} of {len(right)}" if right else "")


def _answers(chosen: Sequence[str], on_progress: OnProgress) -> Iterator[dict[str, Any]]:
    """Yield the answer to each row, from a process that has both frameworks."""
    paths = [str(TESTS), str(TESTS.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "catalogue.verdicts", *chosen]
    with (
        tempfile.TemporaryFile("w+") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment) as process,
    ):
        try:
            assert process.stdout is not None
            total = 0
            for number, line in enumerate(process.stdout):
                row = jsonlib.loads(line)
                total = row.get("rows", total)
                on_progress(row.get("row", "catalogue"), "compared", number, total)
                if "row" in row:
                    yield row
        except BaseException:  # this process is to end, and so is the other
            process.terminate()
            raise
        if process.wait():
            _ = log.seek(0)
            raise ParityError(f"the catalogue cannot be run: {log.read().strip().splitlines()[-1]}")
