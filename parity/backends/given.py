"""The network within what a user gives: called, if it is a callable, and taken out of what others wrapped around it."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from parity.backends.builder import called, notes
from parity.errors import ParityError, place, said

# What is known to call the network within it and nothing else, by class, and where that is. A user's own class may
# prepare its input first, so no other is taken apart.
_WRAPPERS = {
    "torch.nn.parallel.data_parallel.DataParallel": "module",
    "torch.nn.parallel.distributed.DistributedDataParallel": "module",
    "torch.optim.swa_utils.AveragedModel": "module",
    "torch._dynamo.eval_frame.OptimizedModule": "_orig_mod",
    "timm.utils.model_ema.ModelEma": "ema",
    "timm.utils.model_ema.ModelEmaV2": "module",
    "timm.utils.model_ema.ModelEmaV3": "module",
    "paddle.distributed.parallel.DataParallel": "_layers",
    "paddle.fluid.dygraph.parallel.DataParallel": "_layers",
}
# What cannot be run layer by layer, and the way out.
_WHOLE = {
    "torch.jit._script.ScriptModule": "runs as one program, its layers cannot be recorded; "
    "give the module that torch.jit.script or torch.jit.trace was called with",
    "torch.distributed.fsdp.fully_sharded_data_parallel.FullyShardedDataParallel": "holds a part of the weights; "
    "save a full state dict and load it into the network itself",
    "torch.distributed.fsdp.FSDPModule": "holds a part of the weights; "
    "save a full state dict and load it into the network itself",
    "paddle.jit.translated_layer.TranslatedLayer": "runs as one program, its layers cannot be recorded; "
    "give the layer that paddle.jit.save was called with",
}


# Whether a layer is torch's: the framework, and its containers in place of a list and of a dictionary.
_SEEN = {True: ("torch", ("ModuleList", "ModuleDict")), False: ("Paddle", ("LayerList", "LayerDict"))}


class Given(NamedTuple):
    """A network, and what was taken off it.

    Attributes:
        network: The network, without its wrappers, and without those of the layers in it.
        wrappers: Their classes, with the layer's dotted path where it is not the network: "DataParallel (backbone)".
        undo: Puts the wrappers within the network back.
        built: Notes on how a callable was called for it.
    """

    network: Any
    wrappers: tuple[str, ...]
    undo: Callable[[], None]
    built: tuple[str, ...] = ()

    @property
    def manifest(self) -> dict[str, Any]:
        """Return what a manifest says of how the network was given; nothing of one given as it is."""
        entries = {
            "built": list(self.built),
            "wrappers": list(self.wrappers),
            "unregistered": unregistered(self.network),
        }
        return {word: value for word, value in entries.items() if value}


@contextlib.contextmanager
def taken(value: Any) -> Iterator[Given]:
    """Yield what `network_in` returns, and put the wrappers within the network back."""
    given = network_in(value)
    try:
        yield given
    finally:
        given.undo()


def network_in(value: Any) -> Given:
    """Return the network that a user's object is, wraps, or returns when it is called.

    Raises:
        ParityError: If it cannot be called, or what is found cannot be run layer by layer.
    """
    told = list[str]()
    if isinstance(value, type) or (callable(value) and not _is_network(value) and _inner(value) is None):
        try:
            made, asked = called(value, (), {})
            value, told = made, notes(value, asked)
        except ParityError:
            raise
        except Exception as error:
            name = getattr(value, "__name__", type(value).__name__)
            raise ParityError(
                f"{name}: called for a network, without arguments: {type(error).__name__}: {said(error)}{place(error)}"
            ) from error
    network, wrappers = _unwrapped(value)
    _refuse(network, type(network).__name__)
    if not _is_network(network):
        return Given(network, tuple(wrappers), lambda: None, tuple(told))
    replaced = list[tuple[dict[str, Any], str, Any]]()

    def undo() -> None:
        for store, key, layer in reversed(replaced):
            store[key] = layer

    try:
        for path, store, key in _places(network):
            _refuse(store[key], path)
            layer, names = _unwrapped(store[key])
            if names:
                replaced.append((store, key, store[key]))
                store[key] = layer
                wrappers += [f"{name} ({path})" for name in names]
        for path, layer in _layers(network):
            wrappers += [f"{name} ({path})" if path else name for name in _converted(layer)]
    except ParityError:
        undo()
        raise
    return Given(network, tuple(wrappers), undo, tuple(told))


def _unwrapped(value: Any) -> tuple[Any, list[str]]:
    wrappers = list[str]()
    while (within := _inner(value)) is not None:
        wrappers.append(type(value).__name__)
        value = within
    return value, wrappers


def _inner(value: Any) -> Any:
    for name in _classes(value):
        if name in _WRAPPERS:
            return getattr(value, _WRAPPERS[name], None)
    return None


def _classes(value: Any) -> list[str]:
    return [f"{cls.__module__}.{cls.__qualname__}" for cls in type(value).__mro__]


def _refuse(layer: Any, path: str) -> None:
    for name in _classes(layer):
        if name in _WHOLE:
            raise ParityError(f"{path}: {name.rpartition('.')[2]} {_WHOLE[name]}")


def _is_network(value: Any) -> bool:
    return hasattr(value, "forward")


def _children(layer: Any) -> dict[str, Any]:
    """Return the dictionary in which a layer of either framework keeps its layers."""
    return layer.__dict__.get("_modules") or layer.__dict__.get("_sub_layers") or {}


def _places(network: Any) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Yield each place in which a layer holds another one: dotted path, the dictionary, the key; parents first."""
    waiting, seen = [("", network)], {id(network)}
    while waiting:
        path, layer = waiting.pop()
        store = _children(layer)
        for key in list(store):
            name = f"{path}.{key}" if path else key
            if store[key] is not None:
                yield name, store, key
                if id(store[key]) not in seen:  # as it is now: without its wrapper
                    seen.add(id(store[key]))
                    waiting.append((name, store[key]))


