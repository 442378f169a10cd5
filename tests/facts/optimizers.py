"""Optimizers, schedules."""

import inspect
import math

import numpy as np
import paddle
import torch
from differences import AGREE, agree, draw, row, which
from facts.cases import OUTSIDE, P, T


def steps(framework, make, count=12, change=None):
    """Return a weight after `count` steps of fixed gradients; `make` gets the framework's own parameter."""
    start = draw(7, seed=5)
    if framework is torch:
        weight = torch.nn.Parameter(T(start.copy()))
    else:
        weight = paddle.create_parameter([7], "float64")
        weight.set_value(start)
    optimizer = make(weight)
    for step in range(count):
        g = gradient(step)
        if framework is torch:
            weight.grad = T(g)
        else:
            (weight * P(g)).sum().backward()
        if change is not None and step == 5:
            change(optimizer)
        optimizer.step()
        optimizer.zero_grad() if framework is torch else optimizer.clear_grad()
    return weight


def gradient(step):
    return draw(7, seed=100 + step)


def spelt(rule, count=12):
    """Return a weight after steps of `rule(weight, gradient, step)`."""
    weight = draw(7, seed=5)
    for step in range(count):
        weight = rule(weight, gradient(step), step)
    return weight


@row(
    "optimizers",
    *AGREE,
    "SGD, Momentum, Nesterov, Adam, AMSGrad, AdamW, Adagrad, Adadelta, NAdam, RAdam with the same numbers; decay "
    "given as a number too",
    OUTSIDE,
)
def optimizer_plain():
    o, p = torch.optim, paddle.optimizer
    kinds = {
        "sgd": (lambda w: o.SGD([w], 0.07), lambda w: p.SGD(0.07, [w])),
        "decay": (lambda w: o.SGD([w], 0.07, weight_decay=0.2), lambda w: p.SGD(0.07, [w], weight_decay=0.2)),
        "momentum": (
            lambda w: o.SGD([w], 0.07, 0.8, weight_decay=0.1),
            lambda w: p.Momentum(0.07, 0.8, [w], weight_decay=0.1),
        ),
        "nesterov": (
            lambda w: o.SGD([w], 0.07, 0.8, nesterov=True),
            lambda w: p.Momentum(0.07, 0.8, [w], use_nesterov=True),
        ),
        "adam": (
            lambda w: o.Adam([w], 0.03, (0.8, 0.95), 0.02, 0.1),
            lambda w: p.Adam(0.03, 0.8, 0.95, 0.02, [w], weight_decay=0.1),
        ),
        "amsgrad": (
            lambda w: o.Adam([w], 0.03, (0.8, 0.95), 1e-3, amsgrad=True),
            lambda w: p.Adam(0.03, 0.8, 0.95, 1e-3, [w], amsgrad=True),
        ),
        "adamw": (
            lambda w: o.AdamW([w], 0.03, (0.8, 0.95), 1e-3, 0.3),
            lambda w: p.AdamW(0.03, 0.8, 0.95, 1e-3, [w], weight_decay=0.3),
        ),
        "adagrad": (lambda w: o.Adagrad([w], 0.1, eps=0.01), lambda w: p.Adagrad(0.1, 0.01, [w])),
        "adadelta": (lambda w: o.Adadelta([w], 0.5, 0.8, 1e-3), lambda w: p.Adadelta(0.5, 1e-3, 0.8, [w])),
        "nadam": (lambda w: o.NAdam([w], 0.03, (0.8, 0.95)), lambda w: p.NAdam(0.03, 0.8, 0.95, parameters=[w])),
        "radam": (lambda w: o.RAdam([w], 0.03, (0.8, 0.95)), lambda w: p.RAdam(0.03, 0.8, 0.95, parameters=[w])),
    }
    return agree(
        lambda name: steps(torch, kinds[name][0]),
        lambda name: steps(paddle, kinds[name][1]),
        [(name,) for name in kinds],
        1e-5,
    )


def rmsprop(inside, eps, momentum=0.0, lr_in_buffer=False):
    square, buffer = np.zeros(7), np.zeros(7)

    def rule(weight, g, step):
        nonlocal square, buffer
        square = 0.9 * square + 0.1 * g * g
        scaled = g / (np.sqrt(square + eps) if inside else np.sqrt(square) + eps)
        lr = 0.05 if step < 5 else 0.005
        lr = lr if momentum else 0.05
        if lr_in_buffer:
            buffer = momentum * buffer + lr * scaled
            return weight - buffer
        buffer = momentum * buffer + scaled
        return weight - lr * buffer

    return spelt(rule)


