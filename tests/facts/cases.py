"""Inputs and words that several topics share.

Cases are chosen apart from those that the rules were found with: a rule must predict, not remember.
"""

import numpy as np
import paddle
import torch

T, P = torch.from_numpy, paddle.to_tensor
LOWEST = -float(np.finfo(np.float32).max)
PROVED = "`parity compare` judges it layer by layer"
LINTED = "`parity lint` warns"
POOLED = (
    "`parity/numerics/pooling.py` has the closed form, `paddle_cnn/pooling.py` has layers that do as torch; `parity "
    "pooling` and `parity lint` report where the two differ"
)


def fill(parameter, values):
    """Put numbers into a parameter of either framework."""
    values = np.asarray(values, "f4")
    if isinstance(parameter, torch.Tensor):
        with torch.no_grad():
            parameter.copy_(T(values))
    else:
        parameter.set_value(values)


def graded(run, x, framework):
    """Return the gradient of the sum of what `run` makes of x."""
    leaf = T(np.array(x)).requires_grad_() if framework is torch else P(x, stop_gradient=False)
    run(leaf).sum().backward()
    return leaf.grad


OUTSIDE = "nothing: the zoo holds networks, not training"
