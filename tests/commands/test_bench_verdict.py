"""`parity bench verdict`: it runs the catalogue and counts; what it cannot run is one line."""

import json
import re

from program import run

from parity.commands.bench import verdict


def invoke(*words):
    return run("bench", "verdict", *words)


def test_without_a_checkout_it_says_where_the_catalogue_is(monkeypatch, tmp_path):
    monkeypatch.setattr(verdict, "TESTS", tmp_path)
    done = invoke()
    assert done.returncode == 2
    assert done.stderr == (
        f"parity: no catalogue in {tmp_path}: it is no part of a wheel; run this from a checkout of the project\n"
    )


def stand_in(monkeypatch, folder, text):
    """Put another catalogue in the place of the tests' own."""
    (folder / "catalogue").mkdir()
    (folder / "catalogue" / "verdicts.py").write_text(text)
    monkeypatch.setattr(verdict, "TESTS", folder)


def test_a_catalogue_that_cannot_be_run_is_one_line(monkeypatch, tmp_path):
    stand_in(monkeypatch, tmp_path, "raise SystemExit('broken')")
    done = invoke()
    assert (done.returncode, done.stderr) == (2, "parity: the catalogue cannot be run: broken\n")


def test_a_choice_of_nothing_is_refused(monkeypatch, tmp_path):
    stand_in(monkeypatch, tmp_path, "print('{\"rows\": 0}')")
    done = invoke("--kind", "no such")
    assert (done.returncode, done.stderr) == (2, "parity: the catalogue has no pair of that kind and network\n")


def answered(group, kind, style, **told):
    nothing = {"flagged": False, "layer": False, "reason": False, "proved": False, "besides": []}
    return {"row": kind, "group": group, "kind": kind, "style": style, **nothing, **told}


def test_it_counts_by_kind_and_in_total(monkeypatch, tmp_path):
    found = {"flagged": True, "layer": True, "reason": True}
    lines = [
        {"rows": 5},
        answered("settings", "eps", "same", **found, proved=True),
        answered("settings", "eps", "renamed", flagged=True, besides=["conv1"]),
        answered("forward", "order", "same", **found),
        answered("right", "renamed", "renamed", flagged=True),
        answered("right", "same", "same"),
    ]
    stand_in(monkeypatch, tmp_path, f"for line in {list(map(json.dumps, lines))}: print(line)")
    done = invoke("--json", tmp_path / "x.json")
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "x.json").read_text())["rows"]
    counts = ("pairs", "flagged", "layer", "reason", "proved", "others_blamed", "right_pairs", "wrong_alarms")
    assert {row.get("kind") or f"all: {row['all']}": [row.get(each) for each in counts] for row in rows} == {
        "eps": [2, 2, 1, 1, 1, 1, None, None],
        "order": [1, 1, 1, 1, 0, 0, None, None],
        "all: settings": [2, 2, 1, 1, 1, 1, 0, 0],
        "all: forward": [1, 1, 1, 1, 0, 0, 0, 0],
        "all: same": [2, 2, 2, 2, 1, 0, 1, 0],
        "all: renamed": [1, 1, 0, 0, 0, 1, 1, 1],
        "all: all": [3, 3, 2, 2, 1, 1, 2, 1],
    }
    assert [len(row["answers"]) for row in rows if "answers" in row] == [2, 1, 2]
    assert re.sub(" +", " ", done.stdout.splitlines()[-1]) == " all: all 3 3 (100%) 2 (67%) 2 (67%) 1 (33%) 1 1 of 2 "


def test_it_runs_the_catalogue(tmp_path):
    done = invoke("--network", "Vgg", "--kind", "gamma for beta", "--json", tmp_path / "x.json")
    assert done.returncode == 0, done.stderr
    kind = json.loads((tmp_path / "x.json").read_text())["rows"][0]
    (answer,) = kind["answers"]
    assert (kind["pairs"], answer["flagged"], answer["layer"], answer["reason"]) == (1, True, True, True)
    assert answer["text"].startswith("Vgg: different: bn2: weight holds the reference's bn2.bias")
