"""A twin's slots, found without its framework: its file is run with stand-ins that note the shapes of their weights.

Importing torch costs seconds and more memory than most weight files have. To convert weight files it is enough to know
names, shapes and kinds. A test compares these slots with what torch itself builds, for every network of the zoo.
"""

from __future__ import annotations

import builtins
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from parity.errors import ParityError
from parity.weights.state import Slot
from parity.zoo import NETWORKS, near


class _Layer:
    """Stands in for torch.nn.Module, and by its subclasses for every layer without weights."""

    def __init__(self, *_: Any, **__: Any):
        self.shapes: dict[str, tuple[int, ...]] = {}

    def children(self) -> list[_Layer]:
        return [value for value in vars(self).values() if isinstance(value, _Layer)]

    def apply(self, _: Any) -> None:
        """Do nothing: there are no weights to initialise."""

    def slots(self, path: str = "") -> Iterator[tuple[str, Slot]]:
        for role, shape in self.shapes.items():
            yield path + role, Slot(shape, type(self).__name__.lstrip("_"), role)
        for name, value in vars(self).items():
            if isinstance(value, _Layer):
                yield from value.slots(f"{path}{name}.")


class _Sequential(_Layer):
    def __init__(self, *layers: _Layer):
        super().__init__()
        for i, layer in enumerate(layers):
            setattr(self, str(i), layer)

    def __iter__(self) -> Iterator[_Layer]:
        return iter(self.children())


class _Conv2d(_Layer):
    def __init__(self, inputs: int, outputs: int, kernel: int, *_: Any, groups: int = 1, bias: bool = True, **__: Any):
        super().__init__()
        self.shapes = {"weight": (outputs, inputs // groups, kernel, kernel), **({"bias": (outputs,)} if bias else {})}


class _Linear(_Layer):
    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.shapes = {"weight": (outputs, inputs), "bias": (outputs,)}


class _BatchNorm2d(_Layer):
    def __init__(self, channels: int, **_: Any):
        super().__init__()
        self.shapes = dict.fromkeys(("weight", "bias", "running_mean", "running_var"), (channels,))


class _Framework:
    """Stands in for `torch` and all its modules; a layer it does not know has no weights."""

    Module, Sequential = _Layer, _Sequential
    Conv2d, Linear = _Conv2d, _Linear
    BatchNorm2d = _BatchNorm2d

    def __getattr__(self, name: str) -> Any:
        return type(name, (_Layer,), {}) if name[0].isupper() else self


_FRAMEWORK = _Framework()


def _import(name: str, *context: Any) -> Any:
    return _FRAMEWORK if name.partition(".")[0] == "torch" else builtins.__import__(name, *context)


def slots(name: str, num_classes: int | None = None) -> dict[str, Slot]:
    """Return a twin's slots by neutral name, in order: what `slots` of either backend returns.

    Args:
        name: A zoo name.
        num_classes: None for the published number.

    Raises:
        ParityError: For an unknown name, listing near matches.
    """
    if name not in NETWORKS:
        raise ParityError(f"unknown network {name!r}; {near(name)}")
    source = Path(__file__).resolve().parent.parent.parent / "torch_cnn" / f"{NETWORKS[name].family}.py"
    # Only this file's own imports get the stand-ins; other loaded modules stay as they are.
    namespace: dict[str, Any] = {"__name__": source.stem, "__builtins__": {**vars(builtins), "__import__": _import}}
    exec(compile(source.read_bytes(), source, "exec"), namespace)  # noqa: S102  (our own file)
    network = namespace[name](**({} if num_classes is None else {"num_classes": num_classes}))
    return dict(network.slots())
