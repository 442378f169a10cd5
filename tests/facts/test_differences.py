"""docs/differences.md: every row is measured again, and must be as written; a rule that fails to predict is no rule."""

import re

import exports
import numpy as np
import pytest
from differences import AGREE, DOCUMENT, ROWS, TOPICS, Row, agree, alone, gather, render, which
from facts import export_page

from parity.analysis.traps import TRAPS

gather()


@pytest.mark.parametrize("name", ROWS)
def test_row(name):
    now = ROWS[name].now()
    assert now == ROWS[name], f"a framework has changed; the row as it is now:\n{now}\nit was:\n{ROWS[name]}"


def test_a_row_that_has_changed_says_what_it_is_now():
    row = Row("x", "t", "1", "2", "", "", lambda: ("1", "raises TypeError"))
    assert (row.manner, row.now().manner) == ("silent", "loud")
    assert str(row.now()) == "x: torch: 1 | Paddle: raises TypeError | loud"
    assert row.now() != row


def test_a_rule_must_predict_every_case_alone():
    cases = [(1,), (2,), (3,)]
    square, double = {"x x": lambda x: x * x}, {"2 x": lambda x: 2 * x}
    assert which(lambda x: x * x, cases, {**square, **double}) == "x x"
    assert which(lambda x: x * x, [(2,)], {**square, **double}) == "cannot tell: x x or 2 x"
    assert which(lambda x: x**3, cases, {**square, **double}) == "no rule known: (2,) makes 8"
    assert which(lambda x: x**2 / (x - 3), cases, square).startswith("no rule known")  # some raise, others do not
    assert which(lambda x: x / 0, cases, square) == "raises ZeroDivisionError"
    with pytest.raises(AssertionError, match="nothing measured"):
        which(lambda x: x, [], square)


@pytest.mark.parametrize(
    "wrong",
    [
        np.array([1.0, np.nan]),
        np.array([[1.0, 2.0]]),
        np.array([1.0, 2.001]),
        [np.array([1.0, 2.0])],
        "raises ValueError",
    ],
    ids=["nan", "shape", "value", "several", "words"],
)
def test_what_differs_never_agrees(wrong):
    right = np.array([1.0, 2.0])
    assert agree(lambda: right, lambda: right, [()]) == AGREE
    assert agree(lambda: right, lambda: wrong, [()]) != AGREE
    assert agree(lambda: wrong, lambda: right, [()]) != AGREE


def test_both_raising_is_no_agreement():
    def broken():
        raise ValueError("no")

    assert agree(broken, broken, [()]) == ("() makes raises ValueError",) * 2
    with pytest.raises(AssertionError, match="nothing measured"):
        agree(broken, broken, [])


def test_a_process_that_dies_is_an_outcome():
    assert alone("import os, json; print(json.dumps([1])); print('noise'); os._exit(3)") == (3, [1])
    assert alone("import os; os.abort()") == (-6, None)


def test_document_is_up_to_date():
    """Fails after a row has been edited: `make docs` measures and writes."""
    results = exports.kept()
    assert DOCUMENT.read_text() == render(ROWS.values(), export_page.render(results), results["versions"])


def test_every_topic_of_the_issue_has_a_row():
    topics = {row.topic for row in ROWS.values()}
    wanted = """convolution, pooling, adaptive pooling, BatchNorm, normalisation, Linear, Dropout, activations, softmax,
    argmax, interpolation, padding order, flatten, losses, optimizers, schedulers, initialisers, empty batches, dtypes,
    memory, TF32, gradients"""
    assert topics == {topic.strip() for topic in wanted.split(",")}


def test_every_cell_fits_a_table():
    for row in ROWS.values():
        assert all(cell and "|" not in cell and "\n" not in cell for cell in row[:6]), row.id


def test_links_of_lint_lead_into_the_document():
    anchors = set(re.findall(r'<a id="([^"]+)"></a>', DOCUMENT.read_text()))
    assert {trap.row for trap in TRAPS} <= anchors


def test_every_file_of_facts_is_a_topic_of_the_page():
    files = {path.stem for path in (DOCUMENT.parent.parent / "tests" / "facts").glob("*.py")}
    assert {name for name in files if not name.startswith(("test_", "export_"))} == {*TOPICS, "cases"}
