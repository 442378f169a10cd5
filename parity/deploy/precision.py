"""Lower precision for deployment: half precision, and 8-bit integers calibrated on pictures; and the cost.

ONNX Runtime rewrites the file (its float16 converter, its quantiser). This module adds two things: a file is written
whole or not at all, and it is always compared with the file it came from.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from parity.atomic import atomic
from parity.deploy.classify import Classifier
from parity.deploy.cost import Report
from parity.deploy.preparation import KEY, NOTHING, Requested
from parity.errors import ParityError
from parity.extras import install
from parity.numerics.arrays import Array
from parity.onnx_files import runtime
from parity.picture import IMAGENET, Preparation, load_array, load_picture, pictures_in
from parity.temporary import temporary_folder

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir

PRECISIONS = ("fp16", "int8")
_LARGEST_HALF = 65504.0
OnProgress = Callable[[str, int, int], None]  # called with the name of the step, how much is done, the total


def lower(
    source: Path,
    target: Path,
    precision: str,
    calibrate: Path | None = None,
    threads: int = 1,
    rounds: int = 15,
    requested: Requested = NOTHING,
    on_progress: OnProgress | None = None,
) -> Report:
    """Write `source` in a lower precision to `target`; inputs and outputs stay float32.

    Args:
        source: A float32 ONNX file that takes pictures.
        target: Path of the new file.
        precision: "fp16", or "int8": static, weights by channel, activations unsigned (signed gain nothing on x86).
        calibrate: A folder of pictures, or a .npy array of inputs (N, C, H, W). int8 takes the ranges of its
            activations from every second one, and the report is measured on the others. fp16 does not need them:
            without, its report is measured on the project's photograph, turned and mirrored.
        threads: Number of threads for calibration and timing.
        rounds: Number of timings of each file.
        requested: How pictures are prepared; by default as the file states it.
        on_progress: Called as OnProgress says.

    Raises:
        ParityError: If the file or the pictures cannot be used, or int8 has no pictures; then nothing is written.
    """
    from parity.onnx_files import model_file

    check(precision, calibrate)
    progress = on_progress or (lambda step, done, total: None)
    full = Classifier.open(source, "cpu", threads, requested)
    images = load_images((full.channels, full.height, full.width), calibrate, full.prepared.preparation, progress)
    ranges, judged = _split(images, precision, full)
    metadata = {entry.key: entry.value for entry in model_file.read(source, strict=False).metadata_props}
    with atomic(target) as part:
        # Both rewriters log many warnings; what matters is in the report.
        runtime.import_onnxruntime().set_default_logger_severity(4)
        try:
            progress("rewrites the file", 0, 1)
            single = (_int8 if precision == "int8" else _fp16)(source, part, ranges, full, progress)
            model_file.check(part, f"{source}: the {precision} file", strict=False)
        except ParityError:
            raise
        except Exception as error:  # the quantiser has no exception of its own
            raise ParityError(f"{source}: cannot be brought to {precision}: {runtime.reason(error)}") from error
        low, batch = Classifier.open(part, "cpu", threads), full.batch or 1
        evaluated = _in_halves(part, threads) if precision == "fp16" else low
        measured = report(precision, full, low, evaluated, judged, source, part, rounds, progress)
        measured = replace(
            measured,
            judged_on="the project's photograph, turned and mirrored" if calibrate is None else str(calibrate),
            calibrated=len(ranges) // batch * batch if precision == "int8" else 0,
            held_out=ranges is not judged,
            float32_nodes=single,
        )
        _describe(part, metadata, measured)
        return replace(measured, size=part.stat().st_size / source.stat().st_size)


def _split(images: Array, precision: str, full: Classifier) -> tuple[Array, Array]:
    """Return the pictures to calibrate on and those to judge on: every second one each, since folders are sorted.

    Raises:
        ParityError: If there are fewer than one batch of the file.
    """
    if precision != "int8":
        return images, images
    n = full.batch or 1
    if len(images) < n:
        raise ParityError(f"{full.name}: takes {n} pictures at a time; to calibrate on there are {len(images)}")
    if len(images) < 2 * n:
        return images, images
    return images[::2], images[1::2]


def check(precision: str, calibrate: Path | None) -> None:
    """Check the precision, and that int8 has pictures.

    Raises:
        ParityError: If the precision is unknown, or int8 has none.
    """
    if missing := [name for name in ("onnx", "onnxruntime") if find_spec(name) is None]:
        raise ParityError(f"{' and '.join(missing)} is not installed: {install('onnx')}")
    if precision not in PRECISIONS:
        raise ParityError(f"unknown precision {precision!r}; known: {', '.join(PRECISIONS)}")
    if precision == "int8" and calibrate is None:
        raise ParityError("int8 takes the ranges of its activations from pictures: give --calibrate FOLDER or FILE.npy")


# Metadata of the float32 file that also holds for a file made from it.
_INHERITED = ("framework", "framework_version", "model", "weights", "state_sha256", "commit", "opset")


def _describe(path: Path, metadata: Mapping[str, str], report: Report) -> None:
    """Replace a file's metadata, the proof of the float32 file, by what it was made from and the report."""
    import onnx

    model = onnx.load(path)
    del model.metadata_props[:]
    entries = {f"parity.{word}": metadata[f"parity.{word}"] for word in _INHERITED if f"parity.{word}" in metadata}
    entries |= {"parity.made_from": metadata.get("parity.canonical_sha256", ""), "parity.precision": report.precision}
    entries |= {key: value for key, value in metadata.items() if key.startswith(KEY)}
    entries |= {f"parity.{word}": f"{getattr(report, word):.4g}" for word in ("images", "top1", "worst", "mean")}
    onnx.helper.set_model_props(model, {key: value for key, value in entries.items() if value})
    onnx.save(model, path)


