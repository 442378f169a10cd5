"""The backend of PyTorch: the same functions as `paddle_backend.py`."""

from __future__ import annotations

import contextlib
import copy
import os
import platform
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from parity.backends.stand_in import TensorPlace, stand_ins
from parity.backends.torch_autograd import autograd as autograd
from parity.backends.torch_autograd import gradients as gradients
from parity.backends.torch_autograd import is_tracked as is_tracked
from parity.backends.torch_autograd import leaf as leaf
from parity.backends.torch_autograd import like as like
from parity.backends.torch_autograd import random_numbers as random_numbers
from parity.backends.torch_eager import eager as eager
from parity.backends.torch_export import export_onnx
from parity.backends.torch_functions import describe_function as describe_function
from parity.backends.torch_functions import functions as functions
from parity.errors import ParityError
from parity.layers import known, pair
from parity.numerics.arrays import Array, same_bits
from parity.weights.fit import fitted
from parity.weights.state import Slot, State, paths

NAME = "torch"


def build(name: str, **options: Any) -> nn.Module:
    """Return the twin of that name, its weights not initialised: `set_state` sets all of them.

    Raises:
        ParityError: For an unknown name, listing near matches.
    """
    import torch_cnn

    try:
        with torch.device("meta"):  # skips the framework's own initialisation
            network = torch_cnn.build(name, **options)
    except ValueError as error:
        raise ParityError(str(error)) from error
    network = network.to_empty(device="cpu")
    for buffer in network.buffers():
        buffer.zero_()
    return network.eval()


def hollow(network: nn.Module) -> nn.Module:
    """Return the network without its weights, if the framework can run it so, for the shapes only."""
    return network.to("meta")


def use(device: str, threads: int) -> str:
    """Choose device and number of threads for this process; return the device's name, "cpu" or "cuda".

    Raises:
        ParityError: If a GPU is asked for and torch sees none.
    """
    torch.set_num_threads(threads)
    if device == "cpu" or (device == "auto" and not torch.cuda.is_available()):
        return "cpu"
    if not torch.cuda.is_available():
        built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "a build without CUDA"
        raise ParityError(
            f"--device gpu: torch {torch.__version__} ({built}) sees no GPU. "
            "Check nvidia-smi and the driver, or use --device cpu."
        )
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    return "cuda"


def place(network: nn.Module, device: str) -> nn.Module:
    """Return the network on the device that `use` named."""
    return network.to(device)


