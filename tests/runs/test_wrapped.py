"""Networks given as a user has them: wrapped, compiled, made by a callable, with layers that nobody sees."""

import functools
import inspect

import numpy as np
import paddle
import pytest
import torch

from parity import ParityError, compare

SHAPE = (1, 3, 9, 9)


def torch_net():
    return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Conv2d(4, 2, 1)).eval()


def paddle_net():
    net = paddle.nn.Sequential(paddle.nn.Conv2D(3, 4, 3), paddle.nn.ReLU(), paddle.nn.Conv2D(4, 2, 1))
    net.eval()
    return net


class TorchBody(torch.nn.Module):
    def __init__(self, wrap=lambda net: net):
        super().__init__()
        self.body = wrap(torch_net())

    def forward(self, x):
        return self.body(x)


def refuses(graph, inputs):
    """A compiler: no comparison may come so far, as it would see other code than the user's."""
    raise AssertionError("compiled")


class TorchCompiledForward(TorchBody):
    @torch.compile(backend=refuses)
    def forward(self, x):
        return self.body(x)


class PaddleBody(paddle.nn.Layer):
    def __init__(self):
        super().__init__()
        self.body = paddle_net()

    def forward(self, x):
        return self.body(x)


class PaddleStatic(PaddleBody):
    @paddle.jit.to_static
    def forward(self, x):
        return self.helped(x)

    @paddle.jit.to_static
    def helped(self, x):
        return self.body(x)


def compiled(net):
    return torch.compile(net, backend=refuses)


def compiled_in_place():
    net = TorchBody()
    net.compile(backend=refuses)
    return net


def distributed(net):
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    return torch.nn.parallel.DistributedDataParallel(net)


averaged = torch.optim.swa_utils.AveragedModel
parallel = torch.nn.DataParallel


@pytest.mark.parametrize(
    ("reference", "candidate", "note"),
    [
        (lambda: parallel(torch_net()), paddle_net, "the reference before it was compared: DataParallel"),
        (lambda: distributed(torch_net()), paddle_net, "DistributedDataParallel"),
        (lambda: averaged(torch_net()), paddle_net, "AveragedModel"),
        (lambda: averaged(parallel(compiled(torch_net()))), paddle_net, "AveragedModel, DataParallel, OptimizedModule"),
        (lambda: TorchBody(compiled), PaddleBody, "OptimizedModule (body)"),
        (lambda: TorchBody(parallel), PaddleBody, "DataParallel (body)"),
        (compiled_in_place, PaddleBody, "compile()"),
        (TorchCompiledForward, PaddleBody, "torch.compile"),
        (torch_net, lambda: paddle.DataParallel(paddle_net()), "the candidate before it was compared: DataParallel"),
        (torch_net, lambda: paddle.jit.to_static(paddle_net()), "to_static"),
        (torch_net, lambda: paddle.jit.to_static(paddle_net(), full_graph=True), "to_static"),
        (TorchBody, PaddleStatic, "to_static"),
    ],
)
def test_a_wrapper_is_taken_off_and_noted(reference, candidate, note):
    result = compare(reference(), candidate(), SHAPE)
    assert result.ok, str(result)
    assert len([layer for layer in result.layers if layer.leaf]) == 3
    assert any(each.endswith(note) and each.startswith("taken off the ") for each in result.notes), result.notes


def test_a_network_as_it_is_has_no_such_note():
    assert compare(torch_net(), paddle_net(), SHAPE).notes == ()


def test_a_mistake_within_a_wrapper_is_found_at_its_layer():
    net = torch_net()
    wrong = torch.nn.Sequential(net[0], torch.nn.ReLU6(), net[2]).eval()
    assert [each.layer for each in compare(parallel(net), compiled(wrong), SHAPE).culprits] == ["1"]


