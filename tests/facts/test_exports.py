"""What exporters and runtimes make of pools and operators: a sample by default, all of it with `pytest -m zoo`."""

import re
from concurrent.futures import ThreadPoolExecutor

import exports
import pytest
from facts import export_operators, export_page

from parity.numerics.pooling import Pool, output_size

# One of each kind of outcome, of either exporter.
SAMPLE = {
    "torch": {"AvgPool2d(3, divisor_override=7)"},
    "paddle": {"LeakyReLU(0.3)", "CELU(0.7)", "Hardtanh(-0.4, 0.3)", "AdaptiveAvgPool2d(3) of 11 x 11", "Linear(3, 2)"},
}
POOLS = {
    "plain": [[9, 3, 2, 1, False]],
    "overhang": [[8, 3, 2, 0, True]],
    "drop": [[11, 2, 4, 1, True], [7, 3, 5, 1, True]],
}


def pool_size(cell, rule):
    size, kernel, stride, padding, ceil = cell
    return output_size(size, Pool(kernel, stride, padding, ceil_mode=ceil), rule)


@pytest.fixture(scope="module")
def sample():
    """Both exporters at once, each in a process of its own, on operators and on one opset's max pools."""

    def run(backend):
        operators = export_operators.operator_tasks(backend, SAMPLE[backend])
        pools = [
            task
            for task in export_operators.pool_tasks(backend, POOLS, [export_operators.DEFAULT_OPSET[backend]])
            if task["pools"] == "max"
        ]
        pools = [{**pools[0], "cells": [cell for task in pools for cell in task["cells"]]}]
        *found, cells = exports.measure(backend, operators + pools)
        return {task["name"]: result for task, result in zip(operators, found, strict=True)}, cells["cells"]

    with ThreadPoolExecutor(2) as both:
        return dict(zip(SAMPLE, both.map(run, SAMPLE), strict=True))


@pytest.mark.parametrize("backend", SAMPLE)
def test_sampled_operators_are_as_on_file(backend, sample):
    file = exports.kept()["operators"]
    assert sample[backend][0] == {
        name: file[name][backend] for name in export_operators.OPERATORS if name in SAMPLE[backend]
    }


@pytest.mark.parametrize("backend", SAMPLE)
def test_onnx_runtime_places_torchs_windows_whoever_wrote_the_file(backend, sample):
    cells = [cell for chosen in POOLS.values() for cell in chosen]
    own = [pool_size(cell, backend) == pool_size(cell, "torch") for cell in cells]
    assert [found["onnxruntime"] for found in sample[backend][1]] == [
        "equal" if same else "another shape" for same in own
    ]


def test_sample_is_stratified_as_the_closed_forms_say():
    cells = export_operators.cells()
    assert sum(map(len, cells.values())) >= 150
    for stratum, chosen in cells.items():
        assert len({tuple(cell) for cell in chosen}) == export_operators.EACH
        for cell in chosen:
            assert (pool_size(cell, "paddle") > pool_size(cell, "torch")) == (stratum == "drop")
            floored = pool_size([*cell[:4], False], "torch")
            assert (pool_size(cell, "torch") > floored) == (stratum == "overhang")


def test_paddles_adaptive_pools_are_wrong_where_predicted():
    """It writes windows of stride s = H // o and length H - (o - 1)s: right where those are floor .. ceil of iH/o."""
    seen = {}
    for name, backends in exports.kept()["operators"].items():
        if found := re.fullmatch(r"Adaptive\w+\((\d+)\) of (\d+) x \2", name):
            out, size = map(int, found.groups())
            stride = size // out
            length = size - (out - 1) * stride
            windows = [(i * size // out, -(-(i + 1) * size // out)) for i in range(out)]
            right = windows == [(i * stride, i * stride + length) for i in range(out)]
            seen[name] = "raises Fail" if out > size else "equal" if right else "other values"
            assert backends["paddle"]["onnxruntime"] == seen[name], name
    assert len(set(seen.values())) == 3


def test_opsets_are_written_as_asked():
    assert all(row["written"] == row["opset"] for row in exports.kept()["pools"])


def test_file_and_tables_hold_the_same_rows():
    results = exports.kept()
    assert list(results["operators"]) == list(export_operators.OPERATORS)
    per_backend = [len(export_operators.pool_tasks(backend)) for backend in export_operators.OPSETS]
    assert len(results["pools"]) == sum(per_backend) == 54


def test_a_silent_fault_is_listed_and_a_right_export_is_not():
    right = {"export": "written", "onnxruntime": "equal", "reference": "raises IndexError"}
    name = "LeakyReLU(0.3)"
    for result, said in (
        (right, None),
        ({**right, "onnxruntime": "other values"}, "**silent**: other values"),
        ({**right, "onnxruntime": "raises Fail"}, "loud: ONNX Runtime raises Fail"),
        ({"export": "SIGABRT"}, "loud: the export ends the process: SIGABRT"),
    ):
        text = export_page.render({"pools": [], "operators": {name: {"paddle": result}}}).partition("writes wrongly")[2]
        assert ("P.LeakyReLU(0.3)" in text) == (said is not None)
        assert said is None or said in text


@pytest.mark.zoo
def test_everything_is_as_on_file():
    results = exports.kept()
    assert {**exports.measured(), "versions": exports.versions()} == results
