"""Losses."""

import numpy as np
import paddle
import paddle.nn.functional as PF
import torch
import torch.nn.functional as TF
from differences import AGREE, agree, draw, plain, row, which
from facts.cases import OUTSIDE, P, T


def entropy(framework, seed=0, rows=6, classes=5, labels=None, **more):
    z = draw(rows, classes, seed=seed)
    labels = np.arange(rows) * 3 % classes if labels is None else np.array(labels)
    if framework is torch:
        more = {word: T(value) if isinstance(value, np.ndarray) else value for word, value in more.items()}
        return TF.cross_entropy(T(z), T(labels), **more)
    more = {word: P(value) if isinstance(value, np.ndarray) else value for word, value in more.items()}
    return PF.cross_entropy(P(z), P(labels), **more)


@row(
    "losses",
    *AGREE,
    "cross entropy: weights, sum and none, label smoothing, ignore_index >= 0 (each alone); MSE, L1, KL, BCE, BCE "
    "with logits, NLL",
    OUTSIDE,
)
def loss_plain():
    weight = np.abs(draw(5)) + 0.1
    kinds = [
        {},
        {"weight": weight},
        {"weight": weight, "reduction": "sum"},
        {"reduction": "none"},
        {"label_smoothing": 0.2},
        {"ignore_index": 3},
    ]
    found = agree(
        lambda more: entropy(torch, **more), lambda more: entropy(paddle, **more), [(more,) for more in kinds]
    )
    if found != AGREE:
        return found
    x, y = 1 / (1 + np.exp(-draw(6, 5))), 1 / (1 + np.exp(-draw(6, 5, seed=1)))
    labels = np.array([1, 0, 4, 2, 2, 3])
    pairs = {
        "mse_loss": (x, y), "l1_loss": (x, y), "kl_div": (np.log(x), y), "binary_cross_entropy": (x, y),
        "binary_cross_entropy_with_logits": (x, y), "nll_loss": (np.log(x), labels),
    }  # fmt: skip
    return agree(
        lambda name: getattr(TF, name)(*map(T, pairs[name])),
        lambda name: getattr(PF, name)(*map(P, pairs[name])),
        [(name,) for name in pairs],
    )


@row(
    "losses",
    "by the rows that count",
    "by all rows",
    "what the mean of cross entropy is divided by under a negative ignore_index, -100 by default; with "
    "`weight=` both count rightly",
    OUTSIDE,
)
def loss_ignore():
    def by(all_rows):
        def run(index, labels):
            z, kept = draw(6, 5), [i for i, label in enumerate(labels) if label != index]
            logs = plain(TF.log_softmax(T(z), 1))
            return -sum(logs[i, labels[i]] for i in kept) / (6 if all_rows else len(kept))

        return run

    rules = {"by the rows that count": by(False), "by all rows": by(True)}
    cases = [(-100, [0, -100, 2, 4, -100, 1]), (-1, [-1, 1, 2, -1, -1, 3]), (-7, [4, 4, -7, 0, 1, 2])]
    ones = agree(
        lambda index, labels: entropy(torch, labels=labels, ignore_index=index, weight=np.ones(5)),
        lambda index, labels: entropy(paddle, labels=labels, ignore_index=index, weight=np.ones(5)),
        cases,
    )
    if ones != AGREE:
        return ones
    return tuple(
        which(lambda index, labels, f=f: entropy(f, labels=labels, ignore_index=index), cases, rules)
        for f in (torch, paddle)
    )


@row("losses", "NaN", "0", "cross entropy when every row is ignored", OUTSIDE)
def loss_all_ignored():
    rules = {"NaN": lambda i: np.float64(np.nan), "0": lambda i: np.float64(0)}
    return tuple(
        which(lambda i, f=f: entropy(f, labels=[i] * 6, ignore_index=i), [(-100,), (2,)], rules)
        for f in (torch, paddle)
    )


@row(
    "losses",
    "smooths the weighted terms",
    "weighs rows by their smoothed labels",
    "cross entropy with label_smoothing and weight, mean",
    OUTSIDE,
)
def loss_smoothing_weight():
    labels, classes = np.arange(6) * 3 % 5, 5

    def torchs(eps):
        w, logs = weight(), plain(TF.log_softmax(T(draw(6, 5)), 1))
        hard = -(w[labels] * logs[np.arange(6), labels])
        return ((1 - eps) * hard + eps / classes * -(w * logs).sum(1)).sum() / w[labels].sum()

    def paddles(eps):
        w, logs = weight(), plain(TF.log_softmax(T(draw(6, 5)), 1))
        smooth = np.eye(5)[labels] * (1 - eps) + eps / classes
        ws = smooth @ w
        return (ws * -(smooth * logs).sum(1)).sum() / ws.sum()

    def weight():
        return np.abs(draw(5, seed=3)) + 0.2

    rules = {"smooths the weighted terms": torchs, "weighs rows by their smoothed labels": paddles}
    cases = [(0.15,), (0.4,)]
    return tuple(
        which(lambda eps, f=f: entropy(f, label_smoothing=eps, weight=weight()), cases, rules) for f in (torch, paddle)
    )


@row(
    "losses",
    "(N,)",
    "(N, 1)",
    "shape of cross entropy with reduction='none' under label smoothing: their difference is N x N",
    OUTSIDE,
)
def loss_none_shape():
    rules = {"(N,)": lambda n: [n], "(N, 1)": lambda n: [n, 1]}
    return tuple(
        which(lambda n, f=f: list(entropy(f, rows=n, label_smoothing=0.1, reduction="none").shape), [(4,), (7,)], rules)
        for f in (torch, paddle)
    )


@row("losses", "takes them", "raises ValueError", "label smoothing with an ignored row of -100", OUTSIDE)
def loss_smoothing_ignore():
    def rule(eps):
        kept, labels = [0, 2, 3, 5], [0, 2, 4, 1]
        logs = plain(TF.log_softmax(T(draw(6, 5)), 1))[kept]
        return -((1 - eps) * logs[range(4), labels] + eps * logs.mean(1)).mean()

    cases, rules = [(0.1,), (0.3,)], {"takes them": rule}
    return tuple(
        which(lambda eps, f=f: entropy(f, labels=[0, -100, 2, 4, -100, 1], label_smoothing=eps), cases, rules)
        for f in (torch, paddle)
    )


@row("losses", "raises RuntimeError", "takes them", "labels in int32; Paddle takes float32 too", OUTSIDE)
def loss_labels():
    def run(framework):
        return lambda kind: entropy(framework, labels=np.array([0, 2, 1, 4, 3, 3]).astype(kind))

    right = {"takes them": lambda kind: entropy(torch, labels=[0, 2, 1, 4, 3, 3])}
    cases = [("i4",)]
    return which(run(torch), cases, right), which(run(paddle), [*cases, ("f4",)], right)


@row(
    "losses",
    "huber / delta",
    "huber",
    "smooth_l1_loss with a threshold (torch beta, Paddle delta); equal at 1 alone",
    OUTSIDE,
)
def loss_smooth_l1():
    x, y = draw(40) * 3, draw(40, seed=1)

    def huber(d):
        gap = np.abs(x - y)
        return np.where(gap < d, gap**2 / 2, d * (gap - d / 2)).mean()

    rules = {"huber": huber, "huber / delta": lambda d: huber(d) / d}
    cases = [(0.4,), (2.5,)]
    found = which(lambda d: TF.smooth_l1_loss(T(x), T(y), beta=d), cases, rules)
    return found, which(lambda d: PF.smooth_l1_loss(P(x), P(y), delta=d), cases, rules)
