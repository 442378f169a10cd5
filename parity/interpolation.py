"""Interpolation along one axis as a matrix: exact in float64, whoever's rule says where the pixels lie."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def interpolation(places: NDArray[Any], size: int, mode: str, cubic_coefficient: float = -0.75) -> NDArray[Any]:
    """Return what each output pixel takes of each input pixel.

    Args:
        places: Where each of m output pixels lies, in pixels of the input; beyond its ends the last pixel goes on.
        size: Number n of input pixels.
        mode: "linear" or "cubic".
        cubic_coefficient: Keys' a.

    Returns:
        A float64 matrix (m, n); the output is `matrix @ x` along the axis.

    Source: Keys, Cubic Convolution Interpolation for Digital Image Processing, IEEE Trans. ASSP 29(6), 1981.
    """
    below = np.floor(places)
    t = places - below
    if mode == "linear":
        taps = {0: 1 - t, 1: t}
    else:
        a = cubic_coefficient
        near = lambda d: ((a + 2) * d - (a + 3)) * d**2 + 1
        far = lambda d: ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
        taps = {-1: far(1 + t), 0: near(t), 1: near(1 - t), 2: far(2 - t)}
    matrix = np.zeros((len(places), size))
    for offset, weights in taps.items():
        columns = np.clip(below.astype(int) + offset, 0, size - 1)
        np.add.at(matrix, (np.arange(len(places)), columns), weights)
    return matrix
