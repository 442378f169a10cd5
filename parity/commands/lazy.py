"""A group of verbs; each is imported when it is called, not when it is listed."""

from __future__ import annotations

import importlib
from typing import Any, ClassVar, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command


class Verb(NamedTuple):
    """A verb in a list of verbs.

    Attributes:
        where: Module and name of its function, or of its own group: "parity.commands.lint:lint".
        help: Its line in the list; the docstring of its function starts with the same words.
    """

    where: str
    help: str

    def command(self, name: str) -> Any:
        """Return the command of this name, its module imported."""
        module, _, attribute = self.where.partition(":")
        target = getattr(importlib.import_module(module), attribute)
        if isinstance(target, typer.Typer):
            return get_command(target)
        single = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
        _ = single.command(name)(target)
        return get_command(single)


class Group(TyperGroup):
    """Lists its `verbs` without importing them."""

    verbs: ClassVar[dict[str, Verb]] = {}

    def __init__(self, **settings: Any):
        super().__init__(**settings)
        for name, verb in self.verbs.items():
            self.add_command(TyperCommand(name, help=verb.help))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the name of the called verb, the verb itself and the remaining arguments."""
        name, listed, rest = super().resolve_command(ctx, args)
        return name, self.verbs[name].command(name) if name and listed else None, rest
