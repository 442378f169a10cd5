"""How other projects prepare pictures: preprocessor_config.json of transformers, config.json of timm."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from parity.errors import ParityError
from parity.picture import Preparation

_FILTERS = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")  # Pillow's numbers 0 to 5
# What transformers do to a picture; what else is to be done, when true, is not done here.
_KNOWN = {"do_resize", "do_center_crop", "do_rescale", "do_normalize", "do_convert_rgb", "do_flip_channel_order"}
_OURS = {"image_mean", "do_normalize", "do_rescale", "do_resize"}


def configured(path: Path) -> Preparation | None:
    """Return what a configuration states; None if it is one of something else.

    Raises:
        ParityError: If it cannot be read, or asks for what is not done here.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ParityError(f"{path}: cannot read: {getattr(error, 'strerror', None) or error}") from error
    if not isinstance(data, dict):
        return None
    try:
        if isinstance(data.get("pretrained_cfg"), dict):
            return _from_timm(data["pretrained_cfg"])
        return _from_transformers(data) if _OURS & data.keys() else None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ParityError(f"{path}: {error}; say it by --mean, --std, --channels, --range, --size, ...") from error


def _from_timm(config: Mapping[str, Any]) -> Preparation:
    """Return what timm's `create_transform` does for evaluation.

    Source: timm/data/transforms_factory.py, `transforms_imagenet_eval`.
    """
    mode = config.get("crop_mode") or "center"
    if mode not in ("center", "squash"):
        raise ValueError(f"crop_mode {mode!r} is not done here")
    _, height, width = config["input_size"]
    return Preparation(
        mean=tuple(map(float, config["mean"])),
        std=tuple(map(float, config["std"])),
        resize="stretch" if mode == "squash" else "crop",
        crop=float(config.get("crop_pct") or 0.875),
        interpolation=str(config.get("interpolation") or "bilinear"),
        size=(int(height), int(width)),
    )


def _from_transformers(config: Mapping[str, Any]) -> Preparation:
    """Return what an image processor of transformers does.

    Source: transformers/image_transforms.py; the steps are resize, centre crop, rescale, normalise, flip.
    """
    if other := [name for name, value in config.items() if name.startswith("do_") and value and name not in _KNOWN]:
        raise ValueError(f"{', '.join(sorted(other))}: not done here")
    if config.get("rescale_offset") or not config.get("do_resize", True):
        raise ValueError("rescale_offset, or do_resize false: not done here")
    white = round(255 * float(config.get("rescale_factor", 1 / 255)), 9) if config.get("do_rescale", True) else 255.0
    mean, std = (0.0,), (1.0,)
    if config.get("do_normalize", True):
        mean, std = (tuple(map(float, config[name])) for name in ("image_mean", "image_std"))
        if config.get("include_top"):  # EfficientNet's processor divides by it twice
            std = tuple(number**2 for number in std)
    flipped = bool(config.get("do_flip_channel_order"))
    if flipped:
        mean, std = mean[::-1], std[::-1]
    cut = bool(config.get("do_center_crop") or config.get("crop_pct"))
    resized, stretched = _transformers_size(config.get("size"), cut)
    size = resized
    if config.get("do_center_crop") and config.get("crop_size"):
        size = _transformers_size(config["crop_size"], cut)[0]
    crop = 1.0 if size is None or resized is None else size[0] / resized[0]
    if config.get("crop_pct") and not stretched and resized and resized[0] < 384:  # ConvNeXt's processor
        crop = float(config["crop_pct"])
    number = int(config.get("resample", 2))
    if not 0 <= number < len(_FILTERS):
        raise ValueError(f"resample {number}; Pillow's filters are 0 to 5")
    return Preparation(
        mean=mean,
        std=std,
        channels="bgr" if flipped else "rgb",
        white=white,
        resize="stretch" if stretched else "crop",
        crop=crop,
        interpolation=_FILTERS[number],
        size=size,
    )


def _transformers_size(size: Any, cut: bool) -> tuple[tuple[int, int] | None, bool]:
    """Return a size in a configuration as (height, width), and whether both sides are set.

    One number, of older configurations, is the shorter side where the middle is cut out, and else both sides.
    """
    if size is None:
        return None, False
    if isinstance(size, int):
        return (size, size), not cut
    if "shortest_edge" in size:
        return (int(size["shortest_edge"]), int(size["shortest_edge"])), False
    if "height" not in size or "width" not in size:
        raise ValueError(f"size {size}: not done here")
    return (int(size["height"]), int(size["width"])), True
