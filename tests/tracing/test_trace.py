"""What a Trace records, and that nothing later reaches it."""

import json

import numpy as np
import paddle
import pytest
import torch
from pairs import IMAGE, small

from parity import ParityError, Trace, compare
from parity.backends import paddle_backend, torch_backend
from parity.numerics.distance import distance, root_mean_square
from parity.tracing.record import record
from parity.tracing.trace import TraceWriter


@pytest.fixture(params=[(torch_backend, 0), (paddle_backend, 1)], ids=["torch", "paddle"])
def backed(request, device):
    backend, index = request.param
    return backend, small(device)[index]


def nn_of(backend):
    return torch.nn.Module if backend is torch_backend else paddle.nn.Layer


def traced(backend, network, path, image=IMAGE, **options):
    record(backend, network, [image], path, **options)
    return Trace(path)


def test_what_is_no_trace_is_refused(tmp_path, backed):
    path = tmp_path / "t"
    for content in (b"", b"x" * 100, b"\xff" * 8 + b"{}"):
        path.write_bytes(content)
        with pytest.raises(ParityError, match="no safetensors file"):
            Trace(path)
    with pytest.raises(ParityError, match="cannot read"):
        Trace(tmp_path / "missing")
    TraceWriter(path).close({}, [])
    path.write_bytes(path.read_bytes().replace(b'schema\\": 3', b'schema\\": 9'))
    with pytest.raises(ParityError, match="schema 9"):
        Trace(path)


def test_every_layer_call_is_recorded_in_order(backed, tmp_path):
    backend, network = backed
    trace = traced(backend, network, tmp_path / "t")
    leaves = [call for call in trace.calls if call.leaf]
    assert [call.layer for call in leaves[:4]] == ["0.conv", "0.batch_norm", "0.act", "1"]
    assert trace.calls[-1].layer == ""
    assert leaves[0].kind == "Conv2d"
    assert leaves[0].config["kernel_size"] == [3, 3]
    assert leaves[0].terms == 27
    assert np.array_equal(trace.tensor(leaves[0].inputs[0]), IMAGE.astype(np.float64))
    assert trace.tensor(leaves[0].outputs[0]).dtype == np.float64
    assert 0 < leaves[0].noise[0].relative < 1e-5


def test_both_sides_describe_their_layers_in_the_same_words(tmp_path, device):
    traces = [
        traced(backend, net, tmp_path / backend.NAME)
        for backend, net in zip((torch_backend, paddle_backend), small(device), strict=True)
    ]
    described = [[(c.layer, c.kind, c.config, c.terms) for c in trace.calls if c.leaf] for trace in traces]
    assert described[0] == described[1]


def test_a_tensor_that_layers_share_is_stored_once(backed, tmp_path):
    trace = traced(*backed, tmp_path / "t")
    calls = {call.layer: call for call in trace.calls}
    assert calls["0.conv"].outputs == calls["0.batch_norm"].inputs
    assert calls["0.act"].outputs == calls["0"].outputs == calls["1"].inputs
    names = {name for call in trace.calls for name in (*call.inputs, *call.outputs)}
    assert (tmp_path / "t").stat().st_size < sum(8 * np.prod(trace.shape(name)) for name in names) + (1 << 20) + 9


def test_a_shared_layer_gets_call_numbers(tmp_path):
    for backend, nn in ((torch_backend, torch.nn), (paddle_backend, paddle.nn)):
        relu = nn.ReLU()
        trace = traced(backend, nn.Sequential(relu, nn.Flatten(), relu), tmp_path / "t")
        assert [(call.layer, call.number) for call in trace.calls if call.kind == "ReLU"] == [("0", 0), ("0", 1)]


def test_nothing_done_in_place_later_reaches_the_record(backed, tmp_path):
    backend, network = backed

    class InPlace(nn_of(backend)):
        def __init__(self):
            super().__init__()
            self.net = network

        def forward(self, x):
            y = self.net[0](x)
            z = y + 0
            self.net[1](z)
            z.add_(z)
            return self.net[1](z)

    trace = traced(backend, InPlace().eval() or InPlace(), tmp_path / "t")
    first, second = (call for call in trace.calls if call.layer == "net.1")
    assert first.inputs != second.inputs
    assert np.array_equal(trace.tensor(second.inputs[0]), 2 * trace.tensor(first.inputs[0]))


def test_the_network_is_left_as_it_was_found(backed, tmp_path):
    backend, network = backed
    network.train()
    network[0].eval()
    before = backend.get_state(network)
    modes = [layer.training for _, layer in backend.layers(network)]
    tensors = [id(tensor) for _, layer in backend.layers(network) for tensor in layer._parameters.values()]
    eps = [getattr(layer, "eps", None) for _, layer in backend.layers(network)]
    traced(backend, network, tmp_path / "t", gradients=True)
    assert backend.get_state(network).differences(before) == []
    assert [layer.training for _, layer in backend.layers(network)] == modes
    assert [id(tensor) for _, layer in backend.layers(network) for tensor in layer._parameters.values()] == tensors
    assert [getattr(layer, "eps", None) for _, layer in backend.layers(network)] == eps
    assert all("forward" not in layer.__dict__ for _, layer in backend.layers(network))
    assert all(p.grad is None for p in network.parameters())


