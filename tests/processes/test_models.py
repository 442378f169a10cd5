"""What `--weights auto` stands for: nobody's network is exported, or compared with its file, with other weights."""

import pytest

from parity.processes.models import Model, settled_weights

CALLABLE = Model("torch", "net.py:build")
TWIN = Model("torch", "lenet5")
FILE = Model("onnx", "net.onnx")


@pytest.mark.parametrize(
    "models, weights",
    [
        ([CALLABLE], "own"),  # exported
        ([CALLABLE, FILE], "own"),
        ([FILE, CALLABLE], "own"),
        ([CALLABLE, Model("paddle", "port.py:build")], "random"),  # two that need weights in common
        ([Model("trace", "net.trace"), CALLABLE], "random"),  # a trace of such a run
        ([Model("trace", "net.trace")], "random"),
        ([TWIN], "random"),
        ([TWIN, Model("paddle", "lenet5")], "random"),
        ([TWIN, FILE], "random"),
        ([CALLABLE, TWIN], "random"),
    ],
)
def test_auto_takes_the_own_weights_of_the_only_network_that_is_the_users(models, weights):
    assert settled_weights("auto", models) == weights
    for chosen in ("random", "own", "w.pth"):
        assert settled_weights(chosen, models) == chosen
