"""The verbs of the command line as functions, in the same words: for scripts, notebooks and tests.

A network is a live torch.nn.Module or paddle.nn.Layer, or the text that the command line takes: a zoo name,
"torch:FILE.py:callable", "paddle:MODULE:callable".
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from parity.errors import ParityError, in_layer
from parity.extras import install

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from parity.analysis.lint import Finding
    from parity.analysis.summary import Summary
    from parity.deploy.classify import Predictions
    from parity.deploy.exported import Exported
    from parity.deploy.preparation import PictureOptions


class LiveNetwork(Protocol):
    """A live network: what torch.nn.Module and paddle.nn.Layer have in common."""

    training: bool

    def eval(self) -> Any: ...  # noqa: D102
    def state_dict(self) -> Any: ...  # noqa: D102


def export(
    network: LiveNetwork | str,
    out: str | Path,
    *,
    only: Literal["torch", "paddle"] | None = None,
    name: str | None = None,
    weights: str = "auto",
    layout: Literal["torch", "paddle"] | None = None,
    seed: int = 0,
    num_classes: int | None = None,
    shape: Sequence[int] | None = None,
    opset: int = 18,
    dynamic_size: bool = False,
    raw: bool = False,
    precision: Sequence[str] = (),
    calibrate: str | Path | None = None,
    threads: int | None = None,
    timeout: float = 900.0,
    **pictures: Unpack[PictureOptions],
) -> tuple[Exported, ...]:
    """Write a network as ONNX and return the proof of each file; one that is not the network is not written.

    Args:
        network: Live, or as text. A live one is exported, from a copy on the CPU, in this process with its own weights;
            paddle2onnx ends a process where it cannot go on, which text, exported by a process of its own, survives.
        out: Folder for the files, NAME.torch.onnx and NAME.paddle.onnx.
        only: Export from this framework only (`--from`).
        name: NAME of the files; by default that of the zoo, the callable or the class.
        weights: "auto", "random", "own" or a file, as on the command line; a live network keeps its own.
        layout: Orientation of the Linear weights of a .safetensors file that does not show it.
        seed: Seed of random weights.
        num_classes: Outputs of a zoo network.
        shape: (C, H, W) of the image; by default the published one, or (3, 224, 224).
        opset: Version of ONNX's operators.
        dynamic_size: Leave height and width open.
        raw: Write the exporter's own graph.
        precision: "fp16", "int8": also write NAME.SIDE.PRECISION.onnx.
        calibrate: A folder of pictures, or a .npy file of inputs, for these.
        threads: Of each computing process; by default half the machine's cores.
        timeout: Seconds for each step of the work.
        pictures: How pictures are prepared for the network, kept in the files' metadata; see `PictureOptions`.

    Raises:
        ParityError: If it cannot be exported, or a file cannot be written.

    Example:
        >>> import tempfile
        >>> from torch import nn
        >>> network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten()).eval()
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     (file,) = export(network, folder, name="tiny", shape=(3, 8, 8), mean=0.5, std=0.5)
        ...     file.ok, file.path.name, file.layers
        (True, 'tiny.torch.onnx', (3, 3))
    """
    from parity.atomic import make_folder
    from parity.deploy.preparation import preparation_of, requested
    from parity.processes.live_worker import LiveWorkers
    from parity.processes.models import Model, file_stem, parse_export, settled_weights
    from parity.processes.pool import Options, Workers, fair_share
    from parity.runs.live import backend_of
    from parity.zoo import NETWORKS

    try:
        from parity.deploy.export import Request, export_models
    except ImportError as error:
        raise ParityError(f"{error}. {install('onnx')}") from error
    count = threads or fair_share()
    workers: Workers
    if isinstance(network, str):
        usual, models = parse_export(network, only)
        settled = settled_weights(weights, models)
        workers = Workers(
            Options(
                weights=settled,
                layout=layout,
                seed=seed,
                device="cpu",
                threads=count,
                timeout=timeout,
                num_classes=num_classes,
            )
        )
    else:
        if weights not in ("auto", "own") or num_classes is not None:
            raise ParityError("a live network has its weights and classes: give no weights or num_classes")
        usual, backend = type(network).__name__, backend_of(network).NAME
        models = (Model(backend, f"live:{usual}"),)
        workers = LiveWorkers(backend, network, Options("own", device="cpu", threads=count, timeout=timeout))
    published = NETWORKS[models[0].target] if models[0].twin else None
    size = _size(shape, (3, 224, 224) if published is None else published.input[1:])
    asked = preparation_of(published.name if published else "", size, requested(pictures))
    stem = file_stem(name) if name is not None else usual
    make_folder(Path(out))
    source = None if calibrate is None else Path(calibrate)
    request = Request(
        Path(out),
        size,
        opset,
        dynamic_size,
        raw=raw,
        precisions=tuple(precision),
        calibrate=source,
        preparation=asked,
    )
    with workers:
        return tuple(export_models(stem, models, request, workers.options, workers))


def _size(shape: Sequence[int] | None, published: tuple[int, int, int]) -> tuple[int, int, int]:
    if shape is None:
        return published
    if len(shape) != 3 or min(shape) < 1:
        raise ParityError(f"shape {tuple(shape)}: C,H,W, each at least 1; 3,224,224 for a colour picture")
    channels, height, width = shape
    return channels, height, width


def summary(
    network: LiveNetwork | str,
    input: str | Sequence[int] | None = None,
    *,
    num_classes: int | None = None,
    depth: int | None = None,
) -> Summary:
    """Return a network's layers and their cost: kernels, shapes, parameters, MACs, activations, receptive fields.

    Args:
        network: Live, or as text; it runs once, and is as it was afterwards.
        input: Shape of its input, (N, C, H, W) or "N,C,H,W"; by default the published one, or (1, 3, 224, 224).
        num_classes: Outputs of a zoo network.
        depth: One row for each path of this many parts; by default one for each layer call.

    Raises:
        ParityError: If the network cannot take the input, or calls no layer.

    Example:
        >>> from torch import nn
        >>> result = summary(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), (1, 3, 8, 8))
        >>> result.output, result.parameters, result.macs, [row.kind for row in result.rows]
        ((1, 4, 6, 6), 112, 3888, ['Conv2d', 'ReLU'])
    """
    from parity.analysis.outline import outline
    from parity.analysis.summary import summarise
    from parity.backends.given import taken
    from parity.picture import parse_shape
    from parity.processes import questions
    from parity.processes.models import parse_single
    from parity.processes.pool import Options, Workers, fair_share
    from parity.runs.live import backend_of

    shape = input if input is None or isinstance(input, str) else ",".join(map(str, input))
    if isinstance(network, str):
        chosen, options = parse_single(network), Options(num_classes=num_classes, threads=fair_share())
        with Workers(options) as workers:
            outlined = questions.outline(chosen, shape, options, workers)
        return summarise(network, chosen.backend, outlined, depth)
    if num_classes is not None:
        raise ParityError("num_classes is for networks of the zoo; a live network has its own")
    usual = 1, 3, 224, 224
    with taken(network) as given:
        name, backend = type(given.network).__name__, backend_of(given.network)
        try:
            outlined = outline(backend, given.network, usual if shape is None else parse_shape(shape, usual))
        except ParityError:
            raise
        except Exception as error:  # of the network's own code
            raise in_layer(name, error) from error
    return summarise(name, backend.NAME, outlined, depth)


def lint(network: LiveNetwork | str, input: str | Sequence[int] | None = None) -> tuple[Finding, ...]:
    """Return the known traps of a network's layers: settings that mean something else in the other framework, or ONNX.

    Args:
        network: Live, or as text; a zoo name stands for both twins.
        input: Shape of an input to run it on, (N, C, H, W) or "N,C,H,W", so that the functions that it calls are read
            too; None runs nothing.

    Raises:
        ParityError: If it cannot be built, or cannot take the input.

    Example:
        >>> from torch import nn
        >>> for finding in lint(nn.Sequential(nn.Conv2d(3, 4, 3), nn.AvgPool2d(3, padding=1))):
        ...     print(finding.level, finding.layer, finding.kind, finding.trap)
        warning 1 AvgPool2d padding=[1, 1], count_include_pad=True
    """
    from parity.analysis.described import described
    from parity.analysis.lint import lint as traps
    from parity.backends.given import taken
    from parity.picture import parse_shape
    from parity.processes.models import parse_model, parse_pair
    from parity.processes.pool import Options, Workers
    from parity.processes.questions import describe_models
    from parity.runs.live import backend_of

    shape = input if input is None or isinstance(input, str) else ",".join(map(str, input))
    if isinstance(network, str):
        models = (parse_model(network),) if ":" in network else parse_pair(network, None)[1]
        with Workers(Options()) as workers:
            layers = describe_models(models, workers, shape)
    else:
        size = () if shape is None else parse_shape(shape, (1, 3, 224, 224))
        with taken(network) as given:
            layers = [described(backend_of(given.network), given.network, size)]
    return tuple(dict.fromkeys(finding for each in layers for finding in traps(each)))


def predict(
    model: str | Path,
    pictures: str | Path | Sequence[str | Path],
    *,
    labels: str | Path | Sequence[str] | None = None,
    top: int = 5,
    batch: int = 8,
    device: Literal["auto", "cpu", "gpu", "cuda", "tensorrt"] = "auto",
    threads: int | None = None,
    **preparation: Unpack[PictureOptions],
) -> Predictions:
    """Return the most likely classes of pictures by an ONNX file; needs only onnxruntime, numpy and pillow.

    Args:
        model: The ONNX file.
        pictures: Pictures, or folders of them.
        labels: Names of the classes, or the file that has them.
        top: Number of classes for each picture.
        batch: Pictures at a time, where the file takes any number.
        device: Where to run.
        threads: By default half the machine's cores.
        preparation: How pictures are prepared, see `PictureOptions`; by default as the file's metadata, or a
            configuration beside it, states, else ImageNet's way. The result says which.

    Raises:
        ParityError: If the file, a picture or the names cannot be used.

    Example:
        >>> import tempfile
        >>> from torch import nn
        >>> photograph = Path(__file__).with_name("astronaut.png")
        >>> network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     (file,) = export(network, folder, shape=(3, 8, 8), mean=0.5, std=0.5)
        ...     found = predict(file.path, photograph, labels=["a", "b", "c", "d"], top=1)
        >>> found.preparation
        "RGB, 0..1, mean 0.5, std 0.5; shorter side to 9 (bilinear), 8x8 cut from the middle; from the file's metadata"
        >>> len(found.pictures[0].classes)
        1
    """
    from parity.deploy import classify
    from parity.deploy.preparation import requested
    from parity.processes.pool import fair_share

    if min(top, batch) < 1:
        raise ParityError(f"top {top}, batch {batch}: each at least 1")
    paths = [Path(path) for path in ([pictures] if isinstance(pictures, (str, Path)) else pictures)]
    if not paths:
        raise ParityError("pictures: none was given")
    names = classify.read_labels(Path(labels)) if isinstance(labels, (str, Path)) else labels
    asked = requested(preparation)
    batches = list(classify.predict(Path(model), paths, names, top, batch, device, threads or fair_share(), asked))
    return classify.Predictions(batches[0].preparation, tuple(each for part in batches for each in part.pictures))
