"""Every network of the zoo is the same function in both frameworks, at its published input, in both precisions.

By default one small member of each family and all that the articles build; `pytest -m zoo` takes all of them.
"""

import json

import pytest

from parity.judging.comparison import Comparison
from parity.processes.pool import Options, Workers
from parity.runs.sweep import compare_zoo
from parity.zoo import NETWORKS

# vgg11_d2l_small is vgg11_d2l with fewer channels.
QUICK = {name for name in NETWORKS if "d2l" in name and name != "vgg11_d2l"} | {
    "lenet5",
    "nin",
    "googlenet",
    "resnet18",
    "regnet_y_400mf",
}


@pytest.fixture(scope="module")
def sweep(device):
    with Workers(Options(device=device)) as workers:
        yield lambda name, folder=None, **options: next(
            compare_zoo([name], Options(device=device, **options), workers, folder)
        )


def test_the_quick_ones_are_of_every_family():
    assert {NETWORKS[name].family for name in QUICK} == {row.family for row in NETWORKS.values()}


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.zoo) for name in NETWORKS]
)
def test_network_is_the_same_function_in_both_frameworks(name, sweep):
    result = sweep(name)
    assert isinstance(result, Comparison), result
    assert result.verdict == "rounding", str(result)
    assert result.layers[-1].shape == NETWORKS[name].output
    assert max(layer.distance / layer.allowance for layer in result.layers if layer.allowance) < 0.1


def test_a_sweep_goes_on_where_it_was_stopped(sweep, tmp_path):
    assert sweep("lenet5", tmp_path).verdict == "rounding"
    path = tmp_path / "lenet5.json"
    found = json.loads(path.read_text())
    path.write_text(json.dumps({**found, "notes": ["kept"]}))
    assert sweep("lenet5", tmp_path).notes == ("kept",)
    assert sweep("lenet5", tmp_path, seed=1).notes == ()  # other weights: made again
    path.write_text(path.read_text()[:-40])
    assert sweep("lenet5", tmp_path).verdict == "rounding"  # half a file counts for nothing


def test_one_that_cannot_be_run_does_not_stop_the_sweep():
    with Workers(Options(pythons={"paddle": "/bin/false"})) as workers:
        results = list(compare_zoo(["lenet5", "nin"], workers.options, workers))
    assert [(name, "paddle worker ended" in str(error)) for name, error in results] == [("lenet5", True), ("nin", True)]


def test_a_comparison_survives_its_json(sweep):
    result = sweep("lenet5")
    assert Comparison.from_json(result.to_json()).to_json() == result.to_json()
    for text in ("[]", "{}", '{"schema": 2}'):
        with pytest.raises(ValueError, match="schema"):
            Comparison.from_json(text)