def layers(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield every layer once, under its first dotted path; the network itself is ""."""
    return network.named_modules()


def _kind(layer: nn.Module) -> str:
    """Return the neutral kind: of torch's layer that it is or is derived from; else the name of its class."""
    # torch.nn.utils.parametrize makes a class ParametrizedConv2d, derived from the layer's.
    classes = [cls for cls in type(layer).__mro__ if not cls.__name__.startswith("Parametrized")]
    torch_class = next(cls for cls in classes if cls.__module__.startswith("torch."))
    return (type(layer) if torch_class is nn.Module else torch_class).__name__


def describe(layer: nn.Module) -> tuple[str, dict[str, Any]]:
    """Return a layer's neutral kind and configuration."""
    kind = _kind(layer)
    config = {word: pair(getattr(layer, word), word) for word in known(kind).settings if hasattr(layer, word)}
    if "momentum" in known(kind).settings:  # it normalises by what it holds, whatever the attribute says later
        config |= {"track_running_stats": layer.running_mean is not None, "use_global_stats": None}
    elif kind.startswith("InstanceNorm"):
        config["track_running_stats"] = layer.running_mean is not None
    elif known(kind).settings == known("Upsample").settings:
        # None means False; Paddle has mode 1 too.
        config |= {"align_corners": bool(layer.align_corners), "align_mode": 0}
    elif kind == "CrossEntropyLoss":
        config["dim"] = 1  # always; Paddle's axis is the last one by default
    return kind, {**config, "training": layer.training}


def _tensors(network: nn.Module) -> dict[str, tuple[Slot, torch.Tensor]]:
    """Return each weight's slot and its tensor, in order; one that layers share is listed under each of its names."""
    tensors, first_names = dict[str, tuple[Slot, torch.Tensor]](), dict[int, str]()
    for path, layer in paths(network, lambda layer: layer._modules):
        for role, tensor in [*layer._parameters.items(), *layer._buffers.items()]:
            # Paddle has no batch counters.
            if tensor is None or role == "num_batches_tracked" or role in layer._non_persistent_buffers_set:
                continue
            name = f"{path}.{role}" if path else role
            if nn.parameter.is_lazy(tensor):
                raise ParityError(f"{name}: not initialised yet. Run the network once on an input, then compare.")
            tied = first_names.setdefault(id(tensor), name)
            slot = Slot(tuple(tensor.shape), _kind(layer), role, "" if tied == name else tied)
            buffer = role in layer._buffers and role not in ("running_mean", "running_var")
            tensors[name] = (replace(slot, buffer=buffer), tensor)
    return tensors


def slots(network: nn.Module) -> dict[str, Slot]:
    """Return the network's slots by neutral name, in order."""
    return {name: slot for name, (slot, _) in _tensors(network).items()}


def get_state(network: nn.Module) -> State:
    """Return a copy of the network's weights in neutral form."""
    copies, tensors = dict[str, Array](), _tensors(network)
    for name, (slot, tensor) in tensors.items():
        copies[name] = copies[slot.tied] if slot.tied else to_numpy(tensor).copy()
    return State(copies, [name for name, (slot, _) in tensors.items() if slot.buffer])


def set_state(network: nn.Module, state: State, name: str = "network") -> list[str]:
    """Copy a State into the network, every tensor exactly once, and return notes: `parity.weights.fit`.

    Raises:
        ParityError: Naming everything missing, unexpected or of the wrong shape; nothing is changed then.
    """
    tensors = _tensors(network)
    given, notes = fitted(state, {key: slot for key, (slot, _) in tensors.items()}, name, NAME)
    with torch.no_grad():
        for key, array in given.items():
            slot, tensor = tensors[key]
            if not slot.tied:
                _ = tensor.copy_(torch.from_numpy(np.require(array, requirements=["C", "W"])))
    return notes


def is_tensor(value: Any) -> bool:
    """Return whether a value is a tensor of this framework."""
    return isinstance(value, torch.Tensor)


def is_plain(tensor: torch.Tensor) -> bool:
    """Return whether a tensor is dense and holds real numbers, which numpy has."""
    return tensor.layout is torch.strided and not tensor.is_quantized and not tensor.is_complex()


def to_numpy(tensor: torch.Tensor) -> Array:
    """Return a tensor's values; on the CPU they share its memory. bfloat16, which numpy lacks, becomes float32."""
    tensor = tensor.detach().cpu()
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()


def version(tensor: torch.Tensor) -> int:
    """Return a number that grows whenever the tensor is changed in place."""
    return tensor._version


def to_tensor(array: Array, network: nn.Module) -> torch.Tensor:
    """Return the array as a tensor on the network's device; a floating one in the network's dtype."""
    like = next((tensor for _, tensor in _tensors(network).values() if tensor.is_floating_point()), None)
    tensor = torch.from_numpy(np.array(array))
    return tensor if like is None else tensor.to(like.device, like.dtype if array.dtype.kind == "f" else tensor.dtype)


@contextlib.contextmanager
def double(network: nn.Module) -> Iterator[list[str]]:
    """Let the network compute in float64 for a while; yield what `native` does.

    Settings that `layers.KINDS` lists as float32 are rounded to it until then: Paddle and ONNX store theirs as float32
    inside a float64 kernel, and one eps alone makes the distance of two correct ports of ResNet-50 1e-11 in place of
    1e-14 (docs/contract.md).
    """
    settings = [
        (layer, word, value)
        for _, layer in layers(network)
        for word in known(_kind(layer)).float32
        if isinstance(value := getattr(layer, word, None), float)
    ]
    default = torch.get_default_dtype()
    try:
        for layer, word, value in settings:
            setattr(layer, word, float(np.float32(value)))
        torch.set_default_dtype(torch.float64)
        with _replaced(network, torch.float64) as changed, _exact_operators():
            yield changed
    finally:
        torch.set_default_dtype(default)
        for layer, word, value in settings:
            setattr(layer, word, value)


@contextlib.contextmanager
def _exact_operators() -> Iterator[None]:
    """Replace for a while torch's hard sigmoid: its float64 gradient multiplies by a float32 1/6.

    Its other float64 operators are exact (measured, 2.14.1: docs/differences.md).
    """
    namespace: Any = torch._C._nn  # pyright: ignore[reportAttributeAccessIssue]
    original = namespace.hardsigmoid

    def hardsigmoid(x: torch.Tensor) -> torch.Tensor:
        return nn.functional.relu6(x + 3) / 6 if x.dtype == torch.float64 and x.requires_grad else original(x)

    namespace.hardsigmoid = hardsigmoid
    try:
        yield
    finally:
        namespace.hardsigmoid = original


def native(network: nn.Module) -> AbstractContextManager[list[str]]:
    """Let the network compute in its own precision, but float64 as float32; its tensors are restored at the end.

    Returns:
        A context of a list: at its end, the names of weights that changed in it, statistics excluded.
    """
    first = next((tensor for _, tensor in _tensors(network).values() if tensor.is_floating_point()), None)
    return _replaced(network, torch.float32 if first is not None and first.dtype == torch.float64 else None)


def hollow_run(network: nn.Module) -> AbstractContextManager[list[str]]:
    """Let the network compute shapes alone for a while, on inputs that `to_tensor` makes then; no value can be read."""
    return _replaced(network, None, torch.device("meta"))


def _replaced(
    network: nn.Module, dtype: torch.dtype | None, device: torch.device | None = None
) -> AbstractContextManager[list[str]]:
    """Replace all tensors by copies, floating ones in another dtype, and put the originals back at the end."""

    def copied(tensor: torch.Tensor) -> torch.Tensor:
        copy = tensor.detach().to(device, dtype if tensor.is_floating_point() else None, copy=True)
        return nn.Parameter(copy, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else copy

    def equal(tensor: torch.Tensor, copy: torch.Tensor) -> bool:
        if copy.is_meta:  # it has no values
            return True
        tensor = tensor.to(copy.dtype)
        return torch.equal(tensor, copy) or same_bits(to_numpy(tensor), to_numpy(copy))  # NaN, bit for bit

    _ = _tensors(network)  # refuses tensors that are not initialised
    places = [
        TensorPlace((f"{path}.{key}" if path else key) if store is layer._parameters else "", store, key, tensor)
        for path, layer in layers(network)
        for store in (cast(dict[str, Any], layer._parameters), cast(dict[str, Any], layer._buffers))
        for key, tensor in store.items()
        if tensor is not None
    ]
    return stand_ins(places, copied, version, equal)


def neutral(layer: nn.Module, role: str, array: Array) -> Array:
    """Return a layer's tensor in neutral orientation, which is torch's own."""
    return array


def parameters(layer: nn.Module) -> dict[str, torch.Tensor]:
    """Return a layer's own trained parameters by role."""
    return {role: tensor for role, tensor in layer.named_parameters(recurse=False) if tensor.requires_grad}


def frozen(layer: nn.Module) -> list[str]:
    """Return the roles of a layer's own parameters that are not trained."""
    return [role for role, tensor in layer.named_parameters(recurse=False) if not tensor.requires_grad]


def statistics(layer: nn.Module) -> dict[str, torch.Tensor]:
    """Return the statistics that a layer keeps in training, by role."""
    return {
        role: tensor for role, tensor in layer._buffers.items() if role.startswith("running_") and tensor is not None
    }


WAYS = ("eager", "channels-last", "compile")


def runner(network: nn.Module, way: str, array: Array) -> Callable[[], Any]:
    """Return a call that runs the network on an input once, in one of WAYS.

    Raises:
        ParityError: If torch.compile has no C++ compiler.
    """
    x = to_tensor(array, network)
    if way == "channels-last":
        network = copy.deepcopy(network).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        x = x.to(memory_format=torch.channels_last)
    call: Any = network
    if way == "compile":
        if shutil.which(os.environ.get("CXX", "g++")) is None:
            raise ParityError("torch.compile needs a C++ compiler, and there is no g++")
        torch._dynamo.reset()  # each batch size is compiled anew, not recompiled for any size
        call = torch.compile(network, dynamic=False)

    def once() -> Any:
        with torch.inference_mode():
            return call(x)

    return once


def manifest(network: nn.Module) -> dict[str, Any]:
    """Return framework, versions, device, dtype, threads, and the flags that change results."""
    first = next(iter(network.parameters()), torch.empty(0))
    cuda = first.device.type == "cuda"
    return {
        "framework": NAME,
        "version": torch.__version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "machine": platform.machine(),
        "device": first.device.type,
        "device_name": torch.cuda.get_device_name(first.device) if cuda else platform.processor(),
        "dtype": str(first.dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "tf32": cuda and bool(torch.backends.cudnn.allow_tf32 or torch.backends.cuda.matmul.allow_tf32),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
    }


def export(network: nn.Module, example: Array, path: Path, opset: int, dynamic_size: bool) -> dict[str, str]:
    """Write the network with torch's exporter, not optimised: its BatchNorms are in the file.

    Args:
        network: In evaluation mode, on the CPU.
        example: An input; its batch is dynamic in the file, with `dynamic_size` its height and width too.
        path: Of the new file; weights of more than 1 GiB go to a file beside it.
        opset: Version of ONNX's operators.
        dynamic_size: Whether the image's size stays open.

    Returns:
        Each tensor's name in the State, by its name in the file.

    Raises:
        ParityError: If the exporter cannot take the network.
    """
    tensors = _tensors(network)
    large = sum(tensor.nbytes for slot, tensor in tensors.values() if not slot.tied) > 1 << 30
    export_onnx(network, example, path, opset, dynamic_size, external_data=large)
    return {name: name for name in tensors}