def load_images(
    shape: tuple[int, int, int],
    source: Path | None,
    preparation: Preparation = IMAGENET,
    progress: OnProgress = lambda step, done, total: None,
) -> Array:
    """Return pictures to calibrate on, (N, C, H, W) float32; without a source, the project's own, turned and mirrored.

    Args:
        shape: (C, H, W) of one picture.
        source: A folder of pictures or a .npy array.
        preparation: How pictures are prepared; an array is taken as it is.
        progress: Called as OnProgress says.

    Raises:
        ParityError: If they cannot be read, have another shape, or are not finite.
    """
    if source is None:
        picture = load_picture(None, *shape, preparation)
        turned = [picture, picture[..., ::-1], picture[..., ::-1, :], picture[..., ::-1, ::-1]]
        return np.ascontiguousarray(np.concatenate(turned))
    if source.suffix != ".npy":
        pictures = list[Array]()
        for path in (paths := pictures_in([source])):
            pictures.append(load_picture(str(path), *shape, preparation))
            progress("reads pictures", len(pictures), len(paths))
        return np.concatenate(pictures)
    array = load_array(source, "--calibrate")
    if array.dtype.kind != "f" or array.shape[1:] != shape or not len(array):
        raise ParityError(f"--calibrate {source}: {array.dtype} of shape {array.shape}; give floats of (N, {shape[0]}, "
                          f"{shape[1]}, {shape[2]})")  # fmt: skip
    if not np.isfinite(array).all():
        raise ParityError(f"--calibrate {source}: holds NaN or infinity; a range needs finite numbers")
    return array


def _fp16(source: Path, target: Path, images: Array, full: Classifier, progress: OnProgress) -> tuple[str, ...]:
    import onnx
    import onnx_ir as ir
    from onnxruntime.transformers.float16 import convert_float_to_float16

    model = onnx.load(source)
    for i, node in enumerate(model.graph.node):
        node.name = node.name or f"{node.op_type}_{i}"  # the converter is told by name which nodes it may not touch
    single = _beyond_half(model, images, progress)
    half = ir.from_proto(convert_float_to_float16(model, keep_io_types=True, node_block_list=list(single)))
    _join_single(half.graph)
    half.graph.sort()  # the converter appends its casts, in whatever order
    onnx.save(ir.to_proto(half), target)
    return single


def _in_halves(path: Path, threads: int) -> Classifier:
    """Return the classifier of a half-precision file that rounds each result to half precision."""
    import onnx

    from parity.onnx_files.halves import rounded
    from parity.onnx_files.model_file import write

    with temporary_folder() as folder:
        write(rounded(onnx.load(path)), folder / path.name)
        return Classifier.open(folder / path.name, "cpu", threads)


