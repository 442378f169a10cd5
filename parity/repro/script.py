"""The script of a reproduction: at most 30 lines that need a framework and numpy, and nothing of this project."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from parity.backends.origin import Origin
from parity.printable import printable

MARK = "# Written by `parity compare --repro`"
_TENSOR = {"torch": "torch.tensor", "paddle": "paddle.to_tensor"}
_FLAT = (
    "flat = lambda out: [out] if hasattr(out, 'shape') else [t for o in getattr(out, 'values', lambda: out)() "
    "for t in flat(o)] if isinstance(out, (list, tuple, dict)) else []"
)
_LAYERS = {"torch": "named_modules()", "paddle": "named_sublayers(include_self=True)"}


@dataclass(frozen=True)
class Facts:
    """What a script is written from.

    Attributes:
        framework: "torch" or "paddle".
        device: As the manifest has it.
        version: Of the framework.
        said: What the comparison says of the culprit.
        dtype: "float64", or "float32" where the culprit is imprecise.
        training: Whether the layer was in training mode.
        inputs: How many there are.
        outputs: How many there are.
        limit: The largest difference that rounding explains, over the root mean square.
    """

    framework: str
    device: str
    version: str
    said: str
    dtype: str
    training: bool
    inputs: int
    outputs: int
    limit: float


def of_function(facts: Facts, code: str) -> str:
    """Return the script that calls a function: `code` is an expression of x, the list of its inputs."""
    return _script(facts, [], [], f"[{code}]")


def of_layer(facts: Facts, code: str, has_weights: bool) -> str:
    """Return the script that builds one of the framework's own layers by the expression `code`."""
    return _script(facts, [], [f"layer = {code}", *_prepared(facts, has_weights)], "[layer(*x)]")


def of_network(facts: Facts, layer: str, origin: Origin) -> str:
    """Return the script that builds the whole network as its SPEC says, and takes a layer out of it."""
    source = origin.network
    assert source is not None
    found = [f"network = importlib.import_module({source.module!r}).{source.code}"]
    found += [f"layer = dict(network.{_LAYERS[facts.framework]})[{layer!r}]"]
    start = ["import importlib", *_path(source.folder)]
    return _script(facts, start, [*found, *_prepared(facts, bool(origin.weights))], "flat(layer(*x))")


def of_class(facts: Facts, origin: Origin) -> str:
    """Return the script that says which class to import, and how far it is from running."""
    name = printable(origin.name)
    file = f"{printable(origin.file)}:{name}" if origin.file else f"{printable(origin.module)}:{name}"
    start = ["import importlib"]
    if "<locals>" in origin.name or origin.module == "__main__":
        made = [f"layer = None  # {file}: put the class here, and build it as your network does"]
    else:
        if origin.own and origin.file and "." not in origin.module:
            start += _path(str(Path(origin.file).parent))
        whose = f"{file} is a class of your own" if origin.own else name
        made = [f"# {whose}: give it the arguments that your network gives it"]
        made += [f"layer = importlib.import_module({origin.module!r}).{origin.name}()"]
    return _script(facts, start, [*made, *_prepared(facts, bool(origin.weights))], "flat(layer(*x))")


def _path(folder: str) -> list[str]:
    return [f"sys.path.insert(0, {folder!r})  # or copy the file beside this script"] if folder else []


def _prepared(facts: Facts, has_weights: bool) -> list[str]:
    """Return the lines that load the weights and set precision and mode."""
    lines = [f"_ = layer.to(dtype={_dtype(facts)})"]
    if has_weights:
        load = "load_state_dict" if facts.framework == "torch" else "set_state_dict"
        lines += [
            'weights = np.load(HERE / "weights.npz")',
            f"_ = layer.{load}({{name: tensor(weights[name]) for name in weights.files}})",
        ]
    return [*lines, "_ = layer.train()" if facts.training else "_ = layer.eval()"]


def _dtype(facts: Facts) -> str:
    return f"torch.{facts.dtype}" if facts.framework == "torch" else repr(facts.dtype)


def _script(facts: Facts, start: list[str], made: list[str], outputs: str) -> str:
    framework = facts.framework
    chosen = f"paddle.set_device({facts.device!r})" if framework == "paddle" else ""
    if framework == "torch" and facts.device != "cpu":
        chosen = f"torch.set_default_device({facts.device!r})"
    lines = [
        f"{MARK}: {printable(facts.said)}"[:300],
        f"# Compares {framework} alone ({printable(facts.version)}) with the output that was expected of it.",
        *("import sys", "from pathlib import Path", f"import numpy as np, {framework}"),
        *start,
        "HERE = Path(__file__).resolve().parent",
        f"{framework}.set_default_dtype({_dtype(facts)})",
        *([chosen] if chosen else []),
        f"tensor = lambda a: {_TENSOR[framework]}(a.astype({facts.dtype!r}) if a.dtype.kind == 'f' else a)",
        *([_FLAT] if "flat(" in outputs else []),
        *made,
        f'x = [tensor(np.load(HERE / f"input{{i}}.npy")) for i in range({facts.inputs})]',
        f"with {framework}.no_grad():",
        f"    outputs = {outputs}",
        f"assert len(outputs) == {facts.outputs}, len(outputs)",
        "worst = 0.0",
        "for i, output in enumerate(outputs):",
        '    expected, actual = np.load(HERE / f"expected{i}.npy"), output.cpu().numpy().astype("float64")',
        "    assert actual.shape == expected.shape, (actual.shape, expected.shape)",
        "    gap = np.abs(actual - expected).max() / (np.sqrt((expected**2.0).mean()) or 1.0)",
        '    print(f"output {i}: largest difference {gap:.3g} of the rms of the expected output")',
        "    worst = gap if not gap <= worst else worst",
        f"sys.exit(not worst <= {facts.limit!r})  # 0: no larger than rounding explains",
    ]
    return "\n".join(lines) + "\n"
