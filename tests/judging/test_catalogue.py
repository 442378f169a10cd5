"""The catalogue of porting mistakes that `parity bench verdict` counts: one pair of each kind, the rest in the zoo."""

import dataclasses

import numpy as np
import paddle
import pytest
import torch
from catalogue.right import RIGHT
from catalogue.rows import Planted, edits_of
from catalogue.sources import STYLES, network, text_of
from catalogue.verdicts import GROUPS, IMAGE, ROWS, answer, carry_over, pair_of

MISTAKES = [row for row in ROWS if row.planted]
NAMES_KEPT = [row for row in MISTAKES if row.style == "same" and row.pair == "torch/paddle" and row.mode == "eval"]
SLOW = ("Residual", "UNet", "Segmentation")
KINDS = {row.kind: row for row in sorted(NAMES_KEPT, key=lambda row: row.network not in SLOW)}  # one of each kind
REGROUPED = [row for row in RIGHT if row.kind == "regrouped" and row.pair == "torch/paddle"]
EPS = next(row for row in NAMES_KEPT if row.kind == "eps")


def outputs(framework, made):
    result = made(torch.from_numpy(IMAGE) if framework == "torch" else paddle.to_tensor(IMAGE))
    if isinstance(result, dict):
        result = tuple(result[key] for key in sorted(result))
    return [each.detach().numpy() for each in (result if isinstance(result, tuple) else (result,))]


def apart(row):
    """Return how far the outputs of a row's pair are from each other, by the catalogue's own list of names."""
    reference, candidate, state = pair_of(row)
    carry_over(row, candidate, state)
    ours, theirs = (outputs(side, made) for side, made in zip(row.pair.split("/"), (reference, candidate), strict=True))
    if [each.shape for each in ours] != [each.shape for each in theirs]:
        return np.inf
    return max(float(np.abs(a - b).max() / a.std()) for a, b in zip(ours, theirs, strict=True))


def test_it_is_large_and_its_pairs_differ_from_each_other():
    assert len(MISTAKES) >= 100
    assert len(RIGHT) >= 40
    assert {row.style for row in MISTAKES} == {row.style for row in RIGHT} == set(STYLES)
    assert {row.pair for row in MISTAKES} == {"torch/paddle", "paddle/torch", "torch/torch", "paddle/paddle"}
    pairs = [(row.network, row.style, row.pair, row.edits, row.reference, row.mode, str(row.options)) for row in RIGHT]
    assert len(set(pairs)) == len(pairs)


def test_every_mistake_can_be_typed_in():
    for row in ROWS:
        text_of(row.pair.split("/")[1], row.style, row.edits)
    with pytest.raises(ValueError, match="0 times 'no such text'"):
        text_of("torch", "same", edits_of(("Vgg", "no such text", "")))


@pytest.mark.parametrize("row", REGROUPED, ids=lambda row: row.name)
def test_right_pairs_are_right_without_our_word(row):
    assert apart(row) < 1e-4


@pytest.mark.zoo
@pytest.mark.parametrize("row", [row for row in ROWS if row.mode == "eval"], ids=lambda row: row.name)
def test_every_right_pair_is_right_and_every_mistake_is_one(row):
    distance = apart(row)
    if row.planted and row.planted[0].words not in ("eps", "kind|relu6"):  # these, float64 or other inputs alone show
        assert distance > 1e-5
    elif not row.planted:
        assert distance < 1e-4


@pytest.mark.parametrize("kind", KINDS)
def test_a_mistake_of_each_kind_is_flagged(kind):
    found = answer(KINDS[kind])
    assert found.flagged, found.text
    assert not found.text.startswith(("refused", "raised"))


@pytest.mark.parametrize(
    "row",
    [
        next(row for row in ROWS if row.edits == edits_of(edit))
        for edit in (
            ("Inverted", "return x + y if self.residual else y", "return y"),  # blocks of one shape in a row
            ("MobileBlock", "self.pwl(self.gate(self.dw(self.pw(x))))", "self.pwl(self.dw(self.gate(self.pw(x))))"),
            ("ResidualUnit", "            x = paddle.add(inputs, x)", "            x = F.dropout(x, 0.0)"),
        )
    ],
    ids=lambda row: row.name,
)
def test_where_the_data_flow_is_wrong_no_layer_loses_its_partner(row):
    found = answer(row)
    assert (found.flagged, found.layer, found.reason, found.besides) == (True, True, True, ()), found.text


def test_branches_that_their_dilation_tells_apart_are_paired_by_it():
    [row] = [row for row in ROWS if row.kind == "concatenation order" and row.network == "Segmentation"]
    assert answer(row).besides == ()


def test_an_answer_is_counted_for_what_it_says():
    found = answer(EPS)
    assert (found.flagged, found.layer, found.reason, found.besides) == (True, True, True, ())
    elsewhere = answer(dataclasses.replace(EPS, planted=(Planted("bn3", "eps"),)))
    assert (elsewhere.flagged, elsewhere.layer, elsewhere.reason, elsewhere.besides) == (True, False, False, ("bn2",))
    otherwise = answer(dataclasses.replace(EPS, planted=(Planted("bn2", "stride"),)))
    assert (otherwise.flagged, otherwise.layer, otherwise.reason) == (True, True, False)
    one_of_two = answer(dataclasses.replace(EPS, planted=(Planted("bn2", "eps"), Planted("conv1", "eps"))))
    assert (one_of_two.flagged, one_of_two.layer, one_of_two.reason) == (True, False, False)
    nothing = answer(dataclasses.replace(EPS, edits=()))
    assert (nothing.flagged, nothing.layer, nothing.reason, nothing.proved) == (False, False, False, False)
    alarm = answer(dataclasses.replace(EPS, planted=()))
    assert alarm.flagged


@pytest.mark.parametrize("row", [row for row in RIGHT if row.kind == "same names"], ids=lambda row: row.name)
def test_right_pairs_of_the_same_names_pass(row):
    found = answer(row)
    assert not found.flagged, found.text


@pytest.mark.zoo
@pytest.mark.parametrize("group", [group for group in GROUPS if group != "right"])
def test_nothing_of_the_same_names_is_missed(group):
    rows = [row for row in GROUPS[group] if row.style == "same" and row.mode == "eval"]
    assert [row.name for row in rows if not answer(row).flagged] == []


def test_a_renamed_network_shares_no_names_of_layers_and_defines_them_in_another_order():
    ours, theirs = (list(network("torch", "Inception", style).state_dict()) for style in STYLES[:2])
    layers = [{name.rpartition(".")[0] for name in names} for names in (ours, theirs)]
    assert not layers[0] & layers[1]
    assert (ours[0], theirs[-1]) == ("stem.weight", "entry.bias")
