"""What training needs of torch: gradients, and its random numbers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import torch

from parity.numerics.arrays import Array


def autograd(on: bool) -> AbstractContextManager[Any]:
    """Record operations for `gradients`, or do not."""
    return torch.set_grad_enabled(on)


def leaf(tensor: torch.Tensor) -> torch.Tensor:
    """Return the tensor, of which gradients can be asked for from now on."""
    return tensor.requires_grad_()


def is_tracked(tensor: torch.Tensor) -> bool:
    """Return whether a gradient can reach what a tensor was computed from."""
    return tensor.requires_grad


def like(array: Array, tensor: torch.Tensor) -> torch.Tensor:
    """Return the array as a tensor of another's dtype and device."""
    return torch.from_numpy(array).to(tensor)


def gradients(outputs: list[Any], cotangents: list[Array], inputs: list[Any]) -> list[Any]:
    """Return the gradients of sum(output * cotangent) for each of the inputs, None where one has none."""
    pairs = [(o, like(c, o)) for o, c in zip(outputs, cotangents, strict=True) if o.requires_grad]
    tracked = [i for i, tensor in enumerate(inputs) if tensor.requires_grad]
    result: list[Any] = [None] * len(inputs)
    if pairs and tracked:
        grads = torch.autograd.grad(
            [o for o, _ in pairs], [inputs[i] for i in tracked], [c for _, c in pairs], allow_unused=True
        )
        for i, gradient in zip(tracked, grads, strict=True):
            result[i] = gradient
    return result


@contextlib.contextmanager
def random_numbers() -> Iterator[list[bool]]:
    """Put back the state of torch's random numbers at the end; the list is then not empty if any were drawn."""
    drawn, cuda = list[bool](), torch.cuda.is_available() and torch.cuda.is_initialized()
    states = [torch.get_rng_state(), *(torch.cuda.get_rng_state_all() if cuda else [])]
    try:
        yield drawn
    finally:
        now = [torch.get_rng_state(), *(torch.cuda.get_rng_state_all() if cuda else [])]
        drawn += [True for before, after in zip(states, now, strict=True) if not torch.equal(before, after)]
        torch.set_rng_state(states[0])
        if cuda:
            torch.cuda.set_rng_state_all(states[1:])
