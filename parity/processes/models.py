"""The models that can be run: a twin, a user's callable, an ONNX file, or a recorded trace."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from parity.errors import ParityError
from parity.processes.spec import parse_spec
from parity.zoo import NETWORKS, near

FRAMEWORKS = ("torch", "paddle")
_BUILDS = ("build", "build_model", "create", "create_model", "get_model", "main", "make", "make_model")


@dataclass(frozen=True)
class Model:
    """A model: a twin, a user's callable, an ONNX file, or a recorded trace.

    Attributes:
        backend: "torch", "paddle", "onnx", or "trace".
        target: A zoo name, MODULE_OR_FILE.py:callable(literals), or the path of the ONNX file or the trace.
    """

    backend: str
    target: str

    @property
    def name(self) -> str:
        """Return what to call it: a callable by its own name, or by its file's where it only says that it builds."""
        if self.backend not in FRAMEWORKS:
            return Path(self.target).name
        if self.twin:
            return self.target
        spec = parse_spec(self.target)
        owner, _, name = spec.path.rpartition(".")
        module = Path(spec.module).stem if spec.is_file else spec.module
        return (owner or module).rpartition(".")[2] if name in _BUILDS else name

    @property
    def twin(self) -> bool:
        """Return whether it is one of the zoo's networks."""
        return self.backend in FRAMEWORKS and ":" not in self.target


def parse_model(text: str) -> Model:
    """Return the model that `backend:target` names.

    Raises:
        ParityError: If the backend or the zoo name is unknown, with near matches, or the trace does not exist.
    """
    backend, _, target = text.partition(":")
    if backend in ("trace", "onnx"):
        if not Path(target).is_file():
            raise ParityError(f"{text}: no such file")
        return Model(backend, target)
    if backend not in FRAMEWORKS or not target:
        meant = f"did you mean torch:{text} or paddle:{text}? " if re.fullmatch(r"[\w./\\-]+:\w+", text) else ""
        raise ParityError(
            f"unknown model {text!r}; {meant}A model is a zoo name, torch:..., paddle:..., onnx:FILE or trace:FILE"
        )
    if ":" not in target and target not in NETWORKS:
        raise ParityError(unknown_network(target, backend))
    if ":" in target:
        _ = parse_spec(target)
    return Model(backend, target)


def settled_weights(weights: str, models: Sequence[Model]) -> str:
    """Return what "auto" stands for: own weights for a callable that is exported or compared with a file; else random.

    Two networks that run need weights in common, and so does one that is compared with a trace of such a run.
    """
    if weights != "auto":
        return weights
    networks = [model for model in models if model.backend != "onnx"]
    return "own" if len(networks) == 1 and networks[0].backend in FRAMEWORKS and not networks[0].twin else "random"


def parse_pair(model: str, candidate: str | None) -> tuple[str, tuple[Model, Model]]:
    """Return the comparison's name and its two models: a zoo name stands for torch's twin, then Paddle's.

    Raises:
        ParityError: If either is unknown, the second is missing, or there is one too many.
    """
    if ":" not in model:
        if model not in NETWORKS:
            raise ParityError(unknown_network(model))
        if candidate is not None:
            raise ParityError(f"{model} names both twins already; to name each, write torch:{model} {candidate}")
        return model, (Model("torch", model), Model("paddle", model))
    first = parse_model(model)
    if candidate is None:
        raise ParityError(
            f"{model}: compare it with what? Add a second model: paddle:..., torch:..., onnx:FILE or trace:FILE"
        )
    second = parse_model(candidate)
    return next((each for each in (first, second) if each.backend in FRAMEWORKS), first).name, (first, second)


def parse_export(model: str, only: str | None) -> tuple[str, tuple[Model, ...]]:
    """Return the export's name and its models: a zoo name stands for both twins, or for the twin of framework `only`.

    Raises:
        ParityError: If it is unknown, or its framework is not `only`.
    """
    if ":" not in model:
        name, pair = parse_pair(model, None)
        return name, tuple(each for each in pair if only in (None, each.backend))
    network = parse_model(model)
    if network.backend not in FRAMEWORKS or only not in (None, network.backend):
        raise ParityError(f"{model}: only a network of {only or 'torch or paddle'} can be exported")
    return network.target.rpartition(":")[2], (network,)  # files are called after the callable


def file_stem(name: str) -> str:
    """Return the name of an export that a user gives.

    Raises:
        ParityError: If no file can be called so, or it names a folder.
    """
    if not name or name.startswith((".", "-")) or Path(name).name != name:
        raise ParityError(f"--name {name}: the start of a file's name, without a folder")
    return name


def parse_single(text: str) -> Model:
    """Return the network of this name; a zoo name stands for torch's twin.

    Raises:
        ParityError: If it is unknown, or a trace or an ONNX file.
    """
    if ":" not in text:
        if text not in NETWORKS:
            raise ParityError(unknown_network(text))
        return Model("torch", text)
    model = parse_model(text)
    if model.backend not in FRAMEWORKS:
        reason = "a trace holds no network" if model.backend == "trace" else "an ONNX file has no layers to call"
        raise ParityError(f"{text}: {reason}; give a zoo name, torch:... or paddle:...")
    return model


def unknown_network(name: str, backend: str = "") -> str:
    """Return the error message for an unknown zoo name, with near matches; `backend` is the framework it was asked of.

    A dotted name or a file is a callable that lacks its colon.
    """
    module, dot, last = name.rpartition(".")
    if dot and re.fullmatch(r"[\w./\\-]+", name):
        prefix = backend or ("paddle" if name.startswith("paddle") else "torch")
        meant = f"{name}:build" if last == "py" else f"{module}:{last}"
        return f"unknown network {name!r}; did you mean {prefix}:{meant}? A callable is MODULE_OR_FILE.py:callable."
    others = "torch:FILE.py:callable, paddle:FILE.py:callable, onnx:FILE, trace:FILE"
    return f"unknown network {name!r}; {near(name)} Or give {others}."
