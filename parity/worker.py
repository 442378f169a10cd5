"""The child process that holds one framework: it reads jobs, a JSON line each, and answers each with a line.

Run as a script by any interpreter that has the framework, numpy and safetensors; the package itself need not be
installed there.
"""

from __future__ import annotations

import sys

if __name__ == "__main__" and not (sys.flags.isolated or getattr(sys.flags, "safe_path", False)):
    _ = sys.path.pop(0)  # this folder: its file names are not to stand before the standard library's

import importlib
import importlib.util
import json
import os
import queue
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from parity.record import Side
    from parity.state import State


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
        self.ways: dict[str, Callable[[], Any]] = {}

    def trace(self, job: dict[str, Any]) -> dict[str, Any]:
        import numpy as np

        from parity.record import record

        state = self._ready(job)
        manifest = {"model": job["name"], "weights": job["weights"].get("label", ""), "state_sha256": state.digest()}
        del state
        inputs = [np.load(path, allow_pickle=False) for path in job["inputs"]]

        def progress(precision: str, done: int, total: int) -> None:
            self.send({"progress": [precision, done, total]})

        own = getattr(self.side, "record", None)  # a file has no layers to wrap: its side records it in its own way
        _ = (own or partial(record, self.side))(
            self.network,
            inputs,
            job["path"],
            manifest=manifest,
            gradients=job["gradients"],
            progress=progress,
        )
        return {}

    def _ready(self, job: dict[str, Any]) -> State:
        """Build the job's network with its weights, and return those."""
        from parity import checkpoint
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
        return state

    def prepare(self, job: dict[str, Any]) -> dict[str, Any]:
        """Build the network that is to be timed."""
        _ = self._ready(job)
        return {}

    def aim(self, job: dict[str, Any]) -> dict[str, Any]:
        """Get ready to run an input in several ways; return why not, by way, where one does not work here."""
        import numpy as np

        array, self.ways, refused = np.load(job["input"], allow_pickle=False), {}, {}
        for way in job["ways"]:
            try:
                call = cast(Any, self.side).runner(self.network, way, array)
                call()
                self.ways[way] = call
            except Exception as error:  # a compiler that is missing, a file of another batch size: the others go on
                refused[way] = " ".join(str(error).split())[:200] or type(error).__name__
        return {"refused": refused}

    def turn(self, job: dict[str, Any]) -> dict[str, Any]:
        """Run one of the ways, once to warm the caches that others have used since, then timed."""
        call, seconds = self.ways[job["way"]], list[float]()
        call()
        for _ in range(job["repeat"]):
            start = time.perf_counter()
            call()
            seconds.append(time.perf_counter() - start)
        return {"seconds": seconds}

    def multiply(self, job: dict[str, Any]) -> dict[str, Any]:
        """Multiply float32 matrices; return the best rate in operations a second."""
        import numpy as np

        n, seconds = job["size"], list[float]()
        a = np.full((n, n), 1.5, np.float32)
        for _ in range(4):
            start = time.perf_counter()
            _ = a @ a
            seconds.append(time.perf_counter() - start)
        return {"rate": 2 * n**3 / min(seconds)}

    def _build(self, job: dict[str, Any]) -> Any:
        from parity.errors import ParityError

        if "file" in job:
            return cast(Any, self.side).load(Path(job["file"]))
        if "twin" in job:
            return self.side.build(job["twin"], **job["options"])
        module, _, name = job["spec"].rpartition(":")
        try:
            if module.endswith(".py"):
                sys.path.insert(0, str(Path(module).resolve().parent))  # as Python does for a script: its siblings
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
            frames = traceback.extract_tb(error.__traceback__)
            theirs = [frame for frame in frames if not frame.filename.startswith((__file__, "<frozen"))]
            where = f" ({theirs[-1].filename}:{theirs[-1].lineno})" if theirs else ""
            raise ParityError(f"{self.side.NAME}:{job['spec']}: {_words(error)}{where}") from error
        if not hasattr(network, "forward"):
            kind = type(network).__name__
            raise ParityError(f"{self.side.NAME}:{job['spec']}: made an object of type {kind}, which is no network")
        return network

    def layers(self, job: dict[str, Any]) -> dict[str, Any]:
        network = self._build(job)
        return {"layers": [[name, *self.side.describe(layer)] for name, layer in self.side.layers(network)]}

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

    def outline(self, job: dict[str, Any]) -> dict[str, Any]:
        from parity.outline import outline

        _ = self.side.use("cpu", job["threads"])
        network = self._build(job)
        # A user's own network may look at the numbers on its way, and is run as it is.
        return outline(self.side, self.side.hollow(network) if "twin" in job else network, job["shape"])

    def survey(self, job: dict[str, Any]) -> dict[str, Any]:
        from dataclasses import asdict

        from parity.survey import survey

        _ = self.side.use("cpu", 1)
        total = len(job["sizes"])
        progress = lambda done: self.send({"progress": ["pooling", done, total]})
        found = survey(self.side, self._build(job), job["channels"], job["sizes"], progress)
        return {"findings": [asdict(finding) for finding in found]}

    def shape(self, job: dict[str, Any]) -> dict[str, Any]:
        side = cast(Any, self.side)
        return {"shape": side.input_shape(side.load(Path(job["file"])))}

    def export(self, job: dict[str, Any]) -> dict[str, Any]:
        """Have the exporter write the network of the last trace."""
        import numpy as np

        from parity.record import inference_mode

        example = np.load(job["example"], allow_pickle=False)
        with inference_mode(self.side, self.network):
            names = self.side.export(self.network, example, Path(job["path"]), job["opset"], job["dynamic_size"])
        return {"names": names}

    def outputs(self, job: dict[str, Any]) -> dict[str, Any]:
        """Write what the network of the last trace makes of inputs in float64."""
        import numpy as np

        from parity.record import outputs64

        for source, folder in job["inputs"]:
            for i, array in enumerate(outputs64(self.side, self.network, np.load(source, allow_pickle=False))):
                np.save(Path(folder) / f"{i}.npy", array)
        return {}

    def read(self, job: dict[str, Any]) -> dict[str, Any]:
        from parity.state import State

        State(self.side.read_checkpoint(Path(job["file"]))).save(job["path"])
        return {}


def _words(error: Exception) -> str:
    """Return an error's kind and message on one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split()) or 'no message'}"


def _jobs() -> Iterator[dict[str, Any]]:
    """Yield the jobs as they come; end the process when its owner has gone, whatever it is doing then."""
    jobs: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def read() -> None:
        with open(0, "rb", buffering=0, closefd=False) as lines:  # unbuffered: holds no lock at exit
            for line in lines:
                jobs.put(line)
        os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    while True:
        yield json.loads(jobs.get())


def main() -> None:
    """Answer jobs until the owner has gone."""
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
        return send({"error": f"{sys.executable} cannot import the {sys.argv[1]} side: {_words(error)}"})
    for job in _jobs():
        try:
            send({"done": getattr(session, job["do"])(job)})
        except ParityError as error:
            send({"error": str(error)})
        except MemoryError:
            send({"error": f"{sys.argv[1]} worker: out of memory; use a smaller batch or image"})
        except Exception as error:
            traceback.print_exc()
            send({"error": f"{sys.argv[1]} worker: {_words(error)}"})
    return None


if __name__ == "__main__":
    main()
