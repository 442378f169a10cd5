"""Interpolation, padding order, flatten."""

import warnings

import numpy as np
import paddle
import paddle.nn.functional as PF
import torch
import torch.nn.functional as TF
from differences import AGREE, agree, alike, draw, plain, row, which
from facts.cases import LINTED, PROVED, P, T


@row(
    "interpolation",
    *AGREE,
    "nearest, bilinear, bicubic, either align_corners, by size or by factor; align_mode=0, Paddle's default",
    PROVED,
)
def interpolate():
    def ours(mode, corners, how):
        return TF.interpolate(
            T(draw(1, 2, 7, 6)), mode=mode, **how, **({} if corners is None else {"align_corners": corners})
        )

    def theirs(mode, corners, how):
        return PF.interpolate(P(draw(1, 2, 7, 6)), mode=mode, align_corners=bool(corners), **how)

    ways = {"scale_factor": 3}, {"scale_factor": 1.7}, {"scale_factor": 0.45}, {"size": [5, 13]}
    modes = ("nearest", None), ("bilinear", False), ("bilinear", True), ("bicubic", False), ("bicubic", True)
    return agree(ours, theirs, [(*mode, how) for mode in modes for how in ways])


@row(
    "interpolation",
    "i = (o + 1/2) / f - 1/2",
    "i = o / f",
    "where output pixel o samples: Paddle's align_mode=1, bilinear",
    LINTED,
)
def interpolate_align_mode():
    def at(place):
        def run(factor, size):
            line = draw(size)
            where = np.clip([place(o, factor) for o in range(size * factor)], 0, size - 1)
            return np.interp(where, np.arange(size), line)

        return run

    rules = {"i = (o + 1/2) / f - 1/2": at(lambda o, f: (o + 0.5) / f - 0.5), "i = o / f": at(lambda o, f: o / f)}

    def both(function, wrap, **more):
        def run(factor, size):
            x = np.broadcast_to(draw(size), (1, 1, size, size)).copy()
            return function(wrap(x), scale_factor=factor, mode="bilinear", **more)[0, 0, 0]

        return run

    cases = [(2, 7), (3, 5)]
    return which(both(TF.interpolate, T), cases, rules), which(both(PF.interpolate, P, align_mode=1), cases, rules)


@row(
    "interpolation",
    "float64",
    "float32",
    "precision in which the position of an output's pixel in a float64 input is computed: bilinear, 2e-6 apart for 9 "
    "pixels of noise, 2e-4 for 512",
    "Paddle's float64 run here computes it exactly",
)
def interpolate_place():
    def exact(kind, size, target):
        x = draw(size)
        scale = kind(size) / kind(target)
        at = np.maximum((np.arange(target).astype(kind) + kind(0.5)) * scale - kind(0.5), 0)
        low = at.astype(int)
        part = (at - low.astype(kind)).astype(np.float64)
        return x[low] * (1 - part) + x[np.minimum(low + 1, size - 1)] * part

    def run(interpolate, wrap):
        def one(size, target):
            return interpolate(wrap(draw(size)[None, None, None]), size=[1, target], mode="bilinear")[0, 0, 0]

        return one

    rules = {
        "float64": lambda size, target: exact(np.float64, size, target),
        "float32": lambda size, target: exact(np.float32, size, target),
    }
    cases = [(size, target) for size in (9, 40) for target in (17, 61)]
    return which(run(TF.interpolate, T), cases, rules, 1e-12), which(run(PF.interpolate, P), cases, rules, 1e-12)


@row(
    "interpolation",
    "takes it",
    "raises ValueError",
    "mode='area' by scale_factor; by size the two agree",
    "none of the twins has one",
)
def interpolate_area():
    x = draw(1, 2, 8, 12)
    if not alike(plain(TF.interpolate(T(x), (5, 3), mode="area")), plain(PF.interpolate(P(x), (5, 3), mode="area"))):
        return "another area", "another area"
    rules = {"takes it": lambda f: TF.interpolate(T(x), (int(8 * f), int(12 * f)), mode="area")}
    cases = [(0.5,), (0.25,)]
    found = which(lambda f: TF.interpolate(T(x), scale_factor=f, mode="area"), cases, rules)
    return found, which(lambda f: PF.interpolate(P(x), scale_factor=f, mode="area"), cases, rules)


@row(
    "interpolation", "align_corners=False", "align_corners=True", "default of grid_sample", "none of the twins has one"
)
def grid_sample():
    x, grid = draw(1, 2, 5, 6), np.tanh(draw(1, 4, 3, 2))
    rules = {
        f"align_corners={on}": lambda on=on: TF.grid_sample(T(x), T(grid), align_corners=on) for on in (False, True)
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours = which(lambda: TF.grid_sample(T(x), T(grid)), [()], rules)
    return ours, which(lambda: PF.grid_sample(P(x), P(grid)), [()], rules)


@row(
    "padding order",
    *AGREE,
    "F.pad of a 4-D tensor with 4 numbers: left, right, top, bottom; constant, reflect, replicate, circular",
    PROVED,
)
def pad_four():
    cases = [
        (pad, mode) for mode in ("constant", "reflect", "replicate", "circular") for pad in ([1, 2, 3, 0], [0, 3, 1, 2])
    ]
    return agree(
        lambda pad, mode: TF.pad(T(draw(1, 2, 5, 6)), pad, mode=mode),
        lambda pad, mode: PF.pad(P(draw(1, 2, 5, 6)), pad, mode=mode),
        cases,
    )


@row(
    "padding order",
    "from the last axis",
    "from the first axis",
    "F.pad with two numbers for every axis; Paddle's pad_from_left_axis=False is torch's",
    "none of the twins has one",
)
def pad_all():
    def first(*pad):
        return np.pad(draw(2, 3, 4), np.reshape(pad, (3, 2)))

    rules = {
        "from the first axis": first,
        "from the last axis": lambda *pad: np.pad(draw(2, 3, 4), np.reshape(pad, (3, 2))[::-1]),
    }
    cases = [(1, 0, 2, 3, 0, 4), (0, 2, 0, 1, 3, 0)]
    return which(lambda *pad: TF.pad(T(draw(2, 3, 4)), pad), cases, rules), which(
        lambda *pad: PF.pad(P(draw(2, 3, 4)), list(pad)), cases, rules
    )


@row("flatten", *AGREE, "the layer starts at axis 1, the function at 0; any part, row by row", PROVED)
def flatten():
    def ours(case):
        x = T(draw(2, 3, 4, 5))
        return torch.nn.Flatten()(x) if case == "layer" else torch.flatten(x, *case)

    def theirs(case):
        x = P(draw(2, 3, 4, 5))
        return paddle.nn.Flatten()(x) if case == "layer" else paddle.flatten(x, *case)

    return agree(ours, theirs, [("layer",), ((),), ((2,),), ((1, 2),), ((-3, -2),)], 0)
