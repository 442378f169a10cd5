"""parity/onnx_files/rewrite_rules/padding.py."""

import numpy as np
import pytest
from graphs import becomes, stays

VOLUME = "v = Unsqueeze (x, a)\n w = Pad (v, q)\n y = Squeeze (w, {})"


def integers(**lists):
    return {name: np.array(each) for name, each in lists.items()}


def test_an_axis_in_and_another_out_stay():
    stays(VOLUME.format("b"), integers(a=[2], b=[0], q=[0, 0, 0, 1, 2, 0, 0, 0, 3, 4]))


@pytest.mark.parametrize("pads", [[0, 0, 1, 1, 2, 0, 0, -1, 3, 4], [0, 0, 0, 1, 2, 0, 0, 1, 3, 4]])
def test_an_axis_that_is_padded_itself_stays(pads):
    """The second leaves two slices, of which Squeeze makes an error: no reason to repair it."""
    stays(VOLUME.format("a"), integers(a=[2], q=pads))


def test_pads_of_some_axes_alone_stay():
    body = "v = Unsqueeze (x, a)\n w = Pad (v, q, , r)\n y = Squeeze (w, a)"
    stays(body, integers(a=[2], q=[1, 1], r=[3]))


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge"])
def test_case_1_a_map_padded_as_a_volume_of_depth_one_is_padded_as_a_map(mode):
    volume = VOLUME.format("a").replace("Pad", f'Pad <mode = "{mode}">')
    tensors = integers(a=[2], q=[0, 0, 0, 1, 2, 0, 0, 0, 3, 4], p=[0, 0, 1, 2, 0, 0, 3, 4])
    becomes(f'y = Pad <mode = "{mode}"> (x, p)', volume, tensors, ["Pad"])
