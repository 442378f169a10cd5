"""The design spaces refuse what they should, draw what they promise, and count what the AnyNet twin really holds."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from parity.analysis import design_population, design_space
from parity.analysis.design_population import edf, linear_fit
from parity.analysis.design_space import Design, Ranges, anynet, compatible_widths, cost, quantised_widths
from parity.reports import design_space_figure
from torch_cnn import regnet

SPACES = "ABCDE"
VALID = {"depths": (1, 2, 2, 4), "widths": (32, 64, 64, 128), "bottleneck_ratios": (2,) * 4, "group_widths": (8,) * 4}
VIOLATIONS = {
    "A": (
        {"widths": (32, 64, 100, 128)},
        "A: stage 3: width 100 / bottleneck ratio 2 = 50 is not divisible by group width 8",
    ),
    "B": (
        {"bottleneck_ratios": (2, 2, 4, 2)},
        "B: the bottleneck ratio is not the same in all stages: 2, 2, 4, 2",
    ),
    "C": ({"group_widths": (8, 16, 8, 8)}, "C: the group width is not the same in all stages: 8, 16, 8, 8"),
    "D": ({"widths": (32, 64, 48, 128)}, "D: width falls from 64 in stage 2 to 48 in stage 3"),
    "E": ({"depths": (1, 2, 4, 3)}, "E: depth falls from 4 in stage 3 to 3 in stage 4"),
}


@pytest.mark.parametrize("letter", SPACES)
def test_each_restriction_is_refused_from_its_space_on_and_allowed_before(letter):
    change, message = VIOLATIONS[letter]
    for space in SPACES:
        if space >= letter:
            with pytest.raises(ValueError) as error:
                anynet(space, **(VALID | change))
            assert str(error.value) == f"AnyNet {space}: {message}"
        else:
            anynet(space, **(VALID | change))


def test_all_violations_come_in_one_message():
    with pytest.raises(ValueError) as error:
        anynet("E", (3, 2, 1), (64, 30, 50), (1, 4, 2), (8, 8, 16))
    assert str(error.value).split("; ") == [
        "AnyNet E: A: stage 2: width 30 is not divisible by bottleneck ratio 4",
        "A: stage 3: width 50 / bottleneck ratio 2 = 25 is not divisible by group width 16",
        "B: the bottleneck ratio is not the same in all stages: 1, 4, 2",
        "C: the group width is not the same in all stages: 8, 8, 16",
        "D: width falls from 64 in stage 1 to 30 in stage 2",
        "E: depth falls from 3 in stage 1 to 2 in stage 2",
        "E: depth falls from 2 in stage 2 to 1 in stage 3",
    ]


@pytest.mark.parametrize("value", (0, -8, 8.0, "8"))
def test_what_is_no_number_of_channels_is_refused(value):
    with pytest.raises(ValueError, match=r"A: stage 1: width .* is not a whole positive number"):
        anynet("A", (1, 1), (value, 8), (1, 1), (1, 1))


def test_numbers_for_different_stages_are_refused():
    with pytest.raises(ValueError, match="2 depths, 3 widths, 2 bottleneck ratios, 2 group widths"):
        anynet("A", (1, 1), (8, 8, 8), (1, 1), (1, 1))
    with pytest.raises(ValueError, match="0 depths"):
        anynet("A", (), (), (), ())


@pytest.mark.parametrize("space", ("F", "", "AB", "e"))
def test_unknown_space_is_refused(space):
    with pytest.raises(ValueError, match="known: A, B, C, D, E"):
        anynet(space, **VALID)
    with pytest.raises(ValueError, match="known: A, B, C, D, E"):
        design_space.sample(space, 1, 0)


@pytest.mark.parametrize("w0, wa, wm", ((0, 1, 2), (12, 1, 2), (8, -1, 2), (8, 1, 1)))
def test_line_outside_regnet_is_refused(w0, wa, wm):
    with pytest.raises(ValueError, match="w0 is a positive multiple of 8"):
        quantised_widths(w0, wa, wm, 3)


def test_bad_errors_file_is_refused_with_every_line(tmp_path):
    path = tmp_path / "results.csv"
    path.write_text("name,error\na,1.5\nb,\nc,nan\nd,x\ne,-1\nf,2\n")
    with pytest.raises(ValueError) as error:
        design_population.read_errors(path)
    for words in ("line 3: error is ''", "line 4: error is 'nan'", "line 5: error is 'x'", "line 6: error is '-1'"):
        assert words in str(error.value)
    with pytest.raises(ValueError, match="no column 'top1'; columns: name, error"):
        design_population.read_errors(path, "top1")
    for text, words in (("", "columns: none"), ("error\n", "no rows")):
        path.write_text(text)
        with pytest.raises(ValueError, match=words):
            design_population.read_errors(path)


def test_nothing_has_no_distribution(tmp_path):
    with pytest.raises(ValueError, match="no errors"):
        edf([], 1.0)
    with pytest.raises(ValueError, match="no errors to plot: b"):
        design_space_figure.plot_edf({"a": [1.0], "b": []}, tmp_path / "x.png")
    with pytest.raises(ValueError, match="no networks"):
        design_population.describe([])


def test_import_loads_neither_framework_nor_matplotlib():
    code = "import parity.reports.design_space_figure, sys; print({'torch', 'paddle', 'matplotlib'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"


@pytest.mark.parametrize("space", SPACES)
def test_samples_keep_their_space_and_ranges(space):
    designs = design_space.sample(space, 200, seed=5)
    for design in designs:
        anynet(space, design.depths, design.widths, design.bottleneck_ratios, design.group_widths)
        assert all(1 <= depth <= 16 for depth in design.depths)
        assert all(8 <= width <= 1024 and width % 8 == 0 for width in design.widths)
        assert set(design.bottleneck_ratios) <= {1, 2, 4}
        assert set(design.group_widths) <= {1, 2, 4, 8, 16, 32} or space < "C"
        assert len(set(design.group_widths)) == 1 or space < "C"
    assert len(set(designs)) > 190


@pytest.mark.parametrize("space", SPACES[1:])
def test_samples_of_the_space_before_do_not_all_pass(space):
    """Each restriction is one: what is drawn without it breaks it."""
    before = design_space.sample(SPACES[SPACES.index(space) - 1], 50, seed=5)
    refused = 0
    for design in before:
        try:
            anynet(space, design.depths, design.widths, design.bottleneck_ratios, design.group_widths)
        except ValueError:
            refused += 1
    assert refused > 10


def test_same_seed_draws_the_same():
    assert design_space.sample("E", 5, seed=7) == design_space.sample("E", 9, seed=7)[:5]
    assert design_space.sample("E", 5, seed=7) != design_space.sample("E", 5, seed=8)
    assert design_space.sample("E", 1, seed=0) == [Design((1, 2, 3, 13), (8, 16, 344, 728), (1, 1, 1, 1), (1, 1, 1, 1))]


def test_other_ranges_are_kept():
    ranges = Ranges(stages=2, depth=3, width=64, bottleneck_ratios=(1,), group_widths=(8,))
    for design in design_space.sample("A", 100, 0, ranges):
        assert len(design.depths) == 2 and max(design.depths) <= 3 and max(design.widths) <= 64


STAGE = st.tuples(st.integers(1, 4000), st.sampled_from((1, 2, 4)), st.integers(1, 300))


@given(st.lists(STAGE, min_size=1, max_size=4))
def test_compatible_widths_are_the_twins_and_divide(stages):
    widths, ratios, group_widths = (list(each) for each in zip(*stages, strict=True))
    fitted = compatible_widths(widths, ratios, group_widths)
    assert fitted == regnet.compatible_widths(widths, ratios, group_widths)
    for width, ratio, group_width in zip(fitted[0], ratios, fitted[1], strict=True):
        assert width % ratio == 0 and width // ratio % group_width == 0


@given(st.integers(1, 60), st.floats(0, 300), st.floats(1.05, 4), st.integers(1, 64))
def test_quantised_widths_are_the_twins(w0, wa, wm, depth):
    assert quantised_widths(8 * w0, wa, wm, depth) == regnet.quantised_widths(8 * w0, wa, wm, depth)


def measured(design, size, se_ratio=0.0):
    """Return parameters and MACs of the AnyNet twin in PyTorch, built without memory."""
    macs = 0

    def count(layer, _, outputs):
        nonlocal macs
        macs += outputs.numel() * layer.weight[0].numel()

    with torch.device("meta"):
        network = regnet.AnyNet(
            design.depths, design.widths, design.bottleneck_ratios, design.group_widths, se_ratio
        ).eval()
        for layer in network.modules():
            if isinstance(layer, (torch.nn.Conv2d, torch.nn.Linear)):
                layer.register_forward_hook(count)
        network(torch.empty(1, 3, size, size))
    return design_space.Cost(macs, sum(parameter.numel() for parameter in network.parameters()))


@pytest.mark.parametrize("space", SPACES)
def test_costs_are_those_of_the_built_network(space):
    for design in design_space.sample(space, 3, seed=11):
        assert cost(design) == measured(design, 224)


def test_costs_hold_at_odd_sizes_and_with_squeeze_and_excitation():
    design = design_space.sample("A", 1, seed=12)[0]
    assert cost(design, 97, se_ratio=0.25) == measured(design, 97, se_ratio=0.25)
    assert cost(design, 97, se_ratio=0.25) != cost(design, 97)
    assert cost(design, 97) != cost(design, 129)


@pytest.mark.parametrize(
    "line, group_width, se_ratio, macs, parameters",
    (
        ((24, 24.48, 2.54, 22), 16, 0.0, 413_812_608, 5_495_976),  # regnet_x_400mf
        ((80, 49.56, 2.88, 23), 120, 0.0, 7_995_132_416, 39_572_648),  # regnet_x_8gf: first stage narrower than a group
        ((232, 115.89, 2.53, 20), 232, 0.25, 32_279_552_832, 145_046_770),  # regnet_y_32gf
    ),
)
def test_published_regnets_cost_what_is_published(line, group_width, se_ratio, macs, parameters):
    blocks = quantised_widths(*line)
    stages = sorted(set(blocks))
    depths = [blocks.count(width) for width in stages]
    widths, group_widths = compatible_widths(stages, [1] * 4, [group_width] * 4)
    design = anynet("D", depths, widths, [1] * 4, group_widths)
    assert cost(design, se_ratio=se_ratio) == design_space.Cost(macs, parameters)
    unchanged = Design(tuple(depths), tuple(stages), (1,) * 4, (1,) * 4)
    assert linear_fit(unchanged).error < 0.005


def test_fit_error_is_that_of_its_line_and_grows_away_from_lines():
    straight, crooked = Design((2, 4), (64, 128), (1, 1), (1, 1)), Design((2, 4), (128, 16), (1, 1), (1, 1))
    for design in (straight, crooked):
        fit = linear_fit(design)
        line = np.array(quantised_widths(fit.w0, fit.wa, fit.wm, 6))
        assert fit.error == pytest.approx(np.abs(np.log(line / design.block_widths)).mean(), abs=1e-12)
    assert linear_fit(straight).error == 0
    assert linear_fit(crooked).error > 0.5


def test_edf_counts_errors_below():
    errors = [3.0, 1.0, 2.0, 2.0]
    assert edf(errors, [0, 1, 1.5, 2, 2.5, 3, 4]).tolist() == [0, 0, 0.25, 0.25, 0.75, 0.75, 1]


def test_population_is_measured_summed_up_and_plotted(tmp_path):
    designs = design_space.sample("E", 12, seed=1)
    population = design_population.describe(designs)
    assert population.macs.tolist() == [cost(design).macs for design in designs]
    table = design_population.summary(population)
    assert list(table) == ["depth", *(f"width of stage {i}" for i in (1, 2, 3, 4)), "GMACs", "M parameters", "e_fit"]
    assert table["depth"]["max"] == max(sum(design.depths) for design in designs)
    path = tmp_path / "results.csv"
    path.write_text("error,name\n" + "".join(f"{40 + i / 3},n{i}\n" for i in range(12)))
    errors = design_population.read_errors(path)
    assert errors[3] == 41
    design_space_figure.plot_population(population, tmp_path / "space.png", "E")
    design_space_figure.plot_population(design_population.describe(designs[:1]), tmp_path / "one.png")
    design_space_figure.plot_edf({"E": errors}, tmp_path / "edf.png")
    for name in ("space.png", "one.png", "edf.png"):
        data = (tmp_path / name).read_bytes()
        assert data.startswith(b"\x89PNG") and len(data) > 10_000