def test_a_wrapper_within_a_network_is_put_back():
    for wrap in (compiled, parallel):
        net = TorchBody(wrap)
        wrapper = net.body
        _ = compare(net, PaddleBody(), SHAPE)
        assert net.body is wrapper
    static = PaddleStatic()
    before = inspect.getattr_static(static, "forward")
    _ = compare(TorchBody(), static, SHAPE)
    assert inspect.getattr_static(static, "forward") is before
    assert paddle.jit.dy2static.program_translator.ProgramTranslator().enable_to_static


def test_a_users_own_wrapper_is_part_of_the_network():
    class Prepared(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.module = torch_net()

        def forward(self, x):
            return self.module(x * 2)

    result = compare(Prepared(), torch_net(), SHAPE, transfer=False)
    assert not result.ok
    assert next((layer.layer, layer.partner) for layer in result.layers if layer.leaf) == ("module.0", "0")


@pytest.mark.parametrize("made", [functools.partial(torch_net), lambda: torch_net(), torch_net])
def test_a_callable_is_called_for_its_network(made):
    assert compare(made, paddle_net, SHAPE).ok
    assert compare(TorchBody, PaddleBody, SHAPE).ok


def test_a_traced_function_graph_is_recorded_by_its_layers():
    result = compare(torch.fx.symbolic_trace(TorchBody()), PaddleBody(), SHAPE)
    assert result.ok
    assert len([layer for layer in result.layers if layer.leaf]) == 3


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda: torch.jit.script(torch_net()), "RecursiveScriptModule: ScriptModule runs as one program, its layers"),
        (lambda: torch.jit.trace(torch_net(), torch.ones(SHAPE)), "TopLevelTracedModule: ScriptModule runs as one"),
        (lambda: torch.nn.Sequential(torch.jit.script(torch_net())), "0: ScriptModule runs as one program"),
        (lambda: lambda path: path, "<lambda>: needs path; give a callable without arguments"),
        (lambda: 3, "int is neither a torch.nn.Module nor a paddle.nn.Layer"),
        (lambda: lambda: 3, "int is neither a torch.nn.Module nor a paddle.nn.Layer"),
    ],
)
def test_what_cannot_be_recorded_is_refused_in_one_line(made, words):
    with pytest.raises(ParityError) as caught:
        compare(made(), paddle_net(), SHAPE)
    assert str(caught.value).startswith(words)
    assert "\n" not in str(caught.value)


def of_another_library(package, name, **parts):
    """A network of a class of that name, holding others: the library need not be installed."""
    made = type(name, (torch.nn.Module,), {"__module__": package, "forward": lambda self, x: None})()
    for word, part in parts.items():
        setattr(made, word, part)
    return made


def test_a_moving_average_of_timm_is_taken_off_and_a_sharded_network_refused():
    for name in ("ModelEmaV2", "ModelEmaV3"):
        averaged = of_another_library("timm.utils.model_ema", name, module=torch_net())
        assert compare(averaged, paddle_net(), SHAPE).notes == (
            f"taken off the reference before it was compared: {name}",
        )
    sharded = of_another_library(torch.distributed.fsdp.FSDPModule.__module__, "FSDPModule", inner=torch_net())
    with pytest.raises(
        ParityError, match=r"^FSDPModule: FSDPModule holds a part of the weights; save a full state dict"
    ):
        compare(sharded, paddle_net(), SHAPE)


@pytest.mark.parametrize("wrong", [False, True])
def test_sync_batch_norm_runs_on_a_cpu_as_batch_norm(wrong):
    def torch_norm(kind):
        return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), kind(4, eps=1.1e-5 if wrong else 1e-5)).eval()

    def paddle_norm(kind):
        net = paddle.nn.Sequential(paddle.nn.Conv2D(3, 4, 3), kind(4))
        net.eval()
        return net

    kernel = paddle._C_ops.sync_batch_norm_
    for torch_kind in (torch.nn.BatchNorm2d, torch.nn.SyncBatchNorm):
        for paddle_kind in (paddle.nn.BatchNorm2D, paddle.nn.SyncBatchNorm):
            port = paddle_norm(paddle_kind)
            result = compare(torch_norm(torch_kind), port, SHAPE, gradients=True)
            assert result.ok != wrong, str(result)
            assert type(port[1]) is paddle_kind
            assert {culprit.layer for culprit in result.culprits} == ({"1"} if wrong else set())
    assert paddle._C_ops.sync_batch_norm_ is kernel


