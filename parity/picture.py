"""The input of a run: a picture, an array, or a shape, as the float32 array a network takes."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from parity.errors import ParityError
from parity.numerics.arrays import Array
from parity.numerics.fixed_random import example

if TYPE_CHECKING:
    from PIL.Image import Image

INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos", "box", "hamming")


@dataclass(frozen=True)
class Preparation:
    """How a picture becomes a network's input.

    Attributes:
        mean: Subtracted from each channel, in the order of `channels`; or one number for all.
        std: Divides each channel after that; or one number for all.
        channels: "rgb" or "bgr"; a grey network has no order.
        white: Value of a white pixel before `mean` and `std`; that of a black one is 0.
        resize: "crop" keeps the picture's shape and cuts out the middle; "stretch" gives it the input's shape.
        crop: The part of each side that is cut out of the resized picture, 0 to 1.
        interpolation: One of INTERPOLATIONS.
        size: (height, width) in pixels of the input, where the network does not fix it; None if not known.
    """

    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    channels: str = "rgb"
    white: float = 1.0
    resize: str = "crop"
    crop: float = 1.0
    interpolation: str = "bilinear"
    size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        """Raise ValueError, with the reason, where it cannot be carried out."""
        for what, value, known in (
            ("channels", self.channels, ("rgb", "bgr")),
            ("resize mode", self.resize, ("crop", "stretch")),
            ("interpolation", self.interpolation, INTERPOLATIONS),
        ):
            if value not in known:
                raise ValueError(f"unknown {what} {value!r}; known: {', '.join(known)}")
        if {len(self.mean), len(self.std)} - {1, 3}:
            raise ValueError("mean and std are one number, or one for each of three channels")
        if not all(map(math.isfinite, (*self.mean, *self.std))) or 0 in self.std:
            raise ValueError("mean and std are finite, and std is not 0")
        if not 0.01 <= self.crop <= 1 or not 0 < self.white < math.inf:
            raise ValueError("crop is a part of a side, 0.01 to 1, and the range ends above 0")


# Channel means and deviations of ImageNet's training pictures, as torchvision and PaddleClas use them; 256 for 224 is
# their usual margin.
IMAGENET = Preparation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), crop=224 / 256)

_LARGE = 1 << 26  # pixels
_REACH = {"bilinear": 2, "bicubic": 3, "lanczos": 4}  # pixels that a filter reads around one, and one more
_SHAPE = re.compile(r"-?\d+(,-?\d+)*")


def parse_shape(text: str, fitting: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    """Return the shape in `text`, N,C,H,W; `fitting` is an example for the message.

    Raises:
        ParityError: If it is not a shape, or an empty one.
    """
    numbers = tuple(map(int, text.split(","))) if _SHAPE.fullmatch(text) else ()
    if len(numbers) != 4 or min(numbers) < 1:
        example = ",".join(map(str, fitting))
        raise ParityError(f"--input {text}: a shape is N,C,H,W, each at least 1; for example {example}")
    return numbers


def load_input(source: str | None, shape: tuple[int, int, int, int] | None) -> Array:
    """Return the input as (N, C, H, W) float32, or an array file's own shape.

    Args:
        source: A picture, a .npy file, "N,C,H,W" for fixed pseudo-random numbers of that shape, or None for the
            photograph that comes with the project.
        shape: Input shape of the network; (1, 3, 224, 224) if it is not known.

    Raises:
        ParityError: If it cannot be read, is empty, or its number of channels is not the network's.
    """
    n, channels, height, width = shape or (1, 3, 224, 224)
    if source is not None and _SHAPE.fullmatch(source):
        numbers = parse_shape(source, (n, channels, height, width))
        try:
            array = example(numbers)
        except (MemoryError, OverflowError, ValueError) as error:
            raise ParityError(f"--input {source}: too large for this machine: {error}") from error
    elif source is not None and source.endswith(".npy"):
        array = load_array(Path(source), "--input")
    else:
        if channels not in (1, 3):
            raise ParityError(
                f"a picture has 1 or 3 channels, the network takes {channels}: give --input N,{channels},H,W"
            )
        try:
            array = np.repeat(load_picture(source, channels, height, width), n, axis=0)
        except ParityError as error:
            raise ParityError(f"--input {error}, a .npy file, or N,C,H,W") from error
    if array.size == 0:
        raise ParityError(f"--input {source}: shape {array.shape} has no elements; a batch needs at least one image")
    if shape is not None and array.ndim == 4 and array.shape[1] != channels:
        raise ParityError(
            f"--input {source}: {array.shape[1]} channels (shape {array.shape}), the network takes {channels}"
        )
    return array


def load_array(path: Path, option: str) -> Array:
    """Return the numbers of a .npy file, floating ones as float32.

    Raises:
        ParityError: If it cannot be read; the message names the option.
    """
    try:
        array = np.load(path, allow_pickle=False)
    except OSError as error:
        raise ParityError(f"{option} {path}: cannot read: {error.strerror or error}") from error
    except Exception as error:  # a damaged header can raise any exception
        raise ParityError(f"{option} {path}: not a .npy file of numbers: {error}") from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        raise ParityError(f"{option} {path}: not a .npy file of numbers")
    return array.astype(np.float32 if array.dtype.kind == "f" else array.dtype.newbyteorder("="))


def load_picture(
    path: str | None, channels: int, height: int, width: int, preparation: Preparation = IMAGENET
) -> Array:
    """Return one picture as (1, C, H, W) float32, prepared.

    Args:
        path: A picture; None for the photograph that comes with the project.
        channels: 1 (grey) or 3.
        height: In pixels.
        width: In pixels.
        preparation: How; its `size` is not used. A grey picture takes the average of three means, and of three `std`.

    Raises:
        ParityError: If it cannot be read.
    """
    from PIL import Image

    source = resources.files("parity").joinpath("astronaut.png") if path is None else Path(path)
    try:
        with source.open("rb") as file, Image.open(file) as image:
            picture = image.convert("L" if channels == 1 else "RGB")
    except MemoryError as error:
        raise ParityError(f"{path}: too large for this machine's memory; give a JPEG or PNG") from error
    except Exception as error:  # a damaged picture can raise any exception
        reason = getattr(error, "strerror", None) or "not a picture that can be read"
        raise ParityError(f"{path}: {reason}; give a JPEG or PNG") from error
    picture = _resized(picture, height, width, preparation)
    array = np.asarray(picture, dtype=np.float32).reshape(height, width, channels)
    array = array / np.float32(255 / preparation.white)
    if preparation.channels == "bgr":
        array = array[..., ::-1]
    mean, std = (
        np.asarray(np.mean(numbers) if channels == 1 else numbers, np.float32)
        for numbers in (preparation.mean, preparation.std)
    )
    return np.ascontiguousarray(((array - mean) / std).transpose(2, 0, 1)[np.newaxis])


def _resized(picture: Image, height: int, width: int, preparation: Preparation) -> Image:
    """Return the middle of the resized picture, of the network's height and width."""
    from PIL.Image import Resampling

    ratios = height / picture.height, width / picture.width
    if preparation.resize == "crop":
        ratios = max(ratios), max(ratios)
    vertical, horizontal = (1 / preparation.crop * ratio for ratio in ratios)
    size = max(width, round(picture.width * horizontal)), max(height, round(picture.height * vertical))
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    # A very long picture one pixel high would fill the memory when resized. There, only the part that is cut out is
    # resized, with the pixels around it that the filter reads. (Pillow's box is a float32: up to a grey level off.)
    margin = _REACH.get(preparation.interpolation, 2) if size[0] * size[1] > _LARGE else max(size)
    before = max(0, left - margin), max(0, top - margin)
    behind = min(size[0], left + width + margin), min(size[1], top + height + margin)
    ratio = picture.width / size[0], picture.height / size[1]
    ends = min(behind[0] * ratio[0], picture.width), min(behind[1] * ratio[1], picture.height)
    region = before[0] * ratio[0], before[1] * ratio[1], *ends
    part = behind[0] - before[0], behind[1] - before[1]
    picture = picture.resize(part, Resampling[preparation.interpolation.upper()], box=region)
    left, top = left - before[0], top - before[1]
    return picture.crop((left, top, left + width, top + height))


_ENDINGS = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"}


def pictures_in(paths: Sequence[Path]) -> list[Path]:
    """Return the pictures, those of a folder in the order of their names; folders in it are ignored.

    Raises:
        ParityError: If a path does not exist, or a folder holds no picture.
    """
    pictures = list[Path]()
    for path in paths:
        if path.is_dir():
            inside = sorted(entry for entry in path.iterdir() if entry.suffix.lower() in _ENDINGS and entry.is_file())
            if not inside:
                raise ParityError(f"{path}: no pictures in this folder ({', '.join(sorted(_ENDINGS))})")
            pictures += inside
        elif path.exists():
            pictures.append(path)
        else:
            raise ParityError(f"{path}: no such file or folder")
    return pictures