def _layers(network: Any) -> list[tuple[str, Any]]:
    """Return every layer once, with its first path; the network itself is ""."""
    paths = {id(network): ("", network)}
    for path, store, key in _places(network):
        _ = paths.setdefault(id(store[key]), (path, store[key]))
    return list(paths.values())


def _converted(layer: Any) -> list[str]:
    """Return how a layer's own code was converted, in place: a run leaves that out, see `Backend.eager`."""
    forward = inspect.getattr_static(layer, "forward", None)
    marks = {
        "to_static": hasattr(forward, "dygraph_function"),
        "torch.compile": hasattr(forward, "_torchdynamo_orig_callable"),
        "compile()": vars(layer).get("_compiled_call_impl") is not None,
    }
    return [name for name, found in marks.items() if found]


def unregistered(network: Any) -> list[str]:
    """Return the layers that a framework does not see, because they are in a plain list, tuple or dictionary.

    Their weights are not in the network's state, so nobody copies, moves or trains them.

    Returns:
        A sentence for each such attribute: "heads is a plain list of layers: use ModuleList, ..."; of a hidden
        reference to layers that are registered elsewhere, one by one or in a Sequential, nothing.
    """
    if not _is_layer(network):  # a file
        return []
    registered = {id(network)} | {id(store[key]) for _, store, key in _places(network)}
    found = list[str]()
    for path, layer in _layers(network):
        for word, value in vars(layer).items():
            hidden = [
                item
                for item in _listed(value)
                if any(id(leaf) not in registered for _, leaf in _layers(item) if not _children(leaf))
            ]
            if hidden:
                framework, containers = _SEEN["_modules" in vars(layer)]
                name = f"{path}.{word}" if path else word
                kinds = ", ".join(dict.fromkeys(type(item).__name__ for item in hidden))
                found.append(
                    f"{name} is a plain {type(value).__name__} of layers ({kinds}), which {framework} does not see: "
                    f"use nn.{containers[isinstance(value, dict)]}"
                )
    return found


def _listed(value: Any, depth: int = 3) -> Iterator[Any]:
    """Yield the layers in plain lists, tuples and dictionaries, nested up to a depth: they may hold themselves."""
    if depth and isinstance(value, (list, tuple, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            if _is_layer(item):
                yield item
            else:
                yield from _listed(item, depth - 1)


def _is_layer(value: Any) -> bool:
    return hasattr(value, "forward") and (hasattr(value, "named_modules") or hasattr(value, "named_sublayers"))


@contextlib.contextmanager
def explained(network: Any) -> Iterator[None]:
    """Add to an error what layers the framework does not see: their weights do not fit, nor change their dtype."""
    try:
        yield
    except ParityError as error:
        if not (hidden := unregistered(network)):
            raise
        joint = "\n  " if "\n" in str(error) else ". "
        raise type(error)(joint.join([str(error), *hidden])) from error.__cause__