def _join_single(graph: ir.Graph) -> None:
    """Let neighbours that stay in float32 read each other: the converter casts to half and back between them."""
    import onnx_ir as ir

    for node in list(graph):
        half = node.inputs[0] if node.op_type == "Cast" else None
        before = half.producer() if half is not None else None
        source = before.inputs[0] if before is not None and before.op_type == "Cast" else None
        if half is None or before is None or source is None or source.dtype != ir.DataType.FLOAT:
            continue
        if node.attributes["to"].as_int() == ir.DataType.FLOAT and half.dtype != ir.DataType.FLOAT:
            node.outputs[0].replace_all_uses_with(source)
            graph.remove(node, safe=True)
            if not half.uses():
                graph.remove(before, safe=True)


def _beyond_half(model: onnx.ModelProto, images: Array, progress: OnProgress) -> tuple[str, ...]:
    """Return the names of nodes that read or write numbers beyond half precision's range in the float32 run.

    A CPU runtime computes half precision in float32, so a run of the new file would not show that they overflow.
    """
    import onnx

    from parity.onnx_files.model_file import write

    outputs = len(model.graph.output)
    names = [name for node in model.graph.node for name in node.output if name]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    try:
        with temporary_folder() as folder:
            write(model, folder / "exposed.onnx")
            exposed = Classifier.open(folder / "exposed.onnx", "cpu", 1)
            beyond = set[str]()
            for batch in _batches(exposed, images, progress):
                arrays = exposed.session.run(names, batch)
                beyond |= {
                    name
                    for name, array in zip(names, arrays, strict=True)
                    if array.dtype.kind == "f" and np.abs(array).max(initial=0.0) > _LARGEST_HALF
                }
    finally:
        del model.graph.output[outputs:]
    beyond |= {
        tensor.name
        for tensor in model.graph.initializer
        if (array := onnx.numpy_helper.to_array(tensor)).dtype.kind == "f"
        and np.abs(array).max(initial=0.0) > _LARGEST_HALF
    }
    return tuple(node.name for node in model.graph.node if beyond & {*node.input, *node.output})


def _int8(source: Path, target: Path, images: Array, full: Classifier, progress: OnProgress) -> tuple[str, ...]:
    import logging

    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.rows = _batches(full, images, progress)

        def get_next(self) -> Any:
            return next(self.rows, None)

    logging.getLogger().setLevel(logging.ERROR)  # the quantiser uses the root logger
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
    return ()


def _batches(full: Classifier, images: Array, progress: OnProgress) -> Iterator[dict[str, Array]]:
    n = full.batch or 1
    for start in range(0, len(images), n):
        batch = images[start : start + n]
        if len(batch) == n:  # zeros for padding would add ranges that no picture has
            yield full.feed(batch)
            progress("reads ranges", start + n, len(images))


def report(
    precision: str,
    full: Classifier,
    low: Classifier,
    judged: Classifier,
    images: Array,
    full_path: Path,
    low_path: Path,
    rounds: int,
    progress: OnProgress,
) -> Report:
    """Return how the outputs, size and speed of the file of lower precision compare with the full one.

    `low` is timed. `judged` is the same file in a form whose outputs are those of its precision.

    Raises:
        ParityError: If either cannot be run, or the outputs in lower precision are not finite.
    """
    n = full.batch or 8
    batches = [images[start : start + n] for start in range(0, len(images), n)]
    expected = np.concatenate([full.logits(batch) for batch in batches]).astype(np.float64)
    actual = np.concatenate([judged.logits(batch) for batch in batches]).astype(np.float64)
    if not np.isfinite(actual).all():
        raise ParityError(
            f"{full.name}: in {precision} its outputs are not finite: its numbers exceed the format's range"
        )
    gap = np.abs(actual - expected) / np.sqrt(np.mean(expected**2))
    full_seconds, low_seconds = list[float](), list[float]()
    for done in range(rounds + 1):
        progress("times", done, rounds)
        for classifier, seconds in ((full, full_seconds), (low, low_seconds)):
            start = time.perf_counter()
            _ = classifier.logits(images[:1])
            seconds.append(time.perf_counter() - start)
    return Report(
        precision=precision,
        images=len(images),
        judged_on="",
        calibrated=0,
        held_out=True,
        top1=float(np.mean(actual.argmax(axis=1) == expected.argmax(axis=1))),
        worst=float(gap.max()),
        mean=float(gap.mean()),
        size=low_path.stat().st_size / full_path.stat().st_size,
        speed=statistics.median(full_seconds[1:]) / statistics.median(low_seconds[1:]),  # the first is a warm-up
    )
