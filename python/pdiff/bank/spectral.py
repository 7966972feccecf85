"""Keep layers under torch's `spectral_norm` what they are: their buffers are singular vectors of the weight.

The layer divides its weight by u · W v, which is its largest singular value as long as u and v are its first
singular vectors. Numbers that are generated one by one are not, so that power iteration on the generated
weight, as in training (Miyato et al. 2018, arXiv 1802.05957, algorithm 1), has to find them again.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pdiff.common.arrays import Arrays, rounded

_CLASSIC = re.compile(r"(.*)_orig")
_PARAMETRIZED = re.compile(r"(.*\bparametrizations\.[^.]+\.)original")
_OFF = 1e-3
"""By how much a length may be off 1, as f16 rounds those in checkpoints."""
_ITERATIONS = 50


class Layer(NamedTuple):
    """The names of a layer's weight and of its first singular vectors."""

    weight: str
    u: str
    v: str


def layers(names: Iterable[str]) -> list[Layer]:
    """Return the layers under `spectral_norm`, of torch's older or newer implementation."""
    there = set(names)
    found = []
    for name in sorted(there):
        if match := _CLASSIC.fullmatch(name):
            found.append(Layer(name, f"{match[1]}_u", f"{match[1]}_v"))
        elif match := _PARAMETRIZED.fullmatch(name):
            found += [Layer(name, f"{match[1]}{place}._u", f"{match[1]}{place}._v") for place in range(2)]
    return [layer for layer in found if there.issuperset(layer)]


def singular_vectors(state: Arrays, layer: Layer) -> Arrays:
    """Return new u and v of a layer; nothing if those of the state have length 1, as in checkpoints."""
    u, v = (state[name].floats() for name in (layer.u, layer.v))
    if all(abs(float(np.linalg.norm(vector)) - 1) <= _OFF for vector in (u, v)):
        return {}
    weight = state[layer.weight].floats().reshape(state[layer.weight].shape)
    axis = 0 if weight.shape[0] == len(u) else 1  # 1 for transposed convolutions
    matrix = np.moveaxis(weight, axis, 0).reshape(len(u), -1)
    for _ in range(_ITERATIONS):
        v = _unit(matrix.T @ u)
        u = _unit(matrix @ v)
    found = {layer.u: u, layer.v: v}
    return {name: rounded(vector, state[name].dtype, state[name].shape) for name, vector in found.items()}


def _unit(vector: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return vector / np.float32(max(float(np.linalg.norm(vector)), 1e-12))
