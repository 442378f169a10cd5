"""What training needs of Paddle: gradients, and its random numbers."""

# pyright: reportPrivateImportUsage=false, reportAttributeAccessIssue=false
# (Paddle exports most of its names dynamically.)

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import paddle

from parity.numerics.arrays import Array


def autograd(on: bool) -> AbstractContextManager[Any]:
    """Record operations for `gradients`, or do not."""
    return paddle.set_grad_enabled(on)


def leaf(tensor: Any) -> Any:
    """Return the tensor, of which gradients can be asked for from now on."""
    tensor.stop_gradient = False
    return tensor


def is_tracked(tensor: Any) -> bool:
    """Return whether a gradient can reach what a tensor was computed from."""
    return not tensor.stop_gradient


def like(array: Array, tensor: Any) -> Any:
    """Return the array as a tensor of another's dtype and device."""
    return paddle.to_tensor(array, place=tensor.place).astype(tensor.dtype)


def gradients(outputs: list[Any], cotangents: list[Array], inputs: list[Any]) -> list[Any]:
    """Return the gradients of sum(output * cotangent) for each of the inputs, None where one has none."""
    pairs = [(o, like(c, o)) for o, c in zip(outputs, cotangents, strict=True) if not o.stop_gradient]
    tracked = [i for i, tensor in enumerate(inputs) if not tensor.stop_gradient]
    result: list[Any] = [None] * len(inputs)
    if pairs and tracked:
        operands = [inputs[i] for i in tracked]
        grads = paddle.grad([o for o, _ in pairs], operands, [c for _, c in pairs], allow_unused=True)
        for i, gradient in zip(tracked, grads, strict=True):
            result[i] = gradient
    return result


@contextlib.contextmanager
def random_numbers() -> Iterator[list[bool]]:
    """Put back the state of Paddle's random numbers at the end; the list is then not empty if any were drawn."""
    drawn, state = list[bool](), paddle.get_rng_state()
    try:
        yield drawn
    finally:
        after = paddle.rand([8], "float32").numpy()  # a state itself shows nothing
        paddle.set_rng_state(state)
        before = paddle.rand([8], "float32").numpy()
        paddle.set_rng_state(state)
        drawn += [True] if (before != after).any() else []
