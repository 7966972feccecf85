"""A family of generators for tests: members plus a constant, fitted in no time."""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Self

import torch
from torch import Tensor

from pdiff.bank import View
from pdiff.common.config import NoiseConfig
from pdiff.common.provenance import DataKind
from pdiff.generators.base import Context, Generator


class Shifted(Generator[NoiseConfig]):
    """Model i is member i, modulo their number, plus `scale` times the seed and a fitted number."""

    access: ClassVar[DataKind] = "gradients"

    def __init__(self, config: NoiseConfig, members: View, fitted: Tensor) -> None:
        super().__init__(config, members)
        self.fitted = fitted

    @classmethod
    def fit(cls, config: NoiseConfig, members: View, context: Context) -> Self:
        """Note the number of members."""
        found = cls(config, members, torch.tensor([float(len(members))]))
        found.seconds = {"counting": 0.25}
        return found

    def rows(self, indices: Sequence[int], seed: int) -> Tensor:
        """Return rows [n, D]."""
        rows = self.members.batch([index % len(self.members) for index in indices])
        return rows + self.config.scale * seed + self.fitted

    @property
    def gradient_evaluations(self) -> int:
        """Some."""
        return 7

    def facts(self) -> Mapping[str, float]:
        """Return the number of members."""
        return {"members": float(self.fitted)}

    def state(self) -> Mapping[str, Tensor]:
        """Return the number."""
        return {"fitted": self.fitted}

    @classmethod
    def restore(
        cls, config: NoiseConfig, members: View, state: Mapping[str, Tensor], context: Context
    ) -> Self:
        """Take the number from the state."""
        return cls(config, members, state["fitted"])
