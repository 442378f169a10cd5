"""`parity bench`: its verbs."""

from __future__ import annotations

from typing import Any, ClassVar

import typer

from parity.commands.lazy import Group, Verb


class _Verbs(Group):
    """Reads `bench resnet50` as `bench latency resnet50`: a word that is not a verb of bench is a model."""

    verbs: ClassVar = {
        "latency": Verb("parity.commands.bench.latency:latency", "Time a network in every way to run it on the CPU."),
        "forward": Verb("parity.commands.bench.forward:forward", "Compare each twin's forward with torchvision's."),
        "verify": Verb("parity.commands.bench.verify:verify", "Compare `parity compare` with the minimal work."),
        "diagnosis": Verb(
            "parity.commands.bench.diagnosis:diagnosis", "Time pairing by structure, and finding a reason."
        ),
        "export": Verb("parity.commands.bench.export:export", "Compare `parity export` with the exporters alone."),
        "transfer": Verb("parity.commands.bench.transfer:transfer", "Compare `parity transfer` with `cp`."),
        "memory": Verb("parity.commands.bench.memory:memory", "Compare training steps with and without saving memory."),
        "verdict": Verb(
            "parity.commands.bench.verdict:verdict", "Count the planted mistakes that `parity compare` finds."
        ),
        "history": Verb("parity.commands.bench.history:history", "Append a run's ratios, and tell which became worse."),
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
    help="Measure speed and memory, as ratios in one run; latency by default.",
)


@bench.callback()
def _bench() -> None:
    pass
