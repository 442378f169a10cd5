"""What can be run: a twin, a callable of the user's, a file, or a recorded trace."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from parity.atomic import check_writable as check_writable
from parity.errors import ParityError
from parity.zoo import NETWORKS, near

FRAMEWORKS = ("torch", "paddle")


@dataclass(frozen=True)
class Model:
    """What is to be run: a twin, a callable of the user's, or a recorded trace.

    Attributes:
        side: "torch", "paddle", "onnx", or "trace".
        target: A zoo name, MODULE_OR_FILE.py:callable, or the path of the ONNX file or the trace.
    """

    backend: str
    target: str

    @property
    def twin(self) -> bool:
        """Return whether it is one of the zoo's networks."""
        return self.backend in FRAMEWORKS and ":" not in self.target


def parse_model(text: str) -> Model:
    """Return the model that `side:target` names.

    Raises:
        ParityError: If the side or the zoo name is unknown, with near matches, or the trace does not exist.
    """
    backend, _, target = text.partition(":")
    if backend in ("trace", "onnx"):
        if not Path(target).is_file():
            raise ParityError(f"{text}: no such file")
        return Model(backend, target)
    if backend not in FRAMEWORKS or not target:
        raise ParityError(
            f"unknown model {text!r}; a model is a zoo name, torch:..., paddle:..., onnx:FILE or trace:FILE"
        )
    if ":" not in target and target not in NETWORKS:
        raise ParityError(unknown_network(target))
    return Model(backend, target)


def parse_pair(model: str, candidate: str | None) -> tuple[str, tuple[Model, Model]]:
    """Return the comparison's name and its two models: a zoo name stands for torch's twin against Paddle's.

    Raises:
        ParityError: If either is unknown, or the second is missing or too many.
    """
    if ":" not in model:
        if model not in NETWORKS:
            raise ParityError(unknown_network(model))
        if candidate is not None:
            raise ParityError(f"{model} names both twins already; to choose sides write torch:{model} {candidate}")
        return model, (Model("torch", model), Model("paddle", model))
    if candidate is None:
        raise ParityError(f"{model}: against what? Name a second model: paddle:..., torch:..., onnx:FILE or trace:FILE")
    first, second = parse_model(model), parse_model(candidate)
    named = next((each.target for each in (first, second) if each.backend in FRAMEWORKS), Path(first.target).name)
    return named.rpartition(":")[2], (first, second)


def parse_export(model: str, only: str | None) -> tuple[str, tuple[Model, ...]]:
    """Return the export's name and its models: a zoo name stands for both twins, or the one of framework `only`.

    Raises:
        ParityError: If it is unknown, or of another framework than `only`.
    """
    if ":" not in model:
        name, pair = parse_pair(model, None)
        return name, tuple(each for each in pair if only in (None, each.backend))
    found = parse_model(model)
    if found.backend not in FRAMEWORKS or only not in (None, found.backend):
        raise ParityError(f"{model}: no network of {only or 'torch or paddle'}, which is what can be exported")
    return found.target.rpartition(":")[2], (found,)


def parse_single(text: str) -> Model:
    """Return the one network that is named: a zoo name stands for torch's twin.

    Raises:
        ParityError: If it is unknown, or a trace or an ONNX file.
    """
    if ":" not in text:
        if text not in NETWORKS:
            raise ParityError(unknown_network(text))
        return Model("torch", text)
    model = parse_model(text)
    if model.backend not in FRAMEWORKS:
        what = "a trace holds no network" if model.backend == "trace" else "an ONNX file has no layers to call"
        raise ParityError(f"{text}: {what}; name a zoo name, torch:... or paddle:...")
    return model


def unknown_network(name: str) -> str:
    """Return the message for a name the zoo does not have, with near matches."""
    others = "torch:FILE.py:callable, paddle:FILE.py:callable, onnx:FILE, trace:FILE"
    return f"unknown network {name!r}; {near(name)} Or give {others}."
