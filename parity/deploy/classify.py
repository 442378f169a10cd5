"""Classify pictures with an exported file; needs only onnxruntime, numpy and pillow."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from parity.deploy.preparation import NOTHING, Prepared, Requested, prepared
from parity.errors import ParityError
from parity.numerics.arrays import Array
from parity.onnx_files import runtime
from parity.picture import Preparation, load_picture, pictures_in


@dataclass(frozen=True)
class Guess:
    """One likely class of one picture.

    Attributes:
        index: From 0.
        label: Its name; its index where there are no names.
        probability: Softmax of the file's first output; that output itself where it is probabilities already.
    """

    index: int
    label: str
    probability: float


@dataclass(frozen=True)
class Prediction:
    """The likely classes of one picture.

    Attributes:
        picture: The file.
        classes: The most likely first.
    """

    picture: Path
    classes: tuple[Guess, ...]


@dataclass(frozen=True)
class Predictions:
    """The likely classes of pictures.

    Attributes:
        preparation: How the pictures were prepared, and where that is from, in one line.
        pictures: One for each picture, in the order of the paths; those of a folder in the order of their names.
    """

    preparation: str
    pictures: tuple[Prediction, ...]


def predict(
    model: Path,
    pictures: Sequence[Path],
    labels: Sequence[str] | None,
    top: int,
    batch: int,
    device: str,
    threads: int,
    requested: Requested = NOTHING,
) -> Iterator[Predictions]:
    """Yield the likely classes of pictures, a batch at a time.

    Raises:
        ParityError: If the file or a picture cannot be used, or the numbers of names and classes differ.
    """
    paths = pictures_in(pictures)
    classifier = Classifier.open(model, device, threads, requested)
    preparation = classifier.preparation()
    for start in range(0, len(paths), batch):
        guesses = classifier.guesses(paths[start : start + batch], labels, top, batch)
        yield Predictions(preparation, tuple(Prediction(path, tuple(best)) for path, best in guesses))


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
        height: In pixels; 224 where neither the file nor its preparation states it.
        width: In pixels; as `height`.
        channels_last: Whether it takes (N, H, W, C).
        dtype: Of its input.
        prepared: How its pictures are prepared.
    """

    session: Any
    name: str
    batch: int | None
    channels: int
    height: int
    width: int
    channels_last: bool
    dtype: Any
    prepared: Prepared

    @classmethod
    def open(cls, path: Path, device: str, threads: int, requested: Requested = NOTHING) -> Classifier:
        """Return the file's classifier.

        Raises:
            ParityError: If the runtime refuses the file, the file does not take pictures, or they cannot be prepared as
                requested.
        """
        session = runtime.open_session(path, str(path), device, threads)
        slots = session.get_inputs()
        shapes = [slot.shape for slot in slots]
        sizes = [[length if isinstance(length, int) else None for length in shape] for shape in shapes]
        last = len(sizes) == 1 and len(sizes[0]) == 4 and sizes[0][1] not in (1, 3)
        channels = sizes[0][3 if last else 1] if len(sizes) == 1 and len(sizes[0]) == 4 else None
        if channels not in (1, 3):
            raise ParityError(
                f"{path}: takes {shapes}, not pictures of (N, 1 or 3, height, width) or (N, height, width, 1 or 3)"
            )
        n = sizes[0][0]
        height, width = sizes[0][1:3] if last else sizes[0][2:]
        made = prepared(path, session.get_modelmeta().custom_metadata_map, requested)
        dtype = np.dtype(runtime.dtype_of(slots[0].type))
        if dtype.kind == "u" and not made.origin:
            made = Prepared(Preparation(white=255.0), "since the file takes integers, 0..255")
        size = requested.settings.get("size", (height, width))
        if any(fixed not in (None, length) for fixed, length in zip((height, width), size, strict=True)):
            raise ParityError(f"--size {'x'.join(map(str, size))}: {path} takes pictures of {height}x{width} only")
        if requested.settings.get("channels") == "bgr" and channels == 1:
            raise ParityError(f"--channels bgr: {path} takes grey pictures")
        default = made.preparation.size or (224, 224)
        height, width = height or default[0], width or default[1]
        return cls(session, str(path), n, channels, height, width, last, dtype, made)

    def load(self, path: str | None) -> Array:
        """Return one picture as (1, C, H, W) float32, prepared for the file; None is the project's photograph.

        Raises:
            ParityError: If it cannot be read.
        """
        return load_picture(path, self.channels, self.height, self.width, self.prepared.preparation)

    def preparation(self) -> str:
        """Return one line on how its pictures are prepared, and where that is from."""
        return self.prepared.describe(self.channels, self.height, self.width)

    def feed(self, pictures: Array) -> dict[str, Array]:
        """Return pictures, (N, C, H, W), as the session's input: in its layout and dtype.

        Raises:
            ParityError: If the file does not take them.
        """
        batch = pictures.transpose(0, 2, 3, 1) if self.channels_last else pictures
        if self.dtype.kind == "u":
            batch = np.clip(np.rint(batch), 0, np.iinfo(self.dtype).max).astype(self.dtype)
        return runtime.feed(self.session, [batch], self.name)

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
            output = np.asarray(runtime.run(self.session, self.feed(padded), self.name)[0])
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
            logits = self.logits(np.concatenate([self.load(str(path)) for path in chunk])).astype(np.float64)
            if labels is not None and len(labels) != logits.shape[1]:
                raise ParityError(f"--labels: {len(labels)} names, but {self.name} has {logits.shape[1]} classes")
            for path, row in zip(chunk, _probabilities(logits), strict=True):
                best = np.argsort(-row, kind="stable")[:top]
                yield path, [Guess(int(i), str(labels[i] if labels else i), float(row[i])) for i in best]


def _probabilities(logits: Array) -> Array:
    """Return the softmax of each row; rows that are one's output already stay as they are."""
    if logits.shape[1] > 1 and logits.min() >= 0 and np.abs(logits.sum(axis=1) - 1).max() < 1e-3:
        return logits
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)
