"""Lower precision for deployment: half precision, and 8-bit integers calibrated on pictures; and what it costs.

The rewriting is ONNX Runtime's own (its float16 converter, its quantiser). What is added is that a file is written
whole or not at all, and never without being held against the file it came from.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from parity.atomic import atomic
from parity.deploy.classify import Classifier
from parity.errors import ParityError
from parity.numerics.arrays import Array
from parity.onnx_files import runtime
from parity.picture import load_array, load_picture, pictures_in
from parity.temporary import temporary_folder

PRECISIONS = ("fp16", "int8")


@dataclass(frozen=True)
class Report:
    """A file of lower precision, held against the float32 file it came from.

    Attributes:
        precision: "fp16" or "int8".
        images: How many pictures were asked.
        top1: Share of them with the same likeliest class, 0 to 1.
        worst: Largest difference of any logit, in units of the float32 logits' root mean square.
        mean: Mean difference, in the same units.
        size: Bytes, over the float32 file's.
        speed: Time of the float32 file over its own, for one picture on the CPU, medians of runs that take turns: 2 is
            twice as fast.
    """

    precision: str
    images: int
    top1: float
    worst: float
    mean: float
    size: float
    speed: float

    def __str__(self) -> str:
        return (
            f"{self.precision}: same likeliest class for {self.top1:.1%} of {self.images} pictures; logits differ by "
            f"{self.worst:.2g} of their rms at worst, {self.mean:.2g} on average; {self.size:.2f} x the size, "
            f"{self.speed:.2f} x the speed."
        )


def lower(
    source: Path, target: Path, precision: str, calibrate: Path | None = None, threads: int = 1, rounds: int = 15
) -> Report:
    """Write `source` in a lower precision to `target`; inputs and outputs stay float32.

    Args:
        source: A float32 ONNX file that takes pictures.
        target: Where the other goes.
        precision: "fp16", or "int8": static, weights by channel, activations unsigned (signed gain nothing on x86).
        calibrate: A folder of pictures, or a .npy array of inputs (N, C, H, W): int8 takes the ranges of its
            activations from them, and both are judged by them. fp16 may go without: it is judged by the project's
            photograph, turned and mirrored.
        threads: For calibration and timing.
        rounds: Timings of each.

    Raises:
        ParityError: If the file or the pictures cannot be used, or int8 has no pictures; nothing is written then.
    """
    from parity.onnx_files import model_file

    check(precision, calibrate)
    full = Classifier.open(source, "cpu", threads)
    images = load_images((full.channels, full.height, full.width), calibrate)
    told = {entry.key: entry.value for entry in model_file.read(source, strict=False).metadata_props}
    with atomic(target) as part:
        # Both rewriters speak of what they meet on the way; what matters is in the report.
        runtime.import_onnxruntime().set_default_logger_severity(4)
        try:
            _ = (_int8 if precision == "int8" else _fp16)(source, part, images, full)
        except ParityError:
            raise
        except Exception as error:  # the quantiser raises what it trips over
            raise ParityError(f"{source}: cannot be brought to {precision}: {runtime.reason(error)}") from error
        found = report(precision, full, Classifier.open(part, "cpu", threads), images, (source, part), rounds)
        _describe(part, told, found)
        return replace(found, size=part.stat().st_size / source.stat().st_size)


def check(precision: str, calibrate: Path | None) -> None:
    """Return if there is such a precision, and what it needs is given.

    Raises:
        ParityError: If not.
    """
    if precision not in PRECISIONS:
        raise ParityError(f"unknown precision {precision!r}; known: {', '.join(PRECISIONS)}")
    if precision == "int8" and calibrate is None:
        raise ParityError("int8 takes the ranges of its activations from pictures: give --calibrate FOLDER or FILE.npy")


# What is known of the float32 file and holds for one made from it too.
_KEPT = ("framework", "framework_version", "model", "weights", "state_sha256", "commit", "opset")


def _describe(path: Path, told: Mapping[str, str], found: Report) -> None:
    """Write into a file what it was made from and what that costs, in place of what was proved of the other."""
    import onnx

    model = onnx.load(path)
    del model.metadata_props[:]
    notes = {f"parity.{word}": told[f"parity.{word}"] for word in _KEPT if f"parity.{word}" in told}
    notes |= {"parity.made_from": told.get("parity.canonical_sha256", ""), "parity.precision": found.precision}
    notes |= {f"parity.{word}": f"{getattr(found, word):.4g}" for word in ("images", "top1", "worst", "mean")}
    onnx.helper.set_model_props(model, {word: value for word, value in notes.items() if value})
    onnx.save(model, path)


def load_images(shape: tuple[int, int, int], source: Path | None) -> Array:
    """Return pictures to calibrate on, (N, C, H, W) float32; without a source the project's own, turned and mirrored.

    Args:
        shape: (C, H, W) of one.
        source: A folder of pictures or a .npy array.

    Raises:
        ParityError: If they cannot be read, are of another shape, or not finite.
    """
    if source is None:
        picture = load_picture(None, *shape)
        turned = [picture, picture[..., ::-1], picture[..., ::-1, :], picture[..., ::-1, ::-1]]
        return np.ascontiguousarray(np.concatenate(turned))
    if source.suffix != ".npy":
        return np.concatenate([load_picture(str(path), *shape) for path in pictures_in([source])])
    array = load_array(source, "--calibrate")
    if array.dtype.kind != "f" or array.shape[1:] != shape or not len(array):
        raise ParityError(f"--calibrate {source}: {array.dtype} of shape {array.shape}; (N, {shape[0]}, "
                          f"{shape[1]}, {shape[2]}) of floats is needed")  # fmt: skip
    if not np.isfinite(array).all():
        raise ParityError(f"--calibrate {source}: holds NaN or infinity, which no range can")
    return array


def _fp16(source: Path, target: Path, images: Array, full: Classifier) -> None:
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    del images, full
    onnx.save(convert_float_to_float16(onnx.load(source), keep_io_types=True), target)


def _int8(source: Path, target: Path, images: Array, full: Classifier) -> None:
    import logging

    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.rows = _batches(full, images)

        def get_next(self) -> Any:
            return next(self.rows, None)

    logging.getLogger().setLevel(logging.ERROR)  # the quantiser speaks through the root logger
    with temporary_folder() as folder:
        prepared = folder / "prepared.onnx"  # BatchNorm folded, shapes inferred: what the quantiser builds on
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared),
            str(target),
            Reader(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )


def _batches(full: Classifier, images: Array) -> Iterator[dict[str, Array]]:
    n = full.batch or 1
    for start in range(0, len(images), n):
        part = images[start : start + n]
        if len(part) == n:  # a padded one would bring ranges that no picture has
            yield runtime.feed(full.session, [part], full.name)


def report(
    precision: str,
    full: Classifier,
    low: Classifier,
    images: Array,
    files: tuple[Path, Path],
    rounds: int,
) -> Report:
    """Return how the lower file's answers, size and speed compare with the full one's.

    Raises:
        ParityError: If either cannot be run, or the lower one's answers are not finite.
    """
    n = full.batch or 8
    parts = [images[start : start + n] for start in range(0, len(images), n)]
    right = np.concatenate([full.logits(part) for part in parts]).astype(np.float64)
    found = np.concatenate([low.logits(part) for part in parts]).astype(np.float64)
    if not np.isfinite(found).all():
        raise ParityError(
            f"{full.name}: in {precision} its outputs are not finite: its numbers exceed the format's range"
        )
    gap = np.abs(found - right) / np.sqrt(np.mean(right**2))
    times: tuple[list[float], list[float]] = [], []
    for _ in range(rounds + 1):
        for classifier, taken in zip((full, low), times, strict=True):
            start = time.perf_counter()
            _ = classifier.logits(images[:1])
            taken.append(time.perf_counter() - start)
    medians = [statistics.median(taken[1:]) for taken in times]  # the first is a warm-up
    return Report(
        precision=precision,
        images=len(images),
        top1=float(np.mean(found.argmax(axis=1) == right.argmax(axis=1))),
        worst=float(gap.max()),
        mean=float(gap.mean()),
        size=files[1].stat().st_size / files[0].stat().st_size,
        speed=medians[0] / medians[1],
    )
