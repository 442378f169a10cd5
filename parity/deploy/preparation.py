"""How a file's pictures are prepared: as asked for, as a configuration or the file's metadata state, or ImageNet's way.

Configurations are those of other projects: `preprocessor_config.json` (transformers), `config.json` (timm).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypedDict

from parity.deploy.configurations import configured
from parity.errors import ParityError
from parity.picture import IMAGENET, Preparation
from parity.zoo import NETWORKS

KEY = "parity.picture."
_BESIDE = ("preprocessor_config.json", "config.json")
# The training pictures of CIFAR-10, as the DenseNets were trained (fb.resnet.torch, datasets/cifar10.lua).
_CIFAR = Preparation((0.4914, 0.4824, 0.4467), (0.2471, 0.2435, 0.2616))


@dataclass(frozen=True)
class Requested:
    """What a user asks for; the rest is as the file states it.

    Attributes:
        settings: Of a `Preparation`, by its names.
        config: A preprocessor_config.json of transformers, or a config.json of timm.
    """

    settings: Mapping[str, Any] = field(default_factory=dict)
    config: Path | None = None


NOTHING = Requested()


class PictureOptions(TypedDict, total=False):
    """What a user may ask for, in the words of the command line; what is left out is as the file states it.

    Attributes:
        mean: One number or three, subtracted in the order and range that the network takes; text has commas.
        std: Likewise; the pixels are divided by it.
        channels: "rgb" or "bgr".
        range: "0..1" or "0..255".
        size: H or (H, W) in pixels, where the network does not fix it.
        crop: The part of each side that is cut out of the resized picture, 0 to 1; 0.875 is 224 of 256.
        resize_mode: "crop" keeps the picture's shape and cuts out the middle, "stretch" does not keep it.
        interpolation: "nearest", "bilinear", "bicubic", "lanczos", "box", "hamming".
        preprocessor: A preprocessor_config.json of transformers, or a config.json of timm.
    """

    mean: str | float | Sequence[float] | None
    std: str | float | Sequence[float] | None
    channels: str | None
    range: str | None
    size: str | int | tuple[int, int] | None
    crop: float | None
    resize_mode: str | None
    interpolation: str | None
    preprocessor: str | Path | None


def requested(options: PictureOptions) -> Requested:
    """Return what a user asks for.

    Raises:
        ParityError: If a word or number is none that is known; the message names the option.
    """
    given: Mapping[str, object] = options
    settings = dict[str, Any]()
    for word, (name, parse) in _SETTINGS.items():
        if (value := given.get(word)) is None:
            continue
        try:
            settings[name] = value if parse is None else parse(_text(value))
            _ = replace(Preparation(), **{name: settings[name]})
        except ValueError as error:
            raise ParityError(f"--{word.replace('_', '-')}: {error}") from error
    config = options.get("preprocessor")
    return Requested(settings, None if config is None else Path(config))


def _text(value: Any) -> str:
    """Return an option's value, a number or several, as text."""
    return ",".join(map(str, value)) if isinstance(value, Sequence) and not isinstance(value, str) else str(value)


@dataclass(frozen=True)
class Prepared:
    """A preparation and where it is from.

    Attributes:
        preparation: The preparation.
        origin: "the file's metadata", "--mean; the rest: ImageNet's, by default", ...; "" if nothing states it.
    """

    preparation: Preparation
    origin: str

    def describe(self, channels: int, height: int, width: int) -> str:
        """Return one line: the order, range, mean and deviation, how the size is reached, and where that is from."""
        made = self.preparation
        order = "grey" if channels == 1 else made.channels.upper()
        mean, std = _shown(made.mean, channels), _shown(made.std, channels)
        plain = (mean, std) == ("0", "1")
        normalised = "no mean or deviation" if plain else f"mean {mean}, std {std}"
        before = tuple(round(length / made.crop) for length in (height, width))
        cut = f", {height}x{width} cut from the middle" if before != (height, width) or made.resize == "crop" else ""
        scaled = f"shorter side to {min(before)}" if made.resize == "crop" else f"stretched to {before[0]}x{before[1]}"
        origin = self.origin or "by default, ImageNet's way: nothing states another (--mean, --std, --channels, ...)"
        return f"{order}, 0..{made.white:g}, {normalised}; {scaled} ({made.interpolation}){cut}; {origin}"


def _shown(numbers: tuple[float, ...], channels: int) -> str:
    if channels == 1 and len(numbers) > 1:
        numbers = (math.fsum(numbers) / len(numbers),)
    same = numbers[:1] if len(set(numbers)) == 1 else numbers
    return ",".join(f"{number:.6g}" for number in same)


def prepared(path: Path, metadata: Mapping[str, str], requested: Requested = NOTHING) -> Prepared:
    """Return how pictures for a file are prepared.

    What is asked for comes first; the rest is from the configuration given, the file's metadata, a configuration beside
    the file, or else ImageNet's.

    Args:
        path: The ONNX file.
        metadata: Its own.
        requested: What the user asks for.

    Raises:
        ParityError: If a configuration cannot be read, or asks for what is not done here.
    """
    base = _stated(requested.config) if requested.config is not None else _from_metadata(metadata, path)
    base = base or _beside(path, requested)
    return asked(base or Prepared(IMAGENET, ""), requested)


def _beside(path: Path, requested: Requested) -> Prepared | None:
    """Return what a configuration beside a file states; one that cannot be used does not matter if the user says how.

    Raises:
        ParityError: If it cannot be used, and the user does not say how.
    """
    for each in (path.parent / name for name in _BESIDE):
        if not each.is_file():
            continue
        try:
            found = configured(each)
        except ParityError:
            if not requested.settings:
                raise
            continue
        if found is not None:
            return _from(each, found)
    return None


