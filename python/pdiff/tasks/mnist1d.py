"""Make MNIST-1D: forty numbers that trace a distorted digit, generated, so that no file is needed.

Greydanus and Kobak, *Scaling down deep learning with MNIST-1D* (arXiv 2011.14439): a twelve-point template
of each digit is padded, stretched, scaled, rolled, put on correlated noise, made noisy and sheared. The
parameters are the published ones; the code is vectorised over samples and is our own.
"""

from functools import cache, partial
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pdiff.common.rng import numpy_generator
from pdiff.tasks.base import Split
from pdiff.tasks.networks import (
    BuiltIn,
    convnet1d,
    mlp,
    resnet1d,
)

Array = NDArray[np.float64]

CLASSES = 10
LENGTH = 40  # numbers in a finished sample
PADDED = 72  # numbers while it is being made: the template's 12 and the longest padding, 60
PADDING = (36, 60)
SCALE = 0.4
MAX_TRANSLATION = 48
CORRELATED_NOISE = 0.25
CORRELATION_SIGMA = 2.0
WHITE_NOISE = 0.02
SHEAR = 0.75

SEED = 42
SIZES: dict[Split, int] = {"train": 16_000, "validation": 4_000, "test": 10_000}

_STROKES = (
    (5, 6, 6.5, 6.75, 7, 7, 7, 7, 6.75, 6.5, 6, 5),
    (5, 3, 3, 3.4, 3.8, 4.2, 4.6, 5, 5.4, 5.8, 5, 5),
    (5, 6, 6.5, 6.5, 6, 5.25, 4.75, 4, 3.5, 3.5, 4, 5),
    (5, 6, 6.5, 6.5, 6, 5, 5, 6, 6.5, 6.5, 6, 5),
    (5, 4.4, 3.8, 3.2, 2.6, 2.6, 5, 5, 5, 5, 5, 5),
    (5, 3, 3, 3, 3, 5, 6, 6.5, 6.5, 6, 4.5, 5),
    (5, 4, 3.5, 3.25, 3, 3, 3, 3, 3.25, 3.5, 4, 5),
    (5, 7, 7, 6.6, 6.2, 5.8, 5.4, 5, 4.6, 4.2, 5, 5),
    (5, 4, 3.5, 3.5, 4, 5, 5, 4, 3.5, 3.5, 4, 5),
    (5, 4, 3.5, 3.5, 4, 5, 5, 5, 5, 4.7, 4.3, 5),
)
"""The horizontal position of the pen, top to bottom, for the digits 0 to 9."""


class Draws(NamedTuple):
    """Every random number that N samples need."""

    padding: NDArray[np.int64]
    """[N], zeros after the template."""
    scale: Array
    """[N], uniform in [0, 1)."""
    translation: NDArray[np.int64]
    """[N], places to roll to the right."""
    correlated: Array
    """[N, 72], standard normal, smoothed later."""
    white: Array
    """[N, 72], standard normal."""
    shear: Array
    """[N], uniform in [0, 1)."""


def draw(generator: np.random.Generator, n: int) -> Draws:
    """Draw the randomness of `n` samples."""
    return Draws(
        padding=generator.integers(PADDING[0], PADDING[1] + 1, size=n),
        scale=generator.random(n),
        translation=generator.integers(MAX_TRANSLATION, size=n),
        correlated=generator.standard_normal((n, PADDED)),
        white=generator.standard_normal((n, PADDED)),
        shear=generator.random(n),
    )


def templates() -> Array:
    """Return the digits' templates [10, 12]: standardised, starting at 0, divided by 6.

    A little is added to every point, so that a point of the template is never exactly zero: zero means
    background.
    """
    strokes = np.array(_STROKES, dtype=np.float64)
    strokes = (strokes - strokes.mean(axis=1, keepdims=True)) / strokes.std(axis=1, keepdims=True)
    started_at_zero: Array = strokes - strokes[:, :1]
    return started_at_zero / 6 + 1e-8


def distort(signals: Array, draws: Draws) -> Array:
    """Turn templates [N, 12] into samples [N, 40]."""
    x = _pad_and_stretch(signals, draws.padding)  # [N, 72]
    x *= 1 + SCALE * (draws.scale[:, None] - 0.5)
    x = np.take_along_axis(x, (np.arange(PADDED) - draws.translation[:, None]) % PADDED, axis=1)
    background = CORRELATED_NOISE * draws.correlated @ _smoothing_matrix(PADDED, CORRELATION_SIGMA).T
    x = np.where(x == 0, background, x) + WHITE_NOISE * draws.white
    x -= SHEAR * (draws.shear[:, None] - 0.5) * np.linspace(-0.5, 0.5, PADDED)
    return _interpolate(x, np.linspace(0, PADDED - 1, LENGTH))


def _pad_and_stretch(signals: Array, padding: NDArray[np.int64]) -> Array:
    """Append `padding` [N] zeros to signals [N, 12] and interpolate each linearly to 72 points."""
    n, length = signals.shape
    padded = np.zeros((n, PADDED + 1))  # the last column is the right neighbour of the last point
    padded[:, :length] = signals
    return _interpolate(padded, np.arange(PADDED) * (length + padding[:, None] - 1) / (PADDED - 1))


def _interpolate(x: Array, position: Array) -> Array:
    """Interpolate each row of x [N, L] linearly at its positions [N, P] (or at the same [P] for all)."""
    position = np.broadcast_to(position, (len(x), position.shape[-1]))
    left = np.minimum(position.astype(np.int64), x.shape[1] - 2)
    weight = position - left
    at_left, at_right = (np.take_along_axis(x, place, axis=1) for place in (left, left + 1))
    interpolated: Array = at_left * (1 - weight) + at_right * weight
    return interpolated


def _smoothing_matrix(length: int, sigma: float) -> Array:
    """Return the [length, length] matrix of a Gaussian filter cut at 4 sigma, mirrored at the borders."""
    radius = int(4 * sigma + 0.5)
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    kernel /= kernel.sum()
    mirrored = np.pad(np.arange(length), radius, mode="symmetric")  # which input each tap reads
    matrix = np.zeros((length, length))
    for row in range(length):
        np.add.at(matrix[row], mirrored[row : row + kernel.size], kernel)
    return matrix


@cache
def _dataset(split: Split) -> tuple[Tensor, Tensor]:
    """Generate a split: inputs [N, 40] f32 and labels [N] i64, cycling through 0 to 9."""
    n = SIZES[split]
    labels = np.arange(n) % CLASSES
    draws = draw(numpy_generator(SEED, f"mnist1d/{split}"), n)
    inputs = distort(templates()[labels], draws).astype(np.float32)
    return torch.from_numpy(inputs), torch.from_numpy(labels)


class Mnist1D(BuiltIn):
    """MNIST-1D: inputs [N, 40] f32, ten balanced classes, 16,000 / 4,000 / 10,000 samples."""

    name = "mnist1d"
    networks = MappingProxyType(
        {
            "convnet": partial(convnet1d, LENGTH, width=16, classes=CLASSES),
            "mlp": partial(mlp, LENGTH, hidden=(48, 48), classes=CLASSES),
            "resnet": partial(resnet1d, LENGTH, (16, 24, 32), CLASSES),
        }
    )
    architectures = tuple(networks)

    def data(self, split: Split) -> tuple[Tensor, Tensor]:
        """Return inputs [N, 40] f32 and labels [N] i64; generated once a process, the same every time."""
        return _dataset(split)
