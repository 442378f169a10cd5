"""DenseNet with `memory_efficient` on computes, learns and counts batches as with it off, in both frameworks."""

import importlib
from functools import partial

import numpy as np
import pytest
from program import run

FRAMEWORKS = ("torch", "paddle")


class Run:
    """Two training steps and a prediction of one network from fixed weights, all results as numpy arrays by name."""

    def __init__(self, framework, build, shape, input_gradient=True, dropout_seed=0):
        module = importlib.import_module(framework)
        if framework == "torch":
            seed, tensor_of = module.manual_seed, module.as_tensor
        else:
            seed, tensor_of = module.seed, module.to_tensor
        seed(dropout_seed)
        network = build(importlib.import_module(f"{framework}_cnn.densenet"))
        generator = np.random.default_rng(1)
        trained = {}
        for name, parameter in network.named_parameters():
            value = tensor_of(generator.normal(size=tuple(parameter.shape)).astype("float32"))
            if framework == "torch":
                parameter.data = value
                trained[name] = parameter
            elif not parameter.stop_gradient:  # Paddle lists running statistics among the parameters
                parameter.set_value(value)
                trained[name] = parameter
        inputs = tensor_of(generator.normal(size=shape).astype("float32"))
        if framework == "torch":
            inputs.requires_grad = input_gradient
        else:
            inputs.stop_gradient = not input_gradient
        if input_gradient:
            trained["input"] = inputs
        self.arrays = {}
        for step in range(2):
            outputs = network(inputs)
            (outputs * outputs).mean().backward()
            self.arrays[f"output of step {step}"] = outputs.detach().numpy()
        self.arrays |= {f"gradient of {name}": tensor.grad.numpy() for name, tensor in trained.items()}
        self.statistics = {name: value.numpy().copy() for name, value in network.state_dict().items()}
        network.eval()
        self.arrays["prediction"] = network(inputs).detach().numpy()


def run_off_and_on(framework, build, shape=(2, 6, 5, 7), **options):
    builds = [partial(build, memory_efficient=on) for on in (False, True)]
    return tuple(Run(framework, build, shape, **options) for build in builds)


def assert_same(off, on):
    assert list(off.arrays) == list(on.arrays)
    for name, array in off.arrays.items():
        np.testing.assert_array_equal(on.arrays[name], array, err_msg=name)
    assert list(off.statistics) == list(on.statistics)
    for name, array in off.statistics.items():
        np.testing.assert_array_equal(on.statistics[name], array, err_msg=name)


def block(densenet, memory_efficient):
    return densenet.DenseLayerBlock(3, 6, 4, memory_efficient=memory_efficient)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_plain_recomputation_counts_each_batch_twice(framework, monkeypatch):
    """Without the freeze the comparison below must fail: its statistics differ, and nothing else in training."""
    monkeypatch.setattr(importlib.import_module(f"{framework}_cnn.densenet"), "FROZEN", {})
    off, on = run_off_and_on(framework, block)
    differing = {name for name, array in off.statistics.items() if not np.array_equal(on.statistics[name], array)}
    assert differing and all("norm1" in name for name in differing)
    with pytest.raises(AssertionError):
        assert_same(off, on)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_another_dropout_is_seen(framework):
    def build(densenet):
        return densenet.DenseLayer(6, 4, drop_rate=0.5)

    runs = [Run(framework, build, (2, 6, 5, 7), dropout_seed=seed) for seed in (0, 1)]
    with pytest.raises(AssertionError):
        assert_same(*runs)


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("input_gradient", (True, False))
def test_block_is_the_same(framework, input_gradient):
    assert_same(*run_off_and_on(framework, block, input_gradient=input_gradient))


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_block_without_bottleneck_is_the_same(framework):
    def build(densenet, memory_efficient):
        layer = densenet.PlainDenseLayer
        return densenet.DenseLayerBlock(3, 6, 4, layer, memory_efficient=memory_efficient)

    assert_same(*run_off_and_on(framework, build))


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_dropout_draws_the_same(framework):
    def build(densenet, memory_efficient):
        return densenet.DenseLayerBlock(3, 6, 4, drop_rate=0.3, memory_efficient=memory_efficient)

    assert_same(*run_off_and_on(framework, build))


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("bottleneck", (False, True))
def test_whole_network_is_the_same(framework, bottleneck):
    def build(densenet, memory_efficient):
        return densenet.densenet_cifar(16, 4, bottleneck, memory_efficient=memory_efficient)

    assert_same(*run_off_and_on(framework, build, shape=(2, 3, 16, 16)))


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_norm_is_as_before_after_backward(framework):
    """The freeze ends with the recomputation, which torch leaves by an exception."""
    name = {"torch": "momentum", "paddle": "_momentum"}[framework]
    seen = []

    def build(densenet):
        seen.append(densenet.DenseLayer(6, 4, memory_efficient=True))
        return seen[0]

    usual = getattr(build(importlib.import_module(f"{framework}_cnn.densenet")).norm1, name)
    seen.clear()
    Run(framework, build, (2, 6, 5, 7))
    assert getattr(seen[0].norm1, name) == usual


@pytest.mark.parametrize("name", ["resnet18", "densenet_d2l"])
def test_the_benchmark_of_memory_refuses_a_network_that_cannot_save_any(name):
    done = run("bench", "memory", name)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"parity: {name} has no memory_efficient; the DenseNets except densenet_d2l have it\n"
