"""What `--weights auto` stands for: nobody's network is exported, or compared with its file, with other weights."""

import pytest

from parity.errors import ParityError
from parity.processes.models import Model, parse_model, parse_pair, settled_weights

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


@pytest.mark.parametrize(
    "text, words",
    [
        ("torch:torchvision.models.resnet18", "did you mean torch:torchvision.models:resnet18?"),
        ("paddle:paddle.vision.models.resnet18", "did you mean paddle:paddle.vision.models:resnet18?"),
        ("torch:my_model.py", "did you mean torch:my_model.py:build?"),
        ("my_model.py:build", "did you mean torch:my_model.py:build or paddle:my_model.py:build?"),
        ("torch:resnet19", "did you mean resnet18"),
    ],
)
def test_a_spec_that_lacks_something_is_told_what(text, words):
    with pytest.raises(ParityError) as error:
        parse_model(text)
    assert words in str(error.value)
    with pytest.raises(ParityError) as error:  # not "compare it with what?": the word itself is wrong
        parse_pair(text, None)
    assert words in str(error.value)


def test_a_bare_dotted_name_is_told_its_colon():
    names = ("torchvision.models.resnet18", "torch:torchvision.models:resnet18"), ("paddle.x.y", "paddle:paddle.x:y")
    for name, words in names:
        with pytest.raises(ParityError, match=f"did you mean {words}"):
            parse_pair(name, None)


@pytest.mark.parametrize(
    "target, name",
    [
        ("my_model.py:build", "my_model"),
        ("nets/port.py:make_model", "port"),
        ("package.nets:build", "nets"),
        ("my_model.py:Net", "Net"),
        ("torchvision.models:resnet18", "resnet18"),
        ("resnet18", "resnet18"),
    ],
)
def test_a_callable_that_only_says_that_it_builds_is_called_after_its_file(target, name):
    assert Model("torch", target).name == name


def test_a_file_is_called_by_its_name():
    assert Model("onnx", "out/a.onnx").name == "a.onnx"
