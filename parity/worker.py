"""The child process that holds one framework: it reads jobs, a JSON line each, and answers each with a line.

Run as a script by any interpreter that has the framework, numpy and safetensors; the package itself need not be
installed there.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":
    _ = sys.path.pop(0)  # this folder: its file names are not to stand before the standard library's

import importlib
import importlib.util
import json
import os
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from parity.record import Side


class _Finder:
    """Finds our packages beside this file, and nothing else that may be in that folder."""

    _ROOT = Path(__file__).resolve().parent.parent

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name not in ("parity", "paddle_cnn", "torch_cnn"):
            return None
        place = self._ROOT / name
        return importlib.util.spec_from_file_location(
            name, place / "__init__.py", submodule_search_locations=[str(place)]
        )


class _Session:
    """What a worker keeps between its jobs: its side, and the network it traced last."""

    def __init__(self, name: str, send: Callable[[dict[str, Any]], None]):
        self.side = cast("Side", importlib.import_module(f"parity.{name}_side"))
        self.send = send
        self.network: Any = None

    def trace(self, job: dict[str, Any]) -> dict[str, Any]:
        import numpy as np

        from parity import checkpoint
        from parity.record import record
        from parity.state import hardened_state

        self.network = None  # gone before the next one comes
        device = self.side.use(job["device"], job["threads"])
        self.network = network = self.side.place(self._build(job), device)
        weights = job["weights"]
        if "own" not in weights:
            slots = self.side.slots(network)
            if "seed" in weights:
                state = hardened_state(slots, weights["seed"])
            else:
                state = checkpoint.read(Path(weights["file"]), slots, job["family"], weights.get("framework"))
            self.side.set_state(network, state, job["name"])
        else:
            state = self.side.get_state(network)
        manifest = {"model": job["name"], "weights": weights.get("label", ""), "state_sha256": state.digest()}
        del state
        inputs = [np.load(path, allow_pickle=False) for path in job["inputs"]]

        def progress(precision: str, done: int, total: int) -> None:
            self.send({"progress": [precision, done, total]})

        record(
            self.side,
            network,
            inputs,
            job["path"],
            manifest=manifest,
            gradients=job["gradients"],
            progress=progress,
        )
        return {}

    def _build(self, job: dict[str, Any]) -> Any:
        from parity.errors import ParityError

        if "twin" in job:
            return self.side.build(job["twin"], **job["options"])
        module, _, name = job["spec"].rpartition(":")
        try:
            if module.endswith(".py"):
                spec = importlib.util.spec_from_file_location(Path(module).stem, module)
                assert spec is not None
                assert spec.loader is not None
                loaded = importlib.util.module_from_spec(spec)
                _ = sys.modules.setdefault(spec.name, loaded)
                spec.loader.exec_module(loaded)
            else:
                sys.path.insert(0, str(Path.cwd()))
                loaded = importlib.import_module(module)
            network = getattr(loaded, name)()
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            raise ParityError(
                f"{self.side.NAME}:{job['spec']}: {type(error).__name__}: {error} ({where.filename}:{where.lineno})"
            ) from error
        if not hasattr(network, "forward"):
            raise ParityError(f"{self.side.NAME}:{job['spec']}: made a {type(network).__name__}, which is no network")
        return network

    def state(self, job: dict[str, Any]) -> dict[str, Any]:
        self.side.get_state(self.network).save(job["path"])
        return {}

    def replay(self, job: dict[str, Any]) -> dict[str, Any]:
        from dataclasses import asdict

        from parity.replay import replay
        from parity.trace import Trace

        with Trace(job["reference"]) as reference:
            found = replay(self.side, self.network, reference)
        return {"replay": [[*key, gap if isinstance(gap, str) else asdict(gap)] for key, gap in found.items()]}

    def export(self, job: dict[str, Any]) -> dict[str, Any]:
        """Write the network of the last trace, and what it makes of other inputs, for the file to be held against."""
        import numpy as np

        from parity.record import inference_mode, outputs64

        for source, folder in job["outputs"]:
            for i, array in enumerate(outputs64(self.side, self.network, np.load(source, allow_pickle=False))):
                np.save(Path(folder) / f"{i}.npy", array)
        example = np.load(job["example"], allow_pickle=False)
        with inference_mode(self.side, self.network):
            names = self.side.export(self.network, example, Path(job["path"]), job["opset"], job["dynamic_size"])
        return {"names": names}

    def read(self, job: dict[str, Any]) -> dict[str, Any]:
        from parity.state import State

        State(self.side.read_checkpoint(Path(job["file"]))).save(job["path"])
        return {}


def main() -> None:
    """Answer jobs until the input ends."""
    sys.meta_path.insert(0, _Finder())
    from parity.errors import ParityError

    # What a framework prints, from C too, goes to the log; the answers keep the real output for themselves.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    _ = os.dup2(2, 1)

    def send(message: dict[str, Any]) -> None:
        _ = answers.write(json.dumps(message) + "\n")

    try:
        session = _Session(sys.argv[1], send)
    except ImportError as error:
        return send({"error": f"{sys.executable} cannot import the {sys.argv[1]} side: {error}"})
    for line in sys.stdin:
        job = json.loads(line)
        try:
            send({"done": getattr(session, job["do"])(job)})
        except ParityError as error:
            send({"error": str(error)})
        except MemoryError:
            send({"error": f"{sys.argv[1]} worker: out of memory; use a smaller batch or image"})
        except Exception as error:
            traceback.print_exc()
            send({"error": f"{sys.argv[1]} worker: {type(error).__name__}: {str(error).strip() or 'no message'}"})
    return None


if __name__ == "__main__":
    main()