def test_it_is_left_as_it_was_found_when_a_layer_fails_too(backed, tmp_path):
    backend, network = backed
    before = backend.get_state(network)
    with pytest.raises(ParityError, match=r"0\.conv: Conv2d takes 3 channels, its input's shape is \(2, 1, 33, 31\)"):
        traced(backend, network, tmp_path / "t", IMAGE[:, :1])
    assert backend.get_state(network).differences(before) == []
    assert all("forward" not in layer.__dict__ for _, layer in backend.layers(network))


def test_statistics_that_a_layer_in_training_mode_moves_are_put_back(backed, tmp_path):
    backend, network = backed
    network[0].batch_norm.train()
    before = backend.get_state(network)
    traced(backend, network, tmp_path / "t")
    assert backend.get_state(network).differences(before) == []


def added(backend, weight):
    with torch.no_grad(), paddle.no_grad():
        weight.add_((torch if backend is torch_backend else paddle).ones_like(weight))


def behind_the_counter(backend, weight):
    if backend is torch_backend:
        weight.data.add_(1)
    else:
        weight.get_tensor().set(weight.numpy() + 1, paddle.CPUPlace())


@pytest.mark.parametrize("change", [added, behind_the_counter])
def test_weights_that_a_forward_changes_are_put_back_and_named(backed, tmp_path, change):
    backend, network = backed

    class Moving(nn_of(backend)):
        def __init__(self):
            super().__init__()
            self.net = network

        def forward(self, x):
            change(backend, self.net[0].conv.weight)
            return self.net(x)

    moving = Moving()
    moving.eval()
    before, held = backend.get_state(moving), moving.net[0].conv.weight
    trace = traced(backend, moving, tmp_path / "t")
    assert trace.manifest["changed_weights"] == ["net.0.conv.weight"]
    assert moving.net[0].conv.weight is held
    assert backend.get_state(moving).differences(before) == []
    weight = next(call for call in trace.calls if call.layer == "net.0.conv")
    assert weight.noise[0].relative < 1e-5  # each run started from the same weights
    comparison = compare(moving, moving, IMAGE, transfer=False)
    assert comparison.verdict == "exact"
    assert [note for note in comparison.notes if note.endswith("put back: net.0.conv.weight")] == list(comparison.notes)
    assert len(comparison.notes) == 2
    assert "changed_weights" not in traced(backend, network, tmp_path / "still").manifest


def test_a_forward_that_puts_another_weight_in_place_is_undone(tmp_path):
    class Rebinding(torch.nn.Linear):
        def forward(self, x):
            self.weight = torch.nn.Parameter(self.weight * 2)
            return super().forward(x)

    network = Rebinding(4, 4)
    held = network.weight
    with torch.no_grad():
        network.bias[0] = float("nan")  # equal to itself only by its bits
    assert traced(torch_backend, network, tmp_path / "t", IMAGE[0, 0, :4, :4]).manifest["changed_weights"] == ["weight"]
    assert network.weight is held


@pytest.mark.parametrize(
    ("shape", "words"),
    [((1, 3, 0, 4), "window"), ((1, 3, 2, 2), "a window of 5x5 does not fit its input of 2x2 \\(padding 1x1\\)")],
)
def test_a_window_larger_than_its_input_is_refused_in_the_same_words(tmp_path, shape, words):
    """Paddle would return a tensor of negative shape and die when it is read."""
    for backend, conv in ((torch_backend, torch.nn.Conv2d), (paddle_backend, paddle.nn.Conv2D)):
        with pytest.raises(ParityError, match=words):
            traced(backend, conv(3, 4, 5, padding=1), tmp_path / "t", np.zeros(shape, np.float32))


