"""Linear, dropout."""

import inspect

import numpy as np
import paddle
import paddle.nn.functional as PF
import torch
import torch.nn.functional as TF
from differences import AGREE, alike, draw, plain, row, which
from facts.cases import LINTED, PROVED, P, T


@row(
    "Linear",
    "[out, in]",
    "[in, out]",
    "orientation of the weight",
    "transposed because its layer is a Linear, never because a shape fits",
)
def linear_weight():
    def shapes(made, order):
        found = {tuple(made(a, b).weight.shape) == order(a, b) for a, b in ((3, 5), (7, 2))}
        return found == {True}

    words = {"[out, in]": lambda a, b: (b, a), "[in, out]": lambda a, b: (a, b)}
    return tuple(
        next((name for name, order in words.items() if shapes(made, order)), "another")
        for made in (torch.nn.Linear, paddle.nn.Linear)
    )


@row(
    "Linear",
    "x W^T",
    "x W",
    "what a square weight, copied as it is, computes: nothing complains",
    "`parity compare` names a transposed weight",
)
def linear_square():
    w, x = draw(6, 6).astype("f4"), draw(3, 6).astype("f4")
    ours, theirs = torch.nn.Linear(6, 6, bias=False), paddle.nn.Linear(6, 6, bias_attr=False)
    ours.load_state_dict({"weight": T(w)})
    missing, unexpected = theirs.set_state_dict({"weight": w})
    rules = {"x W^T": lambda: x @ w.T, "x W": lambda: x @ w}
    found = which(lambda: theirs(P(x)), [()], rules, 1e-5)
    return which(lambda: ours(T(x)), [()], rules, 1e-5), f"complains: {found}" if missing or unexpected else found


def dropped(framework, p, training, **mode):
    x = draw(40, 50) + 5
    if framework is torch:
        return TF.dropout(T(x), p, training).numpy() / x
    return PF.dropout(P(x), p, training=training, **mode).numpy() / x


def _dropout(framework, **mode):
    seen = set()
    for p in (0.3, 0.6):
        factors = np.unique(dropped(framework, p, True, **mode).round(6))
        kept = {round(1 / (1 - p), 6): "x / (1 - p)", 1.0: "x"}.get(float(factors[-1]), str(factors))
        after = np.unique(dropped(framework, p, False, **mode).round(6))
        used = {1.0: "x", round(1 - p, 6): "x (1 - p)"}.get(float(after[0]), str(after))
        seen.add(f"training: {kept}; evaluation: {used}")
    return " or ".join(sorted(seen))


@row("Dropout", "training: x / (1 - p); evaluation: x", "training: x / (1 - p); evaluation: x", "the default", PROVED)
def dropout_default():
    return _dropout(torch), _dropout(paddle)


@row(
    "Dropout",
    "no such mode",
    "training: x; evaluation: x (1 - p)",
    "mode='downscale_in_infer', what survives; paddle.vision's alexnet, squeezenet, googlenet and inception_v3 have it",
    f"the twins have none of it; {LINTED}; `parity compare` names the mode",
)
def dropout_mode():
    has = "mode" in inspect.signature(torch.nn.Dropout).parameters
    return "has modes" if has else "no such mode", _dropout(paddle, mode="downscale_in_infer")


@row("Dropout", *AGREE, "Dropout2d drops whole maps, and divides the others by 1 - p", PROVED)
def dropout_maps():
    def maps(function, wrap):
        y = plain(function(wrap(np.ones((20, 30, 2, 3))), 0.4, True))
        whole = (y == y[:, :, :1, :1]).all()
        return AGREE[0] if whole and alike(np.unique(y), [0, 1 / 0.6]) else str(np.unique(y))

    return maps(TF.dropout2d, T), maps(PF.dropout2d, P)