@row("optimizers", "g / (sqrt(v) + eps)", "g / sqrt(v + eps)", "RMSProp's step", OUTSIDE)
def rmsprop_eps():
    rules = {"g / (sqrt(v) + eps)": lambda e: rmsprop(False, e), "g / sqrt(v + eps)": lambda e: rmsprop(True, e)}
    cases = [(0.05,), (1e-3,)]
    found = which(lambda e: steps(torch, lambda w: torch.optim.RMSprop([w], 0.05, 0.9, e)), cases, rules, 1e-5)
    theirs = which(
        lambda e: steps(paddle, lambda w: paddle.optimizer.RMSProp(0.05, 0.9, e, parameters=[w])), cases, rules, 1e-5
    )
    return found, theirs


@row(
    "optimizers",
    "no",
    "yes",
    "whether RMSProp's momentum contains the learning rate: they differ when it changes",
    OUTSIDE,
)
def rmsprop_momentum():
    def rules(inside):
        return {word: lambda m, on=on: rmsprop(inside, 1e-3, m, on) for word, on in (("no", False), ("yes", True))}

    def ours(m):
        def slow(optimizer):
            optimizer.param_groups[0]["lr"] = 0.005

        return steps(torch, lambda w: torch.optim.RMSprop([w], 0.05, 0.9, 1e-3, momentum=m), change=slow)

    def theirs(m):
        return steps(
            paddle,
            lambda w: paddle.optimizer.RMSProp(0.05, 0.9, 1e-3, m, parameters=[w]),
            change=lambda optimizer: optimizer.set_lr(0.005),
        )

    cases = [(0.6,), (0.9,)]
    return which(ours, cases, rules(False), 1e-5), which(theirs, cases, rules(True), 1e-5)


def defaults(function, *words):
    signature = inspect.signature(function).parameters
    return ", ".join(f"{word} {signature[word].default:g}" for word in words)


@row("optimizers", "alpha 0.99, eps 1e-08", "rho 0.95, epsilon 1e-06", "RMSProp's defaults", OUTSIDE)
def rmsprop_defaults():
    return defaults(torch.optim.RMSprop, "alpha", "eps"), defaults(paddle.optimizer.RMSProp, "rho", "epsilon")


@row("optimizers", "eps 1e-10", "epsilon 1e-06", "Adagrad's default", OUTSIDE)
def adagrad_default():
    return defaults(torch.optim.Adagrad, "eps"), defaults(paddle.optimizer.Adagrad, "epsilon")


@row("optimizers", "max(b u, abs(g) + eps)", "max(abs(g), b u + eps)", "Adamax's norm", OUTSIDE)
def adamax():
    def rule(ours):
        def run(eps):
            first, norm = np.zeros(7), np.zeros(7)

            def step_(weight, g, step):
                nonlocal first, norm
                first = 0.8 * first + 0.2 * g
                norm = np.maximum(0.95 * norm, np.abs(g) + eps) if ours else np.maximum(np.abs(g), 0.95 * norm + eps)
                return weight - 0.03 / (1 - 0.8 ** (step + 1)) * first / norm

            return spelt(step_)

        return run

    rules, cases = {"max(b u, abs(g) + eps)": rule(True), "max(abs(g), b u + eps)": rule(False)}, [(0.05,), (0.3,)]
    found = which(lambda e: steps(torch, lambda w: torch.optim.Adamax([w], 0.03, (0.8, 0.95), e)), cases, rules, 1e-5)
    theirs = which(
        lambda e: steps(paddle, lambda w: paddle.optimizer.Adamax(0.03, 0.8, 0.95, e, [w])), cases, rules, 1e-5
    )
    return found, theirs


@row(
    "optimizers",
    "no such thing",
    "replaces the optimizer's decay",
    "ParamAttr(regularizer=) of a parameter, under SGD",
    OUTSIDE,
)
def weight_decay_override():
    def theirs(own, common):
        attr = paddle.ParamAttr(regularizer=paddle.regularizer.L2Decay(own))
        weight = paddle.create_parameter([7], "float64", attr=attr)
        weight.set_value(draw(7))
        optimizer = paddle.optimizer.SGD(0.1, [weight], weight_decay=common)
        (weight * P(gradient(0))).sum().backward()
        optimizer.step()
        return weight

    rules = {
        "replaces the optimizer's decay": lambda own, common: draw(7) - 0.1 * (gradient(0) + own * draw(7)),
        "adds to the optimizer's decay": lambda own, common: draw(7) - 0.1 * (gradient(0) + (own + common) * draw(7)),
    }
    has = "regularizer" in inspect.signature(torch.nn.Parameter).parameters
    return "has it" if has else "no such thing", which(theirs, [(0.3, 0.05), (0.02, 0.4)], rules, 1e-6)