def test_runs_that_part_by_precision_are_refused(tmp_path):
    class Fickle(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = torch.nn.ReLU(), torch.nn.ReLU()

        def forward(self, x):
            return (self.a if x.dtype == torch.float64 else self.b)(x)

    with pytest.raises(ParityError, match="b: the float64 and the float32 run diverge here"):
        traced(torch_backend, Fickle(), tmp_path / "t")


def test_an_array_keeps_its_shape_and_its_dtype(tmp_path):
    path = tmp_path / "t"
    writer = TraceWriter(path)
    arrays = [np.array(2.5), np.zeros((0, 3)), np.arange(6.0).reshape(2, 3).T, np.array([1, 2**63], np.uint64)]
    names = [writer.add(array) for array in arrays]
    read = [writer.read(name).copy() for name in names]
    with pytest.raises(ParityError, match="a layer's tensor has dtype complex64, which a trace cannot hold"):
        writer.add(np.zeros(2, np.complex64))
    writer.close({}, [])
    with Trace(path) as trace:
        for name, array, here in zip(names, arrays, read, strict=True):
            assert (here.shape, here.dtype) == (array.shape, array.dtype) == (trace.shape(name), array.dtype)
            assert trace.tensor(name).tobytes() == here.tobytes() == array.tobytes()


def test_a_header_larger_than_its_room_moves_the_data(tmp_path):
    path = tmp_path / "t"
    writer = TraceWriter(path)
    arrays = [np.random.default_rng(i).standard_normal(i * 1000) for i in range(5)]
    names = [writer.add(array) for array in arrays]
    writer.close({"long": "x" * (3 << 20)}, [])
    with Trace(path) as trace:
        assert len(trace.manifest["long"]) == 3 << 20
        assert all(np.array_equal(trace.tensor(n), a) for n, a in zip(names, arrays, strict=True))


def test_gradients_are_the_frameworks_own(tmp_path):
    network = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Tanh(), torch.nn.Linear(3, 2))
    x = IMAGE[0, 0, :5, :4]
    trace = traced(torch_backend, network, tmp_path / "t", x, gradients=True)
    from parity.numerics.fixed_random import projection

    y = network.double()(torch.from_numpy(x).double())
    y.backward(torch.from_numpy(projection(tuple(y.shape))))
    calls = {call.layer: call for call in trace.calls}
    assert np.allclose(trace.tensor(calls["0"].gradients["weight"]), network[0].weight.grad.numpy(), rtol=1e-12)
    assert set(calls["1"].gradients) == {"output 0"}


def test_layers_that_backward_calls_again_are_recorded_once(tmp_path):
    from torch.utils.checkpoint import checkpoint

    class Saving(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = torch.nn.Linear(4, 4), torch.nn.Linear(4, 2)

        def forward(self, x):
            return self.b(checkpoint(self.a, x, use_reentrant=False))

    trace = traced(torch_backend, Saving(), tmp_path / "t", IMAGE[0, 0, :5, :4], gradients=True)
    assert [(call.layer, call.number) for call in trace.calls] == [("a", 0), ("b", 0), ("", 0)]
    assert set(trace.calls[0].gradients) == {"output 0", "weight", "bias"}


def test_the_manifest_says_how_the_run_was_made(backed, tmp_path):
    backend, network = backed
    manifest = traced(backend, network, tmp_path / "t").manifest
    assert manifest["framework"] == backend.NAME
    assert manifest["tf32"] is False
    assert {"version", "python", "device", "dtype", "threads", "deterministic", "input_sha256"} <= manifest.keys()


@pytest.mark.parametrize(
    ("actual", "expected", "relative"),
    [
        ([1.0, 2.0], [1.0, 2.0], 0.0),
        ([3.0, 5.0], [3.0, 4.0], 1 / np.sqrt(12.5)),
        ([np.nan, 1.0], [1.0, 1.0], np.inf),
        ([1.0, 1.0], [1.0, np.nan], np.inf),
        ([np.inf, 1.0], [np.inf, 1.0], 0.0),
        ([-np.inf, 1.0], [np.inf, 1.0], np.inf),
        ([0.0, 0.0], [0.0, 0.0], 0.0),
        ([0.0], [0.0, 0.0], np.inf),
        ([], [], 0.0),
    ],
)
def test_distance(actual, expected, relative):
    assert distance(np.array(actual), np.array(expected)).relative == pytest.approx(relative, rel=1e-12)


def test_nan_on_both_sides_is_the_distance_nan_wherever_it_is():
    a = np.ones(3 << 20)
    a[[5, -5]] = np.nan
    b = a.copy()
    b[7] = 2
    for ours, theirs in ((a, a), (a, b), (b, a)):
        assert np.isnan(distance(ours, theirs).relative)


def test_the_worst_element_is_found_in_any_part_of_a_large_array():
    right = np.random.default_rng(0).standard_normal((2, 3 << 19))
    for index in ((0, 0), (1, 5), (0, (1 << 20) + 3), (1, (3 << 19) - 1)):
        wrong = right.copy()
        wrong[index] += 1.0
        found = distance(wrong, right)
        assert (found.index, found.actual) == (index, wrong[index])
        assert found.relative == pytest.approx(1 / np.sqrt(np.mean(right**2)))


def test_root_mean_square_of_zeros_and_of_huge_numbers():
    assert 0 < root_mean_square(np.zeros(3)) < 1e-300
    assert root_mean_square(np.full(4, 1e300)) == pytest.approx(1e300)
    assert root_mean_square(np.array([np.nan, 2.0, np.inf])) == 2.0


def test_the_json_of_a_comparison_is_strict(device):
    ours, theirs = small(device)
    with torch.no_grad():
        ours[8].bias[0] = float("nan")
    result = json.loads(compare(ours, theirs, IMAGE).to_json(), parse_constant=lambda name: pytest.fail(name))
    assert (result["schema"], result["ok"], result["verdict"]) == (1, False, "invalid")
    assert result["layers"][-1]["distance"] == "nan"
