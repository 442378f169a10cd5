"""A layer or a function of a trace as source code of its framework."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from parity.functions import FUNCTIONS, function_of
from parity.layers import KINDS, PADDLE_WORDS, Config, known

# Settings that a constructor of the framework does not take.
_NOT_TAKEN = {
    "torch": {"use_global_stats", "align_mode", "slope", "offset"},
    "paddle": {"track_running_stats", "affine"},
}
_ALSO = ("mode", "axis")  # of Paddle's Dropout, which only has them where they are not the default
_INTERPOLATES = ("linear", "bilinear", "bicubic", "trilinear")
_OPERATORS = {"add": "+", "sub": "-", "mul": "*", "div": "/", "pow": "**"}
_REFLECTED = {"rsub": "-", "rdiv": "/"}
_LISTS = {"cat": {"torch": "torch.cat", "paddle": "paddle.concat"}, "stack": dict.fromkeys(("torch", "paddle"), "")}
# Functions that are no part of torch.nn.functional, nor of paddle.nn.functional; Paddle's name where it is another.
_TOP = {"flatten": "", "mean": "", "sum": "", "amax": "", "amin": "", "maximum": "", "minimum": "", "clamp": "clip"}
_PADDLE_NAMES = {"logsigmoid": "log_sigmoid", "hardtanh": "hardtanh"}
# They take weights or targets, which a trace does not hold as such, or settings that it does not hold.
_INCOMPLETE = ("matmul", "prelu", "channel_shuffle", "mse_loss", "l1_loss", "smooth_l1_loss")


def layer_code(framework: str, name: str, kind: str, config: Config, weights: Iterable[str], sizes: int) -> str:
    """Return the expression that builds a layer of a framework's own class; "" for a kind that is not known.

    Args:
        framework: "torch" or "paddle".
        name: Of the class.
        kind: Neutral kind.
        config: Neutral configuration.
        weights: Names of its weights.
        sizes: Elements of its weight, for a PReLU.
    """
    if kind not in KINDS:
        return ""
    words = {word: config[word] for word in (*known(kind).settings, *_ALSO) if word in config}
    words = {word: value for word, value in words.items() if word not in _NOT_TAKEN[framework]}
    roles, paddle = set(weights), framework == "paddle"
    if kind.startswith(("Conv", "Linear")) and "bias" not in roles:
        words["bias_attr" if paddle else "bias"] = False
    elif "Norm" in kind and kind != "LocalResponseNorm":
        words |= _affine(kind, words, roles, paddle)
    elif kind == "PReLU":
        words["num_parameters"] = sizes
    elif kind == "CrossEntropyLoss" and not paddle:
        _ = words.pop("dim", None)
    if kind.startswith("Upsampling"):
        words = {word: words[word] for word in ("size", "scale_factor") if word in words}
    words = _paddle_words(kind, words, config) if paddle else _torch_words(words)
    return f"{framework}.nn.{name}({_written(words)})"


def _affine(kind: str, words: dict[str, Any], roles: set[str], paddle: bool) -> dict[str, Any]:
    """Return the arguments that say which weights a normalisation has; Paddle calls an InstanceNorm's `scale`."""
    if paddle:
        given = {"weight_attr": bool({"weight", "scale"} & roles), "bias_attr": "bias" in roles}
        return {word: False for word, has in given.items() if not has}
    if kind in ("LayerNorm", "RMSNorm"):
        return {} if "weight" in roles else {"elementwise_affine": False}
    return {} if "weight" in roles else {"affine": False}


def _torch_words(words: dict[str, Any]) -> dict[str, Any]:
    if "align_corners" in words and words.get("mode") not in _INTERPOLATES:
        del words["align_corners"]
    return words


def _paddle_words(kind: str, words: dict[str, Any], config: Config) -> dict[str, Any]:
    if "momentum" in words:
        words["momentum"] = round(1 - words["momentum"], 12)  # the factor of the old statistics
        words["use_global_stats"] = config.get("use_global_stats")
    if kind == "AvgPool2d":
        words["exclusive"] = not words.pop("count_include_pad", True)
    elif kind == "MaxPool2d":
        _ = words.pop("dilation", None)
    elif kind == "GELU":
        words["approximate"] = words.get("approximate") == "tanh"
    if words.get("padding_mode", "zeros") != "zeros" and isinstance(words["padding"], list):
        words["padding"] = words["padding"][0]  # Paddle takes one number for all sides here
    if "Transpose" in kind:
        _ = words.pop("padding_mode", None)
    return {PADDLE_WORDS.get(word, word): value for word, value in words.items()}


def function_code(framework: str, call: str, config: Config, inputs: int) -> str:
    """Return the expression that calls a function of a framework on x[0], x[1], ...; "" for one that is not known.

    Args:
        framework: "torch" or "paddle".
        call: Name of the call, "layer1.0.add()".
        config: Neutral configuration.
        inputs: How many tensors it takes.
    """
    name, words = function_of(call), dict(config)
    function = FUNCTIONS.get(name)
    if function is None or function.tensors == 1 or name in _INCOMPLETE or "Loss" in function.kind:
        return ""
    if name in _OPERATORS or name in _REFLECTED:
        other = "x[1]" if inputs > 1 else literal(words.get("other"))
        scale = words.get("alpha", 1)
        other = other if scale == 1 else f"{literal(scale)} * {other}"
        return f"{other} {_REFLECTED[name]} x[0]" if name in _REFLECTED else f"x[0] {_OPERATORS[name]} {other}"
    words = _torch_words(words) if framework == "torch" else _paddle_words(function.kind, words, config)
    words = {word: value for word, value in words.items() if word not in _NOT_TAKEN[framework] or name == "hardsigmoid"}
    words = _of_torchs_function(name, words) if framework == "torch" else _padded(name, words)
    where = f"{framework}.nn.functional.{_PADDLE_NAMES.get(name, name) if framework == 'paddle' else name}"
    if name in _TOP:
        where = f"{framework}.{_TOP[name] or name if framework == 'paddle' else name}"
    given = "x" if name in _LISTS else "*x"
    if name in _LISTS:
        where = _LISTS[name][framework] or f"{framework}.{name}"
    return f"{where}({given}{', ' if words else ''}{_written(words)})"


def _of_torchs_function(name: str, words: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a function where torch names them otherwise than the layer's settings."""
    if name == "hardsigmoid":
        return {}
    if name == "clamp":
        return {word.removesuffix("_val"): value for word, value in words.items()}
    if "keepdim" in words and "dim" not in words:
        return {}
    return _padded(name, words)


def _padded(name: str, words: dict[str, Any]) -> dict[str, Any]:
    return {"pad" if name == "pad" and word == "padding" else word: value for word, value in words.items()}


def _written(words: dict[str, Any]) -> str:
    return ", ".join(f"{word}={literal(value)}" for word, value in words.items() if word.isidentifier())


def literal(value: Any) -> str:
    """Return a setting, as JSON holds it, as source code; lists become tuples."""
    if isinstance(value, (list, tuple)):
        items = ", ".join(map(literal, value))
        return f"({items},)" if len(value) == 1 else f"({items})"
    if isinstance(value, float) and not math.isfinite(value):
        return f"float({str(value)!r})"
    return repr(value)
