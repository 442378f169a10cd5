"""The fixture `assert_parity` for other projects' tests. Pytest loads this file at its start: it loads nothing more."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from parity.judging.comparison import Comparison


@pytest.fixture
def assert_parity() -> Callable[..., Comparison]:
    """Return a function `assert_parity(reference, candidate, inputs, **options)` that compares as `parity.compare`.

    It fails the test with the comparison's text, the verdict first; it skips the test where a framework that a SPEC or
    a callable needs is not installed; it returns the comparison otherwise. A network may also be a SPEC or a zoo name
    with its framework, "torch:my_model.py:build", "paddle:resnet50", built in this process.
    """
    return _assert_parity


def _assert_parity(reference: Any, candidate: Any, inputs: Any, **options: Any) -> Comparison:
    __tracebackhide__ = True
    import parity
    from parity.processes.session import live

    try:
        first, second = (live(each) if isinstance(each, str) else each for each in (reference, candidate))
        result = parity.compare(first, second, inputs, **options)
    except (ImportError, parity.ParityError) as error:
        if absent := _absent(error):
            pytest.skip(f"{absent} is not installed")
        if not isinstance(error, parity.ParityError):
            raise
        message = str(error)
    else:
        if result.ok:
            return result
        message = str(result)
    raise AssertionError(message)


def _absent(error: BaseException | None) -> str:
    """Return the framework whose absence caused an error, or caused what caused it; else ""."""
    while error is not None:
        name = (error.name or "") if isinstance(error, ModuleNotFoundError) else ""
        if name.partition(".")[0] in ("torch", "torchvision", "paddle"):
            return name.partition(".")[0]
        error = error.__cause__
    return ""
