"""An exported file: its proof, and the metadata in the file that records the proof."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError

from parity.deploy import precision
from parity.deploy.preparation import as_metadata
from parity.picture import Preparation


@dataclass(frozen=True)
class Exported:
    """One file and its proof.

    Attributes:
        backend: The framework it came from.
        path: Where it is; there is no file unless `ok`.
        verdict: "exact", "rounding", or "different".
        reason: What is wrong; "" for a pass.
        noise: Largest float32 error of an output in ONNX Runtime against the framework's float64, in units of roundoff.
        raw_noise: The same of the exporter's own graph.
        bound: The bound of this noise.
        distance: Of the outputs of the exporter's graph, evaluated in float64, from the framework's float64, over their
            root mean square; None where a node cannot be evaluated in float64.
        allowance: The allowance of this distance.
        layers: Number of the network's layers whose output is proved to be in the file, and of all its layers.
        nodes: Number of nodes of the file, and of the exporter's own.
        canonical_sha256: SHA-256 of the canonical form without metadata.
        model: The model.
        notes: Where the file is right and its framework computes something else, one sentence for each layer; and what
            the file took the place of, if that was another network.
        lower: Reports on its files of lower precision, by their paths.
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
        """Return the entry of this file in `--json`."""
        fields = {name: value for name, value in self.__dict__.items() if name not in ("model", "path", "lower")}
        lower = {path: asdict(report) for path, report in self.lower.items()}
        return {**fields, "ok": self.ok, "path": str(self.path), "lower": lower}


def metadata(
    exported: Exported, manifest: Mapping[str, Any], opset: int, preparation: Preparation | None = None
) -> dict[str, str]:
    """Return a file's metadata entries, by key; empty ones are left out.

    Args:
        exported: The file and its proof.
        manifest: Manifest of the Trace it was compared with.
        opset: Version of ONNX's operators.
        preparation: How pictures are prepared for it; None if not known.
    """
    entries = {
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
    pictures = {} if preparation is None else as_metadata(preparation)
    return {f"parity.{word}": str(value) for word, value in entries.items() if value} | pictures


def replaced(path: Path, metadata: Mapping[str, str]) -> tuple[str, ...]:
    """Return a sentence if a file exists that holds another network or other weights than `metadata` states."""
    try:
        older = onnx.load(path, load_external_data=False)
    except (OSError, DecodeError):
        return ()  # none, or one that nobody can use
    entries = {entry.key: entry.value for entry in older.metadata_props}
    if entries.get("parity.state_sha256") == metadata.get("parity.state_sha256"):
        return ()
    return ("it took the place of a file of this name with other weights; --name gives it another name",)


def _commit() -> str:
    """Return the commit of the checkout that holds this file; "" if there is none."""
    file = Path(__file__)
    git = ["git", "-C", str(file.parent)]
    try:
        tracked = subprocess.run([*git, "ls-files", "--error-unmatch", file.name], capture_output=True, check=False)
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, check=False)
    except OSError:
        return ""  # no git here
    return "" if tracked.returncode or head.returncode else head.stdout.decode().strip()
