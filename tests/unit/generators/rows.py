"""Make banks for tests of generators, fit families to them, and normalise what comes out."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from pdiff.bank import Bank, View, collect
from pdiff.common.config import Config
from pdiff.generators import fit
from pdiff.generators.base import Context, Generator
from tests.unit.evaluation.waves import Waves

K = 20
WEIGHTS = 240
CONSTANT = 5
"""The element of `layer.weight` that no member changes."""
SHARED = 6
"""The element that only the last two members change."""


def numbers(folder: Path, *, last: float = 1.0) -> Bank:
    """Collect checkpoints of 240 weights and 40 variances; those of the last two members times `last`."""
    (folder / "ckpts").mkdir()
    for index in range(K):
        generator = torch.Generator().manual_seed(index)
        weight = 3 + 0.2 * torch.arange(240.0) + 0.5 * torch.randn(240, generator=generator)
        weight[CONSTANT] = 0.25
        weight[SHARED] = 0.5 if index < K - 2 else index
        variance = torch.logspace(-4, 2, 40) * (0.2 * torch.randn(40, generator=generator)).exp()
        factor = last if index >= K - 2 else 1.0
        state = {"layer.weight": factor * weight, "norm.running_var": variance}
        state["layer.weight"][CONSTANT] = 0.25
        save_file(state, folder / f"ckpts/s-{index:02}.safetensors")
    return collect(folder / "ckpts", out=folder / "bank")


def everyone(bank: Bank) -> View:
    """A view of all members."""
    return bank.view(range(len(bank)))


def made(
    members: Bank | View, /, preset: str, context: Context | None = None, **values: Any
) -> Generator[Any]:
    """Fit the preset `preset` with other `values` to members."""
    config = Config.from_values(Config.preset(preset).values() | values)
    return fit(config, everyone(members) if isinstance(members, Bank) else members, context)


def rows(members: Bank | View, /, preset: str, n: int, seed: int = 0, **values: Any) -> Tensor:
    """The first rows of a generator."""
    return made(members, preset, **values).rows(range(n), seed)


def normalised(members: Bank | View, raw: Tensor, kind: str = "tensor") -> Tensor:
    """A normalised copy of raw rows."""
    copy = raw.clone()
    members.normalizer(kind).apply(copy.numpy())  # type: ignore[arg-type]
    return copy


def waves(task: Waves | None = None) -> Context:
    """The context of the small problem."""
    return Context(task=task or Waves(), arch="residual")
