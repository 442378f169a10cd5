"""`parity bench`: its verbs."""

from __future__ import annotations

from typing import Any, ClassVar

import typer

from parity.commands.lazy import Group, Verb


class _Verbs(Group):
    """Takes `bench resnet50` for `bench latency resnet50`: what is no verb of bench is a model."""

    verbs: ClassVar = {
        "latency": Verb("parity.commands.bench.latency:latency", "Time a network in every way to run it on the CPU."),
        "forward": Verb("parity.commands.bench.forward:forward", "Hold each twin's forward against torchvision's."),
        "verify": Verb("parity.commands.bench.verify:verify", "Hold `parity compare` against the bare floor."),
        "export": Verb("parity.commands.bench.export:export", "Hold `parity export` against the exporters alone."),
        "transfer": Verb("parity.commands.bench.transfer:transfer", "Hold `parity transfer` against `cp`."),
        "memory": Verb(
            "parity.commands.bench.memory:memory", "Hold a training step that saves memory against one without."
        ),
    }

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        verb = [] if args[0] in self.commands or args[0].startswith("-") else ["latency"]
        return super().resolve_command(ctx, [*verb, *args])


bench = typer.Typer(
    cls=_Verbs,
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Measure, as ratios in one run; latency unless told what.",
)


@bench.callback()
def _bench() -> None:
    pass
