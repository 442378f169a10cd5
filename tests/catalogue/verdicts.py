"""What the tool says of the catalogue's pairs. Run as a script it prints one line of JSON for each row.

`parity bench verdict` runs it, with tests/ in PYTHONPATH: python -m catalogue.verdicts [--kind KIND] [--network NAME].
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import json
import re
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from catalogue.forwards import FORWARDS
from catalogue.right import RIGHT
from catalogue.rows import Planted, Row, edits_of
from catalogue.settings import SETTINGS
from catalogue.sources import SHAPE, network, owner
from catalogue.training import GRADIENTS, SEVERAL, TRAINING
from catalogue.weights import WEIGHTS

from parity import State, compare
from parity.backends import paddle_backend, torch_backend
from parity.errors import ParityError
from parity.numerics.fixed_random import projection
from parity.weights.hardened import hardened_state

GROUPS = {
    "settings": SETTINGS,
    "weights": WEIGHTS,
    "forward": FORWARDS,
    "gradients": GRADIENTS,
    "training": TRAINING,
    "several": SEVERAL,
    "right": RIGHT,
}
ROWS = [row for rows in GROUPS.values() for row in rows]
BACKENDS = {"torch": torch_backend, "paddle": paddle_backend}
IMAGE = projection(SHAPE).astype(np.float32)
NOT_YET = "not yet: compare has no mode"


@dataclass(frozen=True)
class Answer:
    """What the tool says of a row.

    Attributes:
        flagged: Whether the pair does not pass.
        layer: Whether every planted mistake's layer is a culprit or, for one mistake, the first divergence.
        reason: Whether each one's explanation holds the expected words.
        proved: Whether each one's explanation holds "proved".
        besides: Culprits that no mistake was planted in, nor in a layer of theirs.
        text: The tool's own words.
    """

    flagged: bool
    layer: bool = False
    reason: bool = False
    proved: bool = False
    besides: tuple[str, ...] = ()
    text: str = ""


def pair_of(row: Row):
    """Return the reference and the candidate of a row, the reference with hardened weights."""
    left, right = row.pair.split("/")
    reference = network(left, row.network, "same", edits_of(*[row.reference] if row.reference else []), **row.options)
    candidate = network(right, row.network, row.style, row.edits, **row.options)
    state = hardened_state(BACKENDS[left].slots(reference))
    BACKENDS[left].set_state(reference, state)
    return reference, candidate, state


def carry_over(row: Row, candidate, state) -> None:
    """Give the candidate the reference's weights by the catalogue's own list of names, with the row's change."""
    right = BACKENDS[row.pair.split("/")[1]]
    weights = {name: np.array(array) for name, array in state.items()}
    if row.weights is not None:
        row.weights(weights)
    own = {
        name: weights[owner(row.network, row.style, name)].reshape(slot.shape)
        for name, slot in right.slots(candidate).items()
    }
    right.set_state(candidate, State(own))


def answer(row: Row) -> Answer:
    """Return what `parity.compare` says of a row."""
    if row.mode == "train" and "mode" not in inspect.signature(compare).parameters:
        return Answer(flagged=not row.planted, text=NOT_YET)
    more = {"eval": {}, "gradients": {"gradients": True}, "train": {"mode": "train", "gradients": True}}[row.mode]
    reference, candidate, state = pair_of(row)
    if row.weights is not None:
        carry_over(row, candidate, state)
    try:
        result = compare(reference, candidate, IMAGE, transfer=row.weights is None, **more)
    except ParityError as error:
        text = str(error)
        named = row.refusal and all(re.search(each.words, text, re.I) for each in row.planted)
        return Answer(flagged=row.refusal or not row.planted, layer=named, reason=named, text=f"refused: {text}")
    except Exception as error:  # a fault of the tool, or the framework's own words: no verdict
        return Answer(flagged=not row.planted, text=f"raised {type(error).__name__}: {error}")
    if result.ok or not row.planted:
        return Answer(flagged=not result.ok, text=str(result))
    told = [_told(each, result, len(row.planted)) for each in row.planted]
    places = [each.layer for each in result.layers if any(re.fullmatch(p.where, each.layer) for p in row.planted)]
    blocks = {place.rpartition(".")[0] for place in places} - {""}  # whose code calls what is wrong
    besides = [
        each.layer
        for each in result.culprits
        if each.layer not in blocks and not any(re.fullmatch(p.where, each.layer) for p in row.planted)
    ]
    reasons = [words and re.search(p.words, words, re.I) for p, words in zip(row.planted, told, strict=True)]
    return Answer(
        flagged=True,
        layer=all(words is not None for words in told),
        reason=all(reasons),
        proved=all(words is not None and "proved" in words for words in told),
        besides=tuple(besides),
        text=str(result),
    )


def _told(planted: Planted, result, mistakes: int) -> str | None:
    """Return what is said of the planted layer, None if it is not named."""
    culprits = [each.explanation for each in result.culprits if re.fullmatch(planted.where, each.layer)]
    if culprits:
        return "\n".join(culprits)
    first = result.first_divergence
    if mistakes == 1 and first is not None and re.fullmatch(planted.where, first.layer):
        return "\n".join(each.explanation for each in result.culprits)
    return None


def answers(group: str, rows: list[Row]) -> Iterator[dict[str, object]]:
    """Yield each row's answer as JSON has it."""
    for row in rows:
        pair = {"network": row.network, "style": row.style, "pair": row.pair, "mode": row.mode}
        yield {"row": row.name, "group": group, "kind": row.kind, **pair, **dataclasses.asdict(answer(row))}


def main() -> None:
    """Print the answers, one line each; first the number of rows."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kind")
    parser.add_argument("--network")
    given = parser.parse_args()
    chosen = lambda row: given.kind in (None, row.kind) and given.network in (None, row.network)
    warnings.filterwarnings("ignore")
    torch_backend.use("cpu", 1)
    print(json.dumps({"rows": sum(map(chosen, ROWS))}), flush=True)
    for group, rows in GROUPS.items():
        for each in answers(group, list(filter(chosen, rows))):
            print(json.dumps(each), flush=True)


if __name__ == "__main__":
    sys.exit(main())
