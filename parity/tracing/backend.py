"""The interface of every backend: the functions that a framework's module offers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from parity.numerics.arrays import Array
from parity.weights.state import Slot, State


class Backend(Protocol):
    """One framework's backend, a module: the only code that imports it. All have the same functions."""

    NAME: str

    def place(self, network: Any, device: str) -> Any: ...  # noqa: D102
    def build(self, name: str, **options: Any) -> Any: ...  # noqa: D102
    def hollow(self, network: Any) -> Any: ...  # noqa: D102
    def use(self, device: str, threads: int) -> str: ...  # noqa: D102
    def layers(self, network: Any) -> Iterable[tuple[str, Any]]: ...  # noqa: D102
    def describe(self, layer: Any) -> tuple[str, dict[str, Any]]: ...  # noqa: D102
    def functions(self, network: Any, watch: Callable[..., Any]) -> AbstractContextManager[Any]: ...  # noqa: D102
    def describe_function(  # noqa: D102
        self, name: str, function: Any, args: Sequence[Any], kwargs: Mapping[str, Any], shape: Sequence[int]
    ) -> tuple[str, Mapping[str, Any]]: ...
    def slots(self, network: Any) -> dict[str, Slot]: ...  # noqa: D102
    def get_state(self, network: Any) -> State: ...  # noqa: D102
    def set_state(self, network: Any, state: State, name: str) -> list[str]: ...  # noqa: D102
    def is_tensor(self, value: Any) -> bool: ...  # noqa: D102
    def is_plain(self, tensor: Any) -> bool: ...  # noqa: D102
    def to_numpy(self, tensor: Any) -> Array: ...  # noqa: D102
    def version(self, tensor: Any) -> int: ...  # noqa: D102
    def to_tensor(self, array: Array, network: Any) -> Any: ...  # noqa: D102
    def double(self, network: Any) -> AbstractContextManager[list[str]]: ...  # noqa: D102
    def native(self, network: Any) -> AbstractContextManager[list[str]]: ...  # noqa: D102
    def hollow_run(self, network: Any) -> AbstractContextManager[Any] | None: ...  # noqa: D102
    def eager(self) -> AbstractContextManager[None]: ...  # noqa: D102
    def autograd(self, on: bool) -> AbstractContextManager[Any]: ...  # noqa: D102
    def neutral(self, layer: Any, role: str, array: Array) -> Array: ...  # noqa: D102
    def parameters(self, layer: Any) -> dict[str, Any]: ...  # noqa: D102
    def frozen(self, layer: Any) -> list[str]: ...  # noqa: D102
    def leaf(self, tensor: Any) -> Any: ...  # noqa: D102
    def is_tracked(self, tensor: Any) -> bool: ...  # noqa: D102
    def like(self, array: Array, tensor: Any) -> Any: ...  # noqa: D102
    def statistics(self, layer: Any) -> dict[str, Any]: ...  # noqa: D102
    def random_numbers(self) -> AbstractContextManager[list[bool]]: ...  # noqa: D102
    def gradients(self, outputs: list[Any], cotangents: list[Array], inputs: list[Any]) -> list[Any]: ...  # noqa: D102
    def manifest(self, network: Any) -> dict[str, Any]: ...  # noqa: D102
    def export(  # noqa: D102
        self, network: Any, example: Array, path: Path, opset: int, dynamic_size: bool
    ) -> dict[str, str]: ...


# Called with the precision of the run, the layers done, and the layers there are.
OnProgress = Callable[[str, int, int], None]
