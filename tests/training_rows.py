"""The rows of training: losses, optimizers, schedulers, initialisers."""

import inspect
import math

import numpy as np
import paddle
import paddle.nn.functional as PF
import torch
import torch.nn.functional as TF
from differences import AGREE, agree, draw, plain, row, which

T, P = torch.from_numpy, paddle.to_tensor
OUTSIDE = "nothing: the zoo holds networks, not training"


# Losses


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
    "smooths the weighted",
    "weighs by the smoothed label, sum and divisor",
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

    rules = {"smooths the weighted": torchs, "weighs by the smoothed label, sum and divisor": paddles}
    cases = [(0.15,), (0.4,)]
    return tuple(
        which(lambda eps, f=f: entropy(f, label_smoothing=eps, weight=weight()), cases, rules) for f in (torch, paddle)
    )


@row(
    "losses",
    "(N,)",
    "(N, 1)",
    "shape of cross entropy with reduction='none' under label smoothing: subtract the two and numpy makes N x N of it",
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
    "what smooth_l1_loss with a threshold (torch beta, Paddle delta) is; equal at 1 alone",
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


# Optimizers, schedules


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
    "whether RMSProp's momentum remembers the learning rate: they part when it changes",
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


# Initialisers


def moments(weight):
    """Return a weight's standard deviation, and its largest element over that: sqrt(3) if uniform."""
    values = plain(weight).ravel().astype("f8")
    return values.std(), np.abs(values).max() / values.std()


def drawn(make, cases, normal, uniform, other=None):
    """Return the name of the rule for the deviation; `normal` and `uniform`: name -> deviation of a case."""
    seen = []
    for case in cases:
        deviation, reach = moments(make(*case))
        shape = uniform if reach < 1.8 else normal
        names = {name for name, rule in shape.items() if abs(deviation / rule(*case) - 1) < 0.03}
        seen.append(names or {f"deviation {deviation:.4f}, reach {reach:.2f} for {case}"})
    common = set.intersection(*seen)
    return common.pop() if len(common) == 1 else f"no rule known: {seen}"


FRAMES = [(48, 80, 5, 1), (96, 64, 3, 2), (128, 128, 4, 16)]
HE, FAN = "N(0, sqrt(2 / (C_in k k))), C_in not divided by groups", "U(+-1 / sqrt(C_in k k / groups))"


@row(
    "initialisers",
    FAN,
    HE,
    "default of a convolution's weight: Paddle's deviation is 2.4 times torch's without groups, and too small by "
    "sqrt(groups) with them",
    "random weights are the project's own, drawn alike on both sides",
)
def init_conv():
    normal = {
        HE: lambda a, b, k, g: math.sqrt(2 / (a * k * k)),
        "N(0, sqrt(2 / fan_in))": lambda a, b, k, g: math.sqrt(2 * g / (a * k * k)),
    }
    uniform = {FAN: lambda a, b, k, g: math.sqrt(g / (a * k * k) / 3)}
    torch.manual_seed(3)
    paddle.seed(3)
    return (
        drawn(lambda a, b, k, g: torch.nn.Conv2d(a, b, k, groups=g).weight, FRAMES, normal, uniform),
        drawn(lambda a, b, k, g: paddle.nn.Conv2D(a, b, k, groups=g).weight, FRAMES, normal, uniform),
    )


@row(
    "initialisers",
    "U(+-1 / sqrt(C_out k k))",
    "Xavier uniform",
    "default of a transposed convolution's weight",
    "as above",
)
def init_conv_transposed():
    uniform = {
        "U(+-1 / sqrt(C_out k k))": lambda a, b, k: math.sqrt(1 / (b * k * k) / 3),
        "Xavier uniform": lambda a, b, k: math.sqrt(2 / ((a + b) * k * k)),
    }
    torch.manual_seed(3)
    paddle.seed(3)
    cases = [(48, 90, 5), (120, 50, 3)]
    return (
        drawn(lambda *case: torch.nn.ConvTranspose2d(*case).weight, cases, {}, uniform),
        drawn(lambda *case: paddle.nn.Conv2DTranspose(*case).weight, cases, {}, uniform),
    )


@row("initialisers", "U(+-1 / sqrt(in))", "Xavier uniform", "default of a Linear's weight", "as above")
def init_linear():
    uniform = {
        "U(+-1 / sqrt(in))": lambda a, b: math.sqrt(1 / a / 3),
        "Xavier uniform": lambda a, b: math.sqrt(2 / (a + b)),
    }
    torch.manual_seed(3)
    paddle.seed(3)
    cases = [(150, 220), (300, 90)]
    return (
        drawn(lambda *case: torch.nn.Linear(*case).weight, cases, {}, uniform),
        drawn(lambda *case: paddle.nn.Linear(*case).weight, cases, {}, uniform),
    )


@row("initialisers", "U(+-1 / sqrt(fan_in))", "0", "default of the biases of convolution and Linear", "as above")
def init_bias():
    torch.manual_seed(3)

    def said(bias, fan):
        values = plain(bias)
        if not values.any():
            return "0"
        fits = abs(values.std() * math.sqrt(3 * fan) - 1) < 0.05 and np.abs(values).max() <= fan**-0.5
        return "U(+-1 / sqrt(fan_in))" if fits else f"deviation {values.std():.3f}"

    found = []
    for nn, names in ((torch.nn, ("Conv2d", "Linear")), (paddle.nn, ("Conv2D", "Linear"))):
        conv_, linear = getattr(nn, names[0])(6, 5000, 3), getattr(nn, names[1])(70, 5000)
        found.append(" or ".join(sorted({said(conv_.bias, 54), said(linear.bias, 70)})))
    return tuple(found)
