"""Networks as text: a class of networks.py, regrouped.py or zoos.py, in either framework, with a mistake typed in."""

from __future__ import annotations

import functools
import linecache
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from catalogue import regrouped, zoos

HERE = Path(__file__).parent
SHAPE = (2, 3, 32, 28)
STYLES = ("same", "renamed", "regrouped", "zoo")  # zoo: in Paddle alone
_FILES = {"regrouped": "regrouped.py", "zoo": "zoos.py"}

# torch's words in Paddle's: what a port changes and must.
_PADDLE = (
    (r"import torch\nimport torch.nn.functional as F\nfrom torch import nn",
     "import paddle\nimport paddle.nn.functional as F\nfrom paddle import nn"),
    (r"nn\.Module\b", "nn.Layer"),
    (r"nn\.ModuleList\b", "nn.LayerList"),
    (r"nn\.ConvTranspose2d\b", "nn.Conv2DTranspose"),
    (r"nn\.(Conv|BatchNorm|MaxPool|AvgPool|AdaptiveAvgPool)2d\b", r"nn.\g<1>2D"),
    (r"\bbias=False", "bias_attr=False"),
    (r"\beps=", "epsilon="),
    (r"count_include_pad=True", "exclusive=False"),
    (r"torch\.cat\(", "paddle.concat("),
    (r"torch\.(sigmoid|softmax)\(", r"F.\1("),
    (r"x\.transpose\(1, 2\)", "x.transpose([0, 2, 1, 3, 4])"),
    (r"\bdim=", "axis="),
    (r"\btorch\.", "paddle."),
)  # fmt: skip

# What attributes another author chooses: no part of a word is kept.
_RENAMED = {
    "conv": "convolution", "bn": "batch_norm", "norm": "normalise", "relu": "activation", "act": "nonlinearity",
    "pool": "downsampling", "avgpool": "global_pool", "maxpool": "pooling", "fc": "linear", "drop": "dropout",
    "layer": "stage", "downsample": "projection", "stem": "entry", "mixed": "tower", "branch": "path",
    "branch_pool": "path_pool", "block": "unit", "se": "attention", "reduce": "squeeze", "expand": "excite",
    "gate": "limit", "depthwise": "spatial", "project": "narrow", "stage": "body", "transition": "between",
    "classifier": "logits", "down": "encoder", "middle": "bottom", "up": "raise_", "merge": "decoder", "head": "last",
    "pyramid": "context", "low": "lateral", "aux": "second_head",
}  # fmt: skip
_WORD = re.compile(r"^(branch_pool|[a-z]+?)(\d*)((?:_(?:reduce|a|b))?)$")


@dataclass(frozen=True)
class Edit:
    """A change of a class's text: what a person typed in place of what is right."""

    owner: str
    old: str
    new: str


def _other_name(name: str) -> str:
    match = _WORD.match(name)
    if match is None or match[1] not in _RENAMED:
        return name
    return f"{_RENAMED[match[1]]}{match[2]}{match[3]}"


def _renamed(text: str) -> str:
    """Return the text with other attribute names, and every class's layers defined in the reverse order."""
    attributes = set(re.findall(r"^        self\.(\w+) = ", text, re.M))
    text = re.sub(r"\bself\.(\w+)", lambda m: f"self.{_other_name(m[1])}" if m[1] in attributes else m[0], text)
    reverse = lambda m: m[1] + "".join(reversed(m[2].splitlines(keepends=True)))
    return re.sub(r"(super\(\).__init__\(\)\n)((?:        self\.\w+ = .*[^(\[\n]\n)+)", reverse, text)


def text_of(framework: str, style: str, edits: Sequence[Edit] = ()) -> str:
    """Return the source of all networks, in a framework's words and a style, with the edits made.

    Raises:
        ValueError: If the text that an edit replaces is not in its class exactly once.
    """
    text = (HERE / _FILES.get(style, "networks.py")).read_text()
    text = re.sub(r"\nOWNERS = \{.*?\n\}[^\n]*\n", "", text, flags=re.S)
    text = _renamed(text) if style == "renamed" else text
    for old, new in _PADDLE if framework == "paddle" and style != "zoo" else ():
        text = re.sub(old, new, text)
    for edit in edits:
        match = re.search(rf"^(?:class|def) {edit.owner}\(.*?(?=^(?:class|def) |\Z)", text, re.M | re.S)
        if match is None or match[0].count(edit.old) != 1:
            count = -1 if match is None else match[0].count(edit.old)
            raise ValueError(f"{framework} {style} {edit.owner}: {count} times {edit.old!r}")
        text = text[: match.start()] + match[0].replace(edit.old, edit.new) + text[match.end() :]
    return text


def network(framework: str, name: str, style: str = "same", edits: Sequence[Edit] = (), **options: object):
    """Return a network in evaluation mode, with the framework's own first weights."""
    text, file = text_of(framework, style, edits), f"<catalogue {framework} {style} {name}>"
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    space: dict[str, Any] = {"__name__": "catalogue.text"}
    exec(compile(text, file, "exec"), space)  # the project's own files
    made = space[name](**options)
    made.eval()
    return made


def owner(name: str, style: str, tensor: str) -> str:
    """Return the reference's name of a candidate's tensor."""
    layer, _, role = tensor.rpartition(".")
    if style == "renamed":
        layer = ".".join(_original().get(part, part) for part in layer.split("."))
    elif style in _FILES:
        layer = f"{layer}."
        for pattern, replacement in (zoos if style == "zoo" else regrouped).OWNERS[name]:
            layer = re.sub(pattern, replacement, layer)
        layer = layer.rstrip(".")
    return f"{layer}.{role}"


@functools.cache
def _original() -> Mapping[str, str]:
    text = (HERE / "networks.py").read_text()
    return {_other_name(each): each for each in re.findall(r"^        self\.(\w+) = ", text, re.M)}
