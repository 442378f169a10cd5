"""A comparison in a notebook: as HTML, and as rows for pandas."""

from dataclasses import replace
from html.parser import HTMLParser

import pytest
import torch

from parity import compare
from parity.judging.comparison import VERDICTS, Culprit, summary

VOID = {"br", "img", "meta", "link", "input"}
EVIL = "<script>alert(1)</script>&\"'<!--\x1b[31m"


class Reader(HTMLParser):
    """Reads a page strictly: every tag is closed, by its own end."""

    def __init__(self, page):
        super().__init__()
        self.open, self.tags, self.styles, self.text, self.rows = [], [], [], "", 0
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.open.append(tag)
        self.tags.append(tag)
        assert {name for name, _ in attributes} <= {"style"}
        self.styles += [value for _, value in attributes]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data + "\n"


@pytest.fixture(scope="module")
def different():
    def net(eps):
        return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4, eps=eps), torch.nn.ReLU()).eval()

    return compare(net(1e-5), net(1e-3), (1, 3, 8, 8))


def test_the_page_has_verdict_reasons_and_every_row(different):
    page = Reader(different._repr_html_())
    assert summary(different) in page.text
    assert "first divergence: inside 1: its inputs agree, its output does not" in page.text
    assert page.tags.count("tr") == len(different.table()) + 2  # two tables: what fails, and what agrees
    assert "1 call that agrees" in page.text
    assert page.text.index("BatchNorm2d") < page.text.index("Conv2d")


def test_names_from_a_users_file_are_text_and_nothing_else(different):
    layers = tuple(replace(layer, layer=EVIL, kind=EVIL) for layer in different.layers)
    divergence = replace(different.first_divergence, layer=EVIL, call=layers[1].call)
    evil = replace(
        different,
        network=EVIL,
        layers=layers,
        first_divergence=divergence,
        culprits=(Culprit(EVIL, EVIL),),
        unmatched={EVIL: (EVIL,)},
        notes=(EVIL,),
        reference={"framework": EVIL},
    )
    page = Reader(evil._repr_html_())
    assert "script" not in page.tags
    assert page.text.count("alert(1)") > 8
    assert "\x1b" not in evil._repr_html_()


@pytest.mark.parametrize("verdict", [*VERDICTS, "of a file"])
def test_the_page_is_self_contained_and_takes_its_colours_from_the_notebook(different, verdict):
    layers = tuple(replace(layer, verdict=verdict) for layer in different.layers)
    page = Reader(replace(different, verdict=verdict, layers=layers)._repr_html_())
    assert verdict in page.text
    assert set(page.tags) <= {"div", "p", "strong", "span", "table", "tr", "th", "td", "details", "summary"}
    for style in page.styles:
        assert "url(" not in style
        own = dict(part.split(":", 1) for part in style.split(";"))
        if own.get("color", "inherit") != "inherit":  # white on a colour of our own: readable on any page
            assert own["color"] == "#fff"
            assert contrast(own["background"]) >= 4.5


def contrast(colour):
    """Return the contrast of white with a colour, as WCAG 2 defines it."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 1.05 / (0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] + 0.05)


def test_the_rows_have_one_key_a_column_and_plain_values(different):
    rows = different.table()
    assert [row["layer"] for row in rows] == ["0", "1", "2", "(network)"]
    assert [row["verdict"] for row in rows] == [layer.verdict for layer in different.layers]
    assert list(rows[0]) == [
        *("layer", "call", "kind", "output", "float64", "allowed", "reference", "candidate", "bound", "verdict")
    ]
    assert rows[1]["float64"] > rows[1]["allowed"]


def test_a_pass_shows_its_rows_folded(different):
    net = torch.nn.Sequential(torch.nn.ReLU(), torch.nn.ReLU())
    page = Reader(compare(net, net, (1, 3, 8, 8))._repr_html_())
    assert "3 calls that agree" in page.text
    assert page.tags.count("table") == 1
