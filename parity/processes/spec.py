"""SPECs: the text MODULE_OR_FILE.py:callable(arguments), and the network that it names."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from parity.backends.builder import called, notes
from parity.backends.origin import Source
from parity.errors import ParityError

# The shortest start before a colon, so that arguments may have colons; a file's name may have some too.
_SPEC = re.compile(r"(?P<module>.+?):(?P<path>[^\W\d]\w*(?:\.[^\W\d]\w*)*)(?P<arguments>\(.*\))?", re.DOTALL)


@dataclass(frozen=True)
class SpecText:
    """A SPEC, taken apart.

    Attributes:
        module: A module's dotted name, or a file.
        path: Dotted path of an attribute: "build", "Net.build".
        args: Literals given by position; None where there are no brackets.
        kwargs: Literals given by name.
    """

    module: str
    path: str
    args: tuple[Any, ...] | None
    kwargs: Mapping[str, Any]

    @property
    def is_file(self) -> bool:
        """Return whether the module is given by its file."""
        return self.module.endswith(".py")


def parse_spec(text: str) -> SpecText:
    """Return the parts of MODULE_OR_FILE.py:callable or MODULE_OR_FILE.py:callable(literals). Nothing is run.

    Raises:
        ParityError: If it is not of this form, or an argument is no literal.
    """
    match = _SPEC.fullmatch(text)
    if match is None:
        raise ParityError(f"{text}: not MODULE_OR_FILE.py:callable, nor MODULE_OR_FILE.py:callable(name=literal, ...)")
    arguments = match["arguments"]
    if arguments is None:
        return SpecText(match["module"], match["path"], None, {})
    try:
        call = ast.parse(f"f{arguments}", mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ParityError(f"{text}: the arguments are not Python: {getattr(error, 'msg', error)}") from error
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
        raise ParityError(f"{text}: one call, with its arguments in brackets")
    args = tuple(_literal(text, node) for node in call.args)
    kwargs = dict[str, Any]()
    for word in call.keywords:
        if word.arg is None or word.arg in kwargs:
            raise ParityError(f"{text}: name each argument, once: {call.func.id}(name=literal)")
        kwargs[word.arg] = _literal(text, word.value)
    return SpecText(match["module"], match["path"], args, kwargs)


def _literal(text: str, node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError) as error:
        raise ParityError(
            f"{text}: {ast.unparse(node)} is no literal: numbers, text, True, None, lists and dicts of them are; "
            "nothing else is run. Write a callable without arguments in a file of your own"
        ) from error


class Built(NamedTuple):
    """What a SPEC names.

    Attributes:
        network: It, or what it returns.
        notes: On how it was called.
        source: How it is built anew.
    """

    network: Any
    notes: list[str]
    source: Source


def built(text: str) -> Built:
    """Return what a SPEC names, called if it is no network yet.

    Raises:
        ParityError: If it is no SPEC, or the callable does not take its arguments.
        Exception: Whatever the user's own code raises.
    """
    spec = parse_spec(text)
    module, source = _module(spec)
    found = reduce(getattr, spec.path.split("."), module)
    if hasattr(found, "forward") and not isinstance(found, type):
        if spec.args is not None:
            raise ParityError(f"{spec.path} is a network already, and takes no arguments here")
        return Built(found, [], source)
    if not callable(found):
        raise ParityError(f"{spec.path} is an object of type {type(found).__name__}, which is not a network")
    network, asked = called(found, spec.args or (), spec.kwargs)
    words = [*map(repr, spec.args or ()), *(f"{word}={value!r}" for word, value in {**spec.kwargs, **asked}.items())]
    return Built(network, notes(found, asked), replace(source, code=f"{spec.path}({', '.join(words)})"))


def _module(spec: SpecText) -> tuple[ModuleType, Source]:
    """Import a SPEC's module; return it, and how to import it again, with the path of the SPEC as code."""
    if not spec.is_file:
        sys.path.insert(0, str(Path.cwd()))
        loaded = importlib.import_module(spec.module)
        file = str(getattr(loaded, "__file__", None) or "")
        installed = any(part in file for part in ("/site-packages/", "/dist-packages/"))
        return loaded, Source(spec.module, "" if installed else str(Path.cwd()), spec.path)
    path = Path(spec.module).resolve()
    sys.path.insert(0, str(path.parent))  # as for a script: files beside it can be imported
    sys.path.append(str(Path.cwd()))  # and, what is found nowhere else, from where the program was started
    if levels := _levels(path):
        return _in_package(path, levels, spec.path)
    location = importlib.util.spec_from_file_location(path.stem, spec.module)
    assert location is not None
    assert location.loader is not None
    loaded = importlib.util.module_from_spec(location)
    _ = sys.modules.setdefault(location.name, loaded)
    location.loader.exec_module(loaded)
    return loaded, Source(path.stem, str(path.parent), spec.path)


def _levels(path: Path) -> int:
    """Return how many folders up a file's own relative imports go, `from . import x` one; 0 where it has none."""
    try:
        nodes = ast.walk(ast.parse(path.read_bytes()))
    except (OSError, SyntaxError, ValueError, RecursionError):
        return 0  # its import says what is wrong
    return max((node.level for node in nodes if isinstance(node, ast.ImportFrom)), default=0)


def _in_package(path: Path, levels: int, code: str) -> tuple[ModuleType, Source]:
    """Import a file with relative imports as a part of its package, whose folders are found by their __init__.py."""
    parts, top = [path.stem], path.parent
    while levels or (top / "__init__.py").exists():
        parts.insert(0, top.name)
        top, levels = top.parent, max(0, levels - 1)
    sys.path.insert(0, str(top))
    name = ".".join(parts)
    loaded = importlib.import_module(name)
    if Path(loaded.__file__ or "").resolve() != path:
        raise ParityError(f"{path}: this process has another module called {name}; give the two in two processes")
    return loaded, Source(name, str(top), code)
