"""Known traps: settings of a network's layers that mean something else in the other framework, or in ONNX.

It works on neutral kinds and settings from any backend; it runs nothing and knows no framework. The traps are in two
tables: parity/analysis/traps.py, parity/analysis/exporter_faults.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from parity.analysis.conditions import Config
from parity.analysis.export_cases import Case
from parity.analysis.exporter_faults import Fault, met
from parity.analysis.traps import TRAPS

Layer = tuple[str, str, Config]  # dotted name, neutral kind, settings

_HANDLED = {
    "fixed": "`parity export` fixes this; elsewhere {remedy}",
    "refused": "`parity export` refuses it; {remedy}",
    "noted": "`parity export` writes it with a note; {remedy}",
}


@dataclass(frozen=True)
class Finding:
    """One trap in one layer.

    Attributes:
        layer: Dotted name; "" for the network itself.
        kind: Neutral kind of the layer.
        trap: The setting that is the trap, as text.
        reason: What the frameworks or exporters do with it.
        remedy: What to do instead.
        link: Where it is explained and measured.
        level: "warning"; or "note" for a fault of an exporter that is called without `parity export`, which fixes or
            notes it, or refuses it where more than the layer's settings decides.
    """

    layer: str
    kind: str
    trap: str
    reason: str
    remedy: str
    link: str
    level: Literal["warning", "note"] = "warning"

    def __str__(self) -> str:
        mark = "note: " if self.level == "note" else ""
        setting = f"{self.trap}: " if self.trap else ""
        return f"{mark}{self.layer or '(network)'}: {self.kind}: {setting}{self.reason}; {self.remedy} [{self.link}]"


def lint(layers: Iterable[Layer]) -> list[Finding]:
    """Return the traps of a network's layers, in the layers' order."""
    return [finding for layer in layers for finding in (*_traps(*layer), *_exporter_faults(*layer))]


def _traps(layer: str, kind: str, config: Config) -> Iterator[Finding]:
    for trap in TRAPS:
        if kind in trap.kinds and (setting := trap.when(config)) is not None:
            yield Finding(layer, kind, setting, trap.reason, trap.remedy, f"docs/differences.md#{trap.row}")


def _exporter_faults(layer: str, kind: str, config: Config) -> Iterator[Finding]:
    for fault, setting in met(Case(kind, config)):
        reason = f"{fault.who} {fault.effect}"
        remedy = _HANDLED[fault.handling].format(remedy=fault.remedy)
        yield Finding(layer, kind, setting, reason, remedy, f"docs/onnx.md#{fault.name}", _level(fault))


def _level(fault: Fault) -> Literal["warning", "note"]:
    return "warning" if fault.handling == "refused" and not fault.depends else "note"