@row(
    "optimizers",
    "min(1, c / (norm + 1e-6))",
    "c / max(norm, c)",
    "what clipping to a global norm multiplies by: 2e-7 at a norm of 5",
    OUTSIDE,
)
def clip_norm():
    g = [draw(5) * 4, draw(3)]
    norm = math.sqrt(sum((each**2).sum() for each in g))
    rules = {
        "min(1, c / (norm + 1e-6))": lambda c: [each * min(1, c / (norm + 1e-6)) for each in g],
        "c / max(norm, c)": lambda c: [each * c / max(norm, c) for each in g],
    }

    def ours(c):
        weights = [torch.nn.Parameter(torch.zeros(len(each)).double()) for each in g]
        for weight, each in zip(weights, g, strict=True):
            weight.grad = T(each.copy())
        torch.nn.utils.clip_grad_norm_(weights, c)
        return [weight.grad for weight in weights]

    def theirs(c):
        pairs = [(paddle.create_parameter([len(each)], "float64"), P(each)) for each in g]
        return [each for _, each in paddle.nn.ClipGradByGlobalNorm(c)(pairs)]

    cases = [(0.01,), (0.3,), (50.0,)]
    return which(ours, cases, rules, 1e-9), which(theirs, cases, rules, 1e-9)


def schedule(framework, make, count=14):
    if framework is torch:
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 0.4)
        scheduler, found = make(optimizer), []
        for _ in range(count):
            found.append(optimizer.param_groups[0]["lr"])
            if len(found) < count:  # one-cycle schedules refuse a step past their end
                optimizer.step()
                scheduler.step()
        return np.array(found)
    scheduler, found = make(), []
    for _ in range(count):
        found.append(scheduler())
        if len(found) < count:
            scheduler.step()
    return np.array(found)


@row(
    "schedulers",
    *AGREE,
    "Step, MultiStep, Exponential, CosineAnnealing (past its T_max too), WarmRestarts, Lambda, Polynomial with "
    "end_lr=0",
    OUTSIDE,
)
def schedule_plain():
    o, p = torch.optim.lr_scheduler, paddle.optimizer.lr
    kinds = {
        "step": (lambda s: o.StepLR(s, 3, 0.4), lambda: p.StepDecay(0.4, 3, 0.4)),
        "multi": (lambda s: o.MultiStepLR(s, [2, 9], 0.3), lambda: p.MultiStepDecay(0.4, [2, 9], 0.3)),
        "exp": (lambda s: o.ExponentialLR(s, 0.85), lambda: p.ExponentialDecay(0.4, 0.85)),
        "cosine": (lambda s: o.CosineAnnealingLR(s, 6, 0.05), lambda: p.CosineAnnealingDecay(0.4, 6, 0.05)),
        "restarts": (
            lambda s: o.CosineAnnealingWarmRestarts(s, 3, 2, 0.01),
            lambda: p.CosineAnnealingWarmRestarts(0.4, 3, 2, 0.01),
        ),
        "lambda": (lambda s: o.LambdaLR(s, lambda n: 0.9**n), lambda: p.LambdaDecay(0.4, lambda n: 0.9**n)),
        "poly": (lambda s: o.PolynomialLR(s, 9, 1.5), lambda: p.PolynomialDecay(0.4, 9, 0.0, 1.5)),
    }
    return agree(
        lambda name: schedule(torch, kinds[name][0]),
        lambda name: schedule(paddle, kinds[name][1]),
        [(n,) for n in kinds],
        1e-12,
    )


@row("schedulers", "0", "0.0001", "where polynomial decay ends by default", OUTSIDE)
def schedule_polynomial():
    ours = schedule(torch, lambda s: torch.optim.lr_scheduler.PolynomialLR(s, 5, 2.0))
    theirs = schedule(paddle, lambda: paddle.optimizer.lr.PolynomialDecay(0.4, 5, power=2.0))
    return f"{ours[-1]:g}", f"{theirs[-1]:g}"


@row("schedulers", "max / 250,000", "0.0001", "where OneCycleLR ends by default", OUTSIDE)
def schedule_one_cycle():
    rules = {"max / 250,000": lambda top: top / 25 / 1e4, "0.0001": lambda top: 1e-4}

    def ours(top):
        return schedule(torch, lambda s: torch.optim.lr_scheduler.OneCycleLR(s, top, 14))[-1]

    def theirs(top):
        return schedule(paddle, lambda: paddle.optimizer.lr.OneCycleLR(top, 14))[-1]

    cases = [(0.7,), (2.0,)]
    return which(ours, cases, rules, 1e-6), which(theirs, cases, rules, 1e-6)
