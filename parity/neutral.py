"""Neutral words: what every side calls the layers and their settings. They are torch's names."""

from __future__ import annotations

from typing import Any

_CONV = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups", "padding_mode")
_BATCH_NORM = ("num_features", "eps", "momentum", "track_running_stats")

NEUTRAL: dict[str, tuple[str, ...]] = {
    "Conv2d": _CONV,
    "ConvTranspose2d": (*_CONV, "output_padding"),
    "Linear": ("in_features", "out_features"),
    "BatchNorm2d": _BATCH_NORM,
    "MaxPool2d": ("kernel_size", "stride", "padding", "dilation", "ceil_mode"),
    "AvgPool2d": ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override"),
    "AdaptiveAvgPool2d": ("output_size",),
    "AdaptiveMaxPool2d": ("output_size",),
    "Dropout": ("p",),
    "LeakyReLU": ("negative_slope",),
    "GELU": ("approximate",),
    "Hardtanh": ("min_val", "max_val"),
    "Softplus": ("beta", "threshold"),
    "Softmax": ("dim",),
    "LogSoftmax": ("dim",),
    "LocalResponseNorm": ("size", "alpha", "beta", "k"),
    "GroupNorm": ("num_groups", "num_channels", "eps"),
    "InstanceNorm2d": ("num_features", "eps", "affine"),
    "LayerNorm": ("normalized_shape", "eps"),
    "ConstantPad2d": ("padding", "value"),
    "Pad2d": ("padding", "value", "mode"),
    "Flatten": ("start_dim", "end_dim"),
    "Upsample": ("size", "scale_factor", "mode", "align_corners", "align_mode"),
}

_PAIRS = {"kernel_size", "stride", "padding", "dilation", "output_padding", "output_size"}


def pair(value: Any, word: str) -> Any:
    """Return a setting as JSON holds it; one that counts pixels as a list with a number for each axis."""
    if word in _PAIRS and isinstance(value, int):
        return [value, value]
    return list(value) if isinstance(value, (tuple, list)) else value