class Listed(paddle.nn.Layer):
    def __init__(self, make):
        super().__init__()
        self.conv = paddle.nn.Conv2D(3, 4, 3)
        self.heads = make(paddle.nn.Conv2D(4, 2, 1))

    def forward(self, x):
        heads = self.heads.values() if isinstance(self.heads, dict) else self.heads
        return next(iter(heads))(self.conv(x))


class TorchListed(torch.nn.Module):
    def __init__(self, make):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, 3)
        self.heads = make(torch.nn.Conv2d(4, 2, 1))

    def forward(self, x):
        return self.heads[0](self.conv(x))


def test_layers_in_a_plain_list_are_named_as_the_reason():
    right = TorchListed(lambda head: torch.nn.ModuleList([head]))
    sentence = "heads is a plain list of layers (Conv2D), which Paddle does not see: use nn.LayerList"
    with pytest.raises(ParityError) as caught:
        compare(right, Listed(lambda head: [head]), SHAPE)
    assert str(caught.value).endswith(f"\n  {sentence}")
    with pytest.raises(ParityError) as caught:  # its weights stay float32 in a float64 run
        compare(right, Listed(lambda head: [head]), SHAPE, transfer=False)
    assert f". {sentence}" in str(caught.value)
    with pytest.raises(ParityError, match=r"heads is a plain dict of layers \(Conv2D\).*: use nn.LayerDict"):
        compare(right, Listed(lambda head: {"a": head}), SHAPE)
    with pytest.raises(ParityError, match=r"heads is a plain tuple of layers \(Conv2d\).*: use nn.ModuleList"):
        compare(TorchListed(lambda head: (head,)), Listed(lambda head: paddle.nn.LayerList([head])), SHAPE)


def test_layers_in_lists_of_lists_and_private_ones_are_seen():
    net = torch_net()
    net.itself = []
    net.itself.append(net.itself)
    net._stages = [[torch.nn.Linear(2, 2)], {"a": [torch.nn.ReLU()]}]
    (note,) = compare(net, paddle_net(), SHAPE).notes
    assert note.startswith("in the reference, _stages is a plain list of layers (Linear, ReLU), which torch does not")


def test_a_list_of_layers_that_are_registered_elsewhere_hides_nothing():
    net = torch_net()
    net.order = [net[0], torch.nn.Sequential(net[1], net[2])]
    assert compare(net, paddle_net(), SHAPE).notes == ()
    net.order = [torch.nn.Sequential(net[0], torch.nn.ReLU())]
    assert "order is a plain list of layers (Sequential)" in compare(net, paddle_net(), SHAPE).notes[0]


def test_parameters_with_names_do_not_keep_a_network_from_being_built_again():
    def port(name="head_weights"):
        attr = paddle.ParamAttr(name=name)
        return paddle.nn.Sequential(
            paddle.nn.Conv2D(3, 4, 3), paddle.nn.ReLU(), paddle.nn.Conv2D(4, 2, 1, weight_attr=attr)
        )

    for _ in range(2):
        assert compare(torch_net(), port, SHAPE).ok
    with pytest.raises(ParityError, match=r"parameter name \[twice\]"):  # within one network it is the user's error
        compare(torch_net(), lambda: paddle.nn.Sequential(port("twice"), port("twice")), SHAPE)


