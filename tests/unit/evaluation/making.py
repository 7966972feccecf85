"""Rows of the families of generators, and results as plain values."""

from collections.abc import Sequence
from typing import Any

import msgspec
from torch import Tensor

from pdiff.bank import Bank
from pdiff.common.config import AverageConfig, GaussianConfig
from pdiff.evaluation.evaluate import evaluate as evaluated
from pdiff.generators import fit


def evaluate(*arguments: Any, **options: Any) -> dict[str, Any]:
    """Evaluate, and return what `results.json` would hold."""
    results = evaluated(*arguments, **options)
    assert results is not None
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(results))
    return plain


def gaussian(bank: Bank, indices: Sequence[int], *, seed: int, scale: float = 1.0) -> Tensor:
    """Draws of the diagonal Gaussian: raw f32 [n, D]."""
    config = GaussianConfig(name="gaussian", scale=scale)
    return fit(config, bank.view(range(len(bank)))).rows(indices, seed)


def average(bank: Bank, indices: Sequence[int], *, members: int, seed: int) -> Tensor:
    """Averages of random members: raw f32 [n, D]."""
    config = AverageConfig(name="average", members=members)
    return fit(config, bank.view(range(len(bank)))).rows(indices, seed)