def asked(base: Prepared, requested: Requested) -> Prepared:
    """Return a preparation with what the user asks for in its place.

    A mean and deviation hold for one range: another range has none, unless they are given too.
    """
    settings = requested.settings
    if not settings:
        return base
    made = base.preparation
    if settings.get("white", made.white) != made.white:
        made = replace(made, mean=(0.0,), std=(1.0,))
    if settings.get("channels", made.channels) != made.channels:
        made = replace(made, mean=made.mean[::-1], std=made.std[::-1])
    given = ", ".join(f"--{word.replace('_', '-')}" for word, (name, _) in _SETTINGS.items() if name in settings)
    rest = base.origin or "ImageNet's, by default"
    return Prepared(replace(made, **settings), f"as {given} {'say' if len(settings) > 1 else 'says'}, the rest: {rest}")


def published(network: str) -> Preparation | None:
    """Return how the pictures of a zoo network are prepared for the weights that are published; None for others.

    ImageNet's networks take ImageNet's mean; those of the book *Dive into Deep Learning*, grey, have none.
    """
    if network not in NETWORKS:
        return None
    _, channels, height, width = NETWORKS[network].input
    if channels == 1:
        return Preparation(size=(height, width))
    return replace(_CIFAR if height == 32 else IMAGENET, size=(height, width))


def preparation_of(network: str, shape: tuple[int, int, int], requested: Requested) -> Preparation | None:
    """Return how pictures are prepared for a network that is exported; None if nobody states it.

    Args:
        network: A zoo name; "" for another network.
        shape: (C, H, W) of its image.
        requested: What the user asks for.

    Raises:
        ParityError: If the configuration that is asked for cannot be read, or the network does not take colours.
    """
    if shape[0] not in (1, 3):
        if requested != NOTHING:
            raise ParityError(f"the network takes {shape[0]} channels, not pictures: give no --mean, --std, ...")
        return None
    base = published(network)
    if base is None and requested == NOTHING:
        return None
    made = Prepared(base or IMAGENET, "")
    if requested.config is not None:
        made = _stated(requested.config)
    return replace(asked(made, requested).preparation, size=shape[1:])


def as_metadata(preparation: Preparation) -> dict[str, str]:
    """Return a preparation as an ONNX file's metadata."""
    made = preparation
    entries = {
        "mean": ",".join(f"{number:.9g}" for number in made.mean),
        "std": ",".join(f"{number:.9g}" for number in made.std),
        "channels": made.channels,
        "range": f"0..{made.white:.9g}",
        "resize": made.resize,
        "crop": f"{made.crop:.9g}",
        "interpolation": made.interpolation,
        "size": "" if made.size is None else ",".join(map(str, made.size)),
    }
    return {f"{KEY}{name}": value for name, value in entries.items() if value}


def _from_metadata(metadata: Mapping[str, str], path: Path) -> Prepared | None:
    entries = {key.removeprefix(KEY): value for key, value in metadata.items() if key.startswith(KEY)}
    if not entries:
        return None
    words = {word: entries[word] for word in ("channels", "resize", "interpolation") if word in entries}
    try:
        made = Preparation(
            mean=parse_numbers(entries.get("mean", "0")),
            std=parse_numbers(entries.get("std", "1")),
            white=parse_range(entries.get("range", "0..1")),
            crop=float(entries.get("crop", "1")),
            size=parse_size(entries["size"]) if "size" in entries else None,
            **words,
        )
    except ValueError as error:
        raise ParityError(f"{path}: its metadata {KEY}*: {error}") from error
    return Prepared(made, "from the file's metadata")


def parse_numbers(text: str) -> tuple[float, ...]:
    """Return numbers that commas separate, one or three.

    Raises:
        ValueError: If they are not.
    """
    try:
        numbers = tuple(map(float, text.split(",")))
    except ValueError:
        numbers = ()
    if len(numbers) not in (1, 3) or not all(map(math.isfinite, numbers)):
        raise ValueError(f"{text!r}: give one number, or three with commas: 0.485,0.456,0.406")
    return numbers


def parse_range(text: str) -> float:
    """Return the value of white of a range such as 0..255.

    Raises:
        ValueError: If it is no range that starts at 0.
    """
    match = re.fullmatch(r"0\.\.(\d+(?:\.\d+)?)", text)
    if match is None or float(match[1]) == 0:
        raise ValueError(f"{text!r}: give 0..1 or 0..255; -1..1 is 0..1 with mean 0.5 and std 0.5")
    return float(match[1])


def parse_size(text: str) -> tuple[int, int]:
    """Return the (height, width) of "224" or "224,320".

    Raises:
        ValueError: If it is not one or two numbers of pixels.
    """
    match = re.fullmatch(r"(\d{1,5})(?:,(\d{1,5}))?", text)
    size = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if min(size) < 1:
        raise ValueError(f"{text!r}: give H or H,W in pixels: 224 or 224,320")
    return size


# Of each of `PictureOptions`: the setting of a `Preparation`, and what reads it from text.
_SETTINGS: Mapping[str, tuple[str, Callable[[str], Any] | None]] = {
    "mean": ("mean", parse_numbers),
    "std": ("std", parse_numbers),
    "channels": ("channels", None),
    "range": ("white", parse_range),
    "size": ("size", parse_size),
    "crop": ("crop", None),
    "resize_mode": ("resize", None),
    "interpolation": ("interpolation", None),
}


def _stated(path: Path) -> Prepared:
    """Return what a configuration that the user names states."""
    found = configured(path)
    if found is None:
        raise ParityError(f"{path}: neither a preprocessor_config.json of transformers nor a config.json of timm")
    return _from(path, found)


def _from(path: Path, preparation: Preparation) -> Prepared:
    return Prepared(preparation, f"from {path.name}")
