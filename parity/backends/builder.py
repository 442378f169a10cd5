"""Call what makes a network: without pretrained weights, or with an error that names the missing arguments."""

from __future__ import annotations

import contextlib
import enum
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from parity.errors import ParityError

# What builders call the choice of trained weights, which they would download, and what chooses none.
_UNTRAINED: dict[str, Any] = {
    "pretrained": False,
    "pretrained_backbone": False,
    "weights": None,
    "weights_backbone": None,
}


def called(builder: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return what a callable returns, and the arguments it was given in place of trained weights that it asks for.

    Args:
        builder: A function or a class. Its parameters `pretrained`, `weights` and the like are given as False or None
            if they are required, or choose trained weights by default.
        args: The user's own arguments.
        kwargs: Likewise, by name; they are never replaced.

    Raises:
        ParityError: If it needs other arguments, or does not take these; naming them.
    """
    name = _name(builder)
    try:
        signature = inspect.signature(builder)
    except (TypeError, ValueError):  # written in C
        return _made(builder, args, kwargs), {}
    try:
        given = signature.bind_partial(*args, **kwargs).arguments
    except TypeError as error:
        raise ParityError(f"{name}: {error}; it takes {_listed(signature)}") from error
    asked = {
        word: _UNTRAINED[word]
        for word, parameter in signature.parameters.items()
        if word in _UNTRAINED and word not in given and _is_trained(parameter)
    }
    missing = [
        parameter.name
        for parameter in signature.parameters.values()
        if _is_required(parameter) and parameter.name not in {*given, *asked}
    ]
    if missing:
        words = ", ".join(f"{word}=..." for word in missing)
        raise ParityError(
            f"{name}: needs {', '.join(missing)}; "
            f"give a callable without arguments, or literals in a SPEC: {name}({words})"
        )
    positional = [word for word in asked if signature.parameters[word].kind is inspect.Parameter.POSITIONAL_ONLY]
    if positional:
        usual = _UNTRAINED[positional[0]]
        raise ParityError(f"{name}: takes {positional[0]} by position only; give it: {name}({usual})")
    return _made(builder, args, {**kwargs, **asked}), asked


def _made(builder: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Return what a callable returns, in a space of names of its own.

    Paddle refuses a second parameter of the name that a `ParamAttr(name=...)` gives, but a network is built several
    times: its slots are asked, it is sketched, it runs.
    """
    paddle = sys.modules.get("paddle")
    with paddle.utils.unique_name.guard() if paddle is not None else contextlib.nullcontext():
        return builder(*args, **kwargs)


def notes(builder: Callable[..., Any], asked: Mapping[str, Any]) -> list[str]:
    """Return the note on a callable that was given arguments by `called`; none if it was given none."""
    words = ", ".join(f"{word}={value}" for word, value in asked.items())
    return [f"{_name(builder)} was called with {words}"] if words else []


def _name(builder: Callable[..., Any]) -> str:
    return getattr(builder, "__name__", type(builder).__name__)


def _is_required(parameter: inspect.Parameter) -> bool:
    variadic = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD
    return parameter.default is inspect.Parameter.empty and parameter.kind not in variadic


def _is_trained(parameter: inspect.Parameter) -> bool:
    """Return whether a parameter has to be given, or chooses trained weights by default: a flag, a name, an address.

    A default of another type is something else of this name, as the weights of a loss.
    """
    return _is_required(parameter) or parameter.default is True or isinstance(parameter.default, (str, enum.Enum))


def _listed(signature: inspect.Signature) -> str:
    """Return a signature without its annotations."""
    empty = inspect.Parameter.empty
    plain = [each.replace(annotation=empty) for each in signature.parameters.values()]
    return str(signature.replace(parameters=plain, return_annotation=empty))
