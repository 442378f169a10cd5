"""An exported file: what was proved of it, and the metadata in which the file says so itself."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import onnx

from parity.deploy import precision


@dataclass(frozen=True)
class Exported:
    """One file, and what was proved of it.

    Attributes:
        side: The framework it came from.
        path: Where it is; no file is there unless `ok`.
        verdict: "exact", "rounding", or "different".
        reason: What is wrong, in words; "" for a pass.
        noise: Largest float32 error of an output in ONNX Runtime against the framework's float64, in units of roundoff.
        raw_noise: The same of the exporter's own graph.
        bound: The largest that arithmetic explains.
        distance: Of the outputs of the exporter's graph, evaluated in float64, from the framework's float64, over their
            root mean square; None where a node cannot be evaluated so.
        allowance: The largest that rounding explains.
        layers: How many of the network's layers have their output in the file, proved by its numbers.
        nodes: How many nodes the file has, and the exporter's own.
        canonical_sha256: Of the canonical form, metadata aside.
        model: The model.
        notes: What is right in the file and computed otherwise by its framework, a sentence a layer.
        lower: What its files of lower precision cost, by their paths.
    """

    backend: str
    path: Path
    verdict: str
    reason: str
    noise: float
    raw_noise: float
    bound: float
    distance: float | None
    allowance: float
    layers: tuple[int, int]
    nodes: tuple[int, int]
    canonical_sha256: str
    model: onnx.ModelProto = field(repr=False)
    notes: tuple[str, ...] = ()
    lower: dict[str, precision.Report] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Return whether the file is the network."""
        return self.verdict != "different"

    def to_dict(self) -> dict[str, Any]:
        """Return what `--json` holds of it."""
        kept = {name: value for name, value in self.__dict__.items() if name not in ("model", "path", "lower")}
        lower = {path: asdict(report) for path, report in self.lower.items()}
        return {**kept, "ok": self.ok, "path": str(self.path), "lower": lower}


def metadata(exported: Exported, manifest: Mapping[str, Any], opset: int) -> dict[str, str]:
    """Return a file's metadata entries, by key; empty ones are left out.

    Args:
        exported: What was proved of it.
        manifest: Of the Trace it was held against.
        opset: Version of ONNX's operators.
    """
    told = {
        "framework": manifest["framework"],
        "framework_version": manifest["version"],
        "model": manifest["model"],
        "weights": manifest["weights"],
        "state_sha256": manifest["state_sha256"],
        "commit": _commit(),
        "opset": opset,
        "verdict": exported.verdict,
        "noise": f"{exported.noise:.4g}",
        "bound": f"{exported.bound:.4g}",
        "distance": "" if exported.distance is None else f"{exported.distance:.4g}",
        "allowance": f"{exported.allowance:.4g}" if exported.allowance else "",
        "canonical_sha256": exported.canonical_sha256,
    }
    return {f"parity.{word}": str(value) for word, value in told.items() if value}


def _commit() -> str:
    """Return the commit of the checkout this file is in, "" if it is in none."""
    own = Path(__file__)
    git = ["git", "-C", str(own.parent)]
    try:
        tracked = subprocess.run([*git, "ls-files", "--error-unmatch", own.name], capture_output=True, check=False)
        found = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, check=False)
    except OSError:
        return ""  # no git here
    return "" if tracked.returncode or found.returncode else found.stdout.decode().strip()
