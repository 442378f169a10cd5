"""Classify pictures with an exported file; needs only onnxruntime, numpy and pillow."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from parity.errors import ParityError
from parity.numerics.arrays import Array
from parity.onnx_files import runtime
from parity.picture import load_picture


@dataclass(frozen=True)
class Guess:
    """One likely class of one picture.

    Attributes:
        index: From 0.
        label: Its name; its index where there are no names.
        probability: Softmax of the file's first output.
    """

    index: int
    label: str
    probability: float


def read_labels(path: Path) -> list[str]:
    """Return the names of the classes: a line each, or a JSON list, or a JSON object of "0" to name.

    Raises:
        ParityError: If it cannot be read or has another form.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ParityError(f"--labels {path}: cannot read: {getattr(error, 'strerror', None) or error}") from error
    if path.suffix != ".json":
        return text.rstrip("\n").split("\n")
    try:
        data = json.loads(text)
        names = [data[str(i)] for i in range(len(data))] if isinstance(data, dict) else data
    except (ValueError, KeyError, RecursionError) as error:
        raise ParityError(
            f"--labels {path}: not a list of names, nor an object of numbers to names: {error}"
        ) from error
    if not isinstance(names, list):
        raise ParityError(f"--labels {path}: not a list of names, nor an object of numbers to names")
    # ImageNet's usual file holds ["n01440764", "tench"] for each.
    return [str(name[-1] if isinstance(name, list) and name else name) for name in names]


@dataclass(frozen=True)
class Classifier:
    """An opened file that takes pictures.

    Attributes:
        session: The onnxruntime.InferenceSession.
        name: Its name in messages.
        batch: Pictures at a time, None where the file takes any number.
        channels: 1 or 3.
        height: In pixels; 224 where the file takes any size.
        width: In pixels; 224 where the file takes any size.
    """

    session: Any
    name: str
    batch: int | None
    channels: int
    height: int
    width: int

    @classmethod
    def open(cls, path: Path, device: str, threads: int) -> Classifier:
        """Return the file's classifier.

        Raises:
            ParityError: If the runtime refuses the file, or the file does not take pictures.
        """
        session = runtime.open_session(path, str(path), device, threads)
        shapes = [slot.shape for slot in session.get_inputs()]
        sizes = [[length if isinstance(length, int) else None for length in shape] for shape in shapes]
        if len(sizes) != 1 or len(sizes[0]) != 4 or sizes[0][1] not in (1, 3):
            raise ParityError(f"{path}: takes {shapes}, not pictures of (N, 1 or 3, height, width)")
        n, channels, height, width = sizes[0]
        return cls(session, str(path), n, channels or 3, height or 224, width or 224)

    def logits(self, pictures: Array) -> Array:
        """Return the file's first output, (N, classes), for N pictures.

        Raises:
            ParityError: If the file cannot take them, or its output is not a row of numbers for each.
        """
        n = self.batch or len(pictures)
        rows = list[Array]()
        for start in range(0, len(pictures), n):
            batch = pictures[start : start + n]
            padded = np.concatenate([batch, np.zeros((n - len(batch), *batch.shape[1:]), batch.dtype)])
            inputs = runtime.feed(self.session, [padded], self.name)
            output = np.asarray(runtime.run(self.session, inputs, self.name)[0])
            if output.ndim != 2 or len(output) != n:
                raise ParityError(
                    f"{self.name}: output {output.shape} is not a row of classes for each of {n} pictures"
                )
            rows.append(output[: len(batch)])
        return np.concatenate(rows)

    def guesses(
        self, paths: Sequence[Path], labels: Sequence[str] | None, top: int, batch: int
    ) -> Iterator[tuple[Path, list[Guess]]]:
        """Yield each picture with its most likely classes, the most likely first.

        Raises:
            ParityError: If a picture cannot be read, or the numbers of names and classes differ.
        """
        for start in range(0, len(paths), batch):
            chunk = paths[start : start + batch]
            pictures = [load_picture(str(path), self.channels, self.height, self.width) for path in chunk]
            logits = self.logits(np.concatenate(pictures)).astype(np.float64)
            if labels is not None and len(labels) != logits.shape[1]:
                raise ParityError(f"--labels: {len(labels)} names, but {self.name} has {logits.shape[1]} classes")
            odds = np.exp(logits - logits.max(axis=1, keepdims=True))
            for path, row in zip(chunk, odds / odds.sum(axis=1, keepdims=True), strict=True):
                best = np.argsort(-row, kind="stable")[:top]
                yield path, [Guess(int(i), str(labels[i] if labels else i), float(row[i])) for i in best]
