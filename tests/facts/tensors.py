"""Empty batches, dtypes, memory, GPU flags."""

import numpy as np
import paddle
import paddle.nn.functional as PF
import torch
import torch.nn.functional as TF
from differences import AGREE, agree, draw, plain, row, which
from facts.cases import P, T
from facts.normalisation import norms


@row(
    "empty batches",
    *AGREE,
    "N = 0 through convolution, pools, BatchNorm, Linear, softmax, interpolation: empty maps of the right shape",
    "nothing: it works",
)
def empty_batch():
    x = np.zeros((0, 3, 9, 9), "f4")
    ours = {
        "conv": lambda: TF.conv2d(T(x), torch.zeros(5, 3, 3, 3)),
        "max": lambda: TF.max_pool2d(T(x), 2),
        "adaptive": lambda: TF.adaptive_avg_pool2d(T(x), 2),
        "norm": lambda: norms()[0](T(x)),
        "linear": lambda: TF.linear(T(x), torch.zeros(4, 9)),
        "softmax": lambda: TF.softmax(T(x), 1),
        "bigger": lambda: TF.interpolate(T(x), scale_factor=2),
    }
    theirs = {
        "conv": lambda: PF.conv2d(P(x), paddle.zeros([5, 3, 3, 3])),
        "max": lambda: PF.max_pool2d(P(x), 2),
        "adaptive": lambda: PF.adaptive_avg_pool2d(P(x), 2),
        "norm": lambda: norms()[1](P(x)),
        "linear": lambda: PF.linear(P(x), paddle.zeros([9, 4])),
        "softmax": lambda: PF.softmax(P(x), 1),
        "bigger": lambda: PF.interpolate(P(x), scale_factor=2),
    }
    return agree(lambda name: ours[name](), lambda name: theirs[name](), [(name,) for name in ours], 0)


@row(
    "dtypes",
    "takes it",
    "raises RuntimeError",
    "relu and max pooling of int32, on a CPU",
    "the project feeds floating numbers",
)
def dtype_int():
    x = np.arange(-8, 8, dtype="i4").reshape(1, 1, 4, 4)
    right = {"takes it": lambda name: np.maximum(x, 0) if name == "relu" else x[:, :, 1::2, 1::2]}
    cases = [("relu",), ("max",)]
    ours = {"relu": lambda: TF.relu(T(x)), "max": lambda: TF.max_pool2d(T(x), 2)}
    theirs = {"relu": lambda: PF.relu(P(x)), "max": lambda: PF.max_pool2d(P(x), 2)}
    return which(lambda name: ours[name](), cases, right), which(lambda name: theirs[name](), cases, right)


@row(
    "dtypes",
    "raises RuntimeError",
    "drops the fraction",
    "mean of whole numbers",
    "the project feeds floating numbers",
)
def dtype_mean():
    cases = [([3, 4],), ([1, 1, 3],), ([7, 8, 8],)]
    rules = {"drops the fraction": lambda x: sum(x) // len(x)}
    return which(lambda x: torch.tensor(x).mean(), cases, rules), which(lambda x: P(x).mean(), cases, rules)


@row(
    "dtypes",
    "takes it",
    "raises RuntimeError",
    "convolution of float16, on a CPU",
    "float64 and float32 judge; `precision` names a side that runs in less",
)
def dtype_half():
    x, w = draw(1, 2, 5, 5).astype("f2"), draw(3, 2, 3, 3).astype("f2")
    right = {"takes it": lambda: TF.conv2d(T(x).double(), T(w).double())}
    return which(lambda: TF.conv2d(T(x), T(w)), [()], right, 2e-3), which(
        lambda: PF.conv2d(P(x), P(w)), [()], right, 2e-3
    )


@row(
    "gradients",
    "each part's own",
    "raises SystemError",
    "torch.autograd.grad, paddle.grad with regard to the parts of a chunk; to what is cut into parts both work",
    "`parity compare --gradients` asks for the gradient of what is cut",
)
def part_gradients():
    x, cases = draw(2, 6), [(2,), (3,)]
    right = {"each part's own": lambda n: [np.full((2, 6 // n), 2.0 + i) for i in range(n)]}

    def ours(n):
        parts = (T(x).requires_grad_() * 1).chunk(n, 1)
        return torch.autograd.grad(sum((part * (2 + i)).sum() for i, part in enumerate(parts)), parts)

    def theirs(n):
        parts = paddle.chunk(P(x, stop_gradient=False) * 1, n, 1)
        return paddle.grad(sum((part * (2 + i)).sum() for i, part in enumerate(parts)), parts)

    return which(ours, cases, right), which(theirs, cases, right)


@row(
    "memory",
    "shares it",
    "copies it",
    "memory of an array given to torch.from_numpy, paddle.to_tensor",
    "`record` notices layers that are overwritten",
)
def memory():
    def of(wrap):
        x = np.zeros(3)
        tensor = wrap(x)
        x[0] = 1
        return "shares it" if plain(tensor)[0] else "copies it"

    return of(T), of(P)


@row(
    "TF32",
    "matmul off, cuDNN convolution on",
    "no flag of its own",
    "defaults of the flags that let a GPU cut float32 factors to 10 bits; read without a GPU, no kernel was run",
    "the workers set NVIDIA_TF32_OVERRIDE=0 and torch's flags off; no GPU result is `rounding` with TF32 on",
)
def tf32():
    from paddle.base import core

    flags = [name for name in core.globals().keys() if "tf32" in name.lower()]  # noqa: SIM118  (no mapping)
    words, flagged = {True: "on", False: "off"}, torch.backends
    ours = f"matmul {words[flagged.cuda.matmul.allow_tf32]}, cuDNN convolution {words[flagged.cudnn.allow_tf32]}"
    return ours, ", ".join(flags) or "no flag of its own"
