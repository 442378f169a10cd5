"""Paddle's functions, methods and operators during a run: each call of one goes through `watch`.

Paddle offers nothing like torch's `TorchFunctionMode`. So its functions are replaced wherever they are bound for the
length of a run: in its own modules, in the user's, in the layers, and as methods of its tensor.
"""

# pyright: reportPrivateImportUsage=false, reportAttributeAccessIssue=false
# (Paddle exports most of its names dynamically.)

from __future__ import annotations

import contextlib
import functools
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import paddle
from paddle.nn import functional

from parity.functions import FUNCTIONS, bound, configured, neutral_name
from parity.layers import PADDLE_WORDS, Config

_OPERATORS = (
    *("add", "radd", "iadd", "sub", "rsub", "isub", "mul", "rmul", "imul", "div", "rdiv", "truediv", "rtruediv"),
    *("itruediv", "pow", "rpow", "matmul", "neg", "getitem"),
)
_WORDS = {
    **{paddle_word: word for word, paddle_word in PADDLE_WORDS.items() if word != "lambd"},
    **{"pad": "padding", "label": "target", "delta": "beta", "y": "other"},
}
_SHRINKS = "softshrink", "hardshrink"


@contextlib.contextmanager
def functions(network: Any, watch: Callable[..., Any]) -> Iterator[None]:
    """Pass each call of a function to `watch(name, function, args, kwargs)` for a while, which calls it.

    Args:
        network: Its layers may hold functions as attributes.
        watch: Called in place of each function.
    """
    wrappers = {id(function): (function, _wrapper(name, function, watch)) for name, function in _functions()}
    replaced = list[tuple[Any, str, Any]]()
    try:
        for owner in [*sys.modules.values(), *network.sublayers(include_self=True)]:
            for name, value in list(getattr(owner, "__dict__", {}).items()):
                if id(value) in wrappers and value is wrappers[id(value)][0]:
                    replaced.append((owner.__dict__, name, value))
                    owner.__dict__[name] = wrappers[id(value)][1]
        for name, method in _methods():
            replaced.append((paddle.Tensor, name, method))
            setattr(paddle.Tensor, name, _wrapper(name, method, watch))
        yield
    finally:
        for owner, name, value in replaced:
            if owner is paddle.Tensor:
                setattr(owner, name, value)
            else:
                owner[name] = value


def _functions() -> Iterator[tuple[str, Any]]:
    """Yield name and object of every function that is recorded."""
    for module, names in ((functional, dir(functional)), (paddle, paddle.tensor.tensor_method_func)):
        for name in names:
            function = getattr(module, name, None)
            if callable(function) and not inspect.isclass(function) and neutral_name(name) and name[0] != "_":
                yield name, function


def _methods() -> Iterator[tuple[str, Any]]:
    """Yield name and object of every method of a tensor that is recorded."""
    methods = vars(paddle.Tensor)
    operators = [f"__{operator}__" for operator in _OPERATORS]
    for name in dict.fromkeys([*operators, *paddle.tensor.tensor_method_func]):  # it lists some twice
        if callable(methods.get(name)) and neutral_name(name):
            yield name, methods[name]


def _wrapper(name: str, function: Callable[..., Any], watch: Callable[..., Any]) -> Callable[..., Any]:
    neutral = neutral_name(name)

    @functools.wraps(function)
    def watched(*args: Any, **kwargs: Any) -> Any:
        return watch(neutral, function, args, kwargs)

    return watched


@functools.cache
def _parameters(function: Any) -> inspect.Signature | None:
    try:
        return inspect.signature(function)
    except ValueError:  # an operator, written in C++
        return None


def describe_function(
    name: str, function: Any, args: Sequence[Any], kwargs: Mapping[str, Any], shape: Sequence[int]
) -> tuple[str, Config]:
    """Return the neutral kind and configuration of a call.

    Args:
        name: Neutral name of the function.
        function: Paddle's own.
        args: Its positional arguments.
        kwargs: The others.
        shape: Of its first tensor.
    """
    if name not in FUNCTIONS:
        return name, {}
    kind, signature = FUNCTIONS[name].kind, _parameters(function)
    arguments = dict(kwargs)
    if signature is not None:
        call = signature.bind(*args, **kwargs)
        call.apply_defaults()
        arguments, args = dict(list(call.arguments.items())[1:]), ()
    if name in _SHRINKS:
        arguments["lambd"] = arguments.pop("threshold")
    arguments = bound(name, [_plain(value) for value in args], {k: _plain(v) for k, v in arguments.items()}, _WORDS)
    config = dict(configured(name, _neutral(name, arguments), shape))
    return kind, config


def _neutral(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return arguments with the values that torch would take."""
    if name == "avg_pool2d":
        arguments["count_include_pad"] = not arguments["exclusive"]
    elif name == "hardsigmoid" and arguments["slope"] == 0.1666667:  # Paddle's own spelling of its default
        arguments["slope"] = 1 / 6
    elif name == "gelu":
        arguments["approximate"] = "tanh" if arguments["approximate"] in (True, "tanh") else "none"
    elif name in ("batch_norm", "instance_norm"):
        arguments["momentum"] = round(1 - arguments["momentum"], 12)  # Paddle's is the factor of the old statistics
    if isinstance(padding := arguments.get("padding"), str):
        arguments["padding"] = padding.lower()
    return arguments


def _plain(value: Any) -> Any:
    """Return an argument without tensors: sizes as numbers, and weights as their shapes."""
    if isinstance(value, (list, tuple)):
        return [*map(_plain, value)]
    if not isinstance(value, paddle.Tensor):
        return value
    data = value.ndim > 1 or value.is_floating_point() or value.size > 16
    return tuple(value.shape) if data else value.tolist()