def test_layers_that_are_hidden_and_not_called_are_noted():
    port = paddle_net()
    port.spare = [paddle.nn.Linear(2, 2)]
    (note,) = compare(torch_net(), port, SHAPE).notes
    assert note.startswith("in the candidate, spare is a plain list of layers (Linear)")


class Skip(torch.nn.Module):
    def __init__(self, inplace):
        super().__init__()
        self.conv1, self.conv2 = torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.Conv2d(4, 4, 3, padding=1)
        self.act, self.relu = torch.nn.ReLU(inplace), torch.nn.ReLU(inplace)

    def forward(self, x):
        y = self.conv1(self.act(x * 1))
        return self.conv2(self.relu(y)) + y


class PaddleSkip(paddle.nn.Layer):
    def __init__(self, factor=1):
        super().__init__()
        self.conv1, self.conv2 = paddle.nn.Conv2D(3, 4, 3, padding=1), paddle.nn.Conv2D(4, 4, 3, padding=1)
        self.act, self.relu, self.factor = paddle.nn.ReLU(), paddle.nn.ReLU(), factor

    def forward(self, x):
        y = self.conv1(self.act(x))
        return self.conv2(self.relu(y)) + self.factor * y


def test_a_layer_that_overwrites_what_is_used_again_is_the_reason():
    network = Skip(True)
    result = compare(network, PaddleSkip(), SHAPE)
    assert [culprit.layer for culprit in result.culprits] == ["relu"]  # `act` overwrites too, and nobody minds
    assert result.culprits[0].explanation == (
        "overwrites its input in torch (inplace=True), and the forward code uses that tensor again; "
        "with inplace=False the two are the same function"
    )
    assert network.relu.inplace
    assert network.act.inplace
    assert compare(Skip(False), PaddleSkip(), SHAPE).ok


def test_an_in_place_layer_is_not_blamed_for_another_mistake():
    result = compare(Skip(True), PaddleSkip(factor=2), SHAPE)
    assert "inplace" not in str(result)
    assert "the forward code of" in result.culprits[0].explanation


@pytest.mark.parametrize("given", [True, False, None])
def test_use_global_stats_is_a_setting(given):
    right = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)).eval()
    port = paddle.nn.Sequential(paddle.nn.Conv2D(3, 4, 3), paddle.nn.BatchNorm2D(4, use_global_stats=given))
    port.eval()
    result = compare(right, port, (4, 3, 9, 9))
    words = "use_global_stats differs: torch=None, paddle=True"
    assert (f"in training alone: {words} (1)" in result.notes) == (given is True)
    if given is False:  # the batch's statistics, in evaluation too
        assert result.culprits[0].explanation.startswith("track_running_stats differs: torch=True, paddle=False")
    right[1].train()
    port[1].train()
    result = compare(right, port, (4, 3, 9, 9))
    assert result.ok == (given is None)
    if given is True:
        assert result.culprits[0].explanation.startswith(
            f"{words} (proved: with use_global_stats=True torch reproduces"
        )


def test_statistics_are_what_torch_normalises_by_whatever_the_attribute_says():
    def net():
        return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)).eval()

    frozen = net()
    frozen[1].track_running_stats = False  # a known trick: the statistics are no longer updated
    assert compare(net(), frozen, np.ones((2, 3, 9, 9), np.float32)).ok


def test_instance_norm_with_statistics_is_told_by_its_setting():
    right = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.InstanceNorm2d(4, track_running_stats=True)).eval()
    port = paddle.nn.Sequential(
        paddle.nn.Conv2D(3, 4, 3), paddle.nn.InstanceNorm2D(4, weight_attr=False, bias_attr=False)
    )
    port.eval()
    with torch.no_grad():
        port[0].weight.set_value(right[0].weight.numpy())
        port[0].bias.set_value(right[0].bias.numpy())
    result = compare(right, port, SHAPE, transfer=False)
    assert "track_running_stats differs: torch=True, paddle=False" in str(result)
