"""Try a configuration on a few members, which a generator that can learn at all gives back by heart."""

from dataclasses import dataclass

import torch
from msgspec.structs import replace

from pdiff.bank import Bank, View
from pdiff.common.config import LatentConfig
from pdiff.common.errors import InputError, PdiffError
from pdiff.common.wording import counted
from pdiff.generators.base import Context
from pdiff.generators.latent import Latent

MEMBERS = 8
DRAWS = 8
_KEPT = 0.9
"""Share of the variance between the members that a codec of so few keeps."""
_NEAR = 0.5
"""Share of the distance between members within which a draw of one that is known by heart lies."""


@dataclass(frozen=True)
class SelfTest:
    """What came of it."""

    members: int
    variance: float
    """Share of the variance between the members that the codec keeps."""
    distance: float
    """Mean distance of a draw to the nearest member, over the members' mean distance to the nearest other."""

    @property
    def sentence(self) -> str:
        """Say it."""
        members = counted(self.members, "checkpoint")
        return (
            f"of {members} the codec keeps {self.variance:.1%} of the variance, and models lie "
            f"{self.distance:.2f} of the distance between checkpoints from the nearest one"
        )

    def check(self) -> None:
        """Raise `PdiffError`, naming the part and a remedy, if they were not learned."""
        if self.variance < _KEPT:
            part, remedy = "codec", "train it longer (codec.train.steps) or take --set codec.kind=pca"
        elif self.distance > _NEAR:
            part, remedy = "denoiser", "train it longer (train.steps) or with diffusion.standardise=true"
        else:
            return
        raise PdiffError(f"self-test failed: {self.sentence}; the {part} does not learn: {remedy}")


def self_test(config: LatentConfig, bank: Bank, context: Context) -> SelfTest:
    """Fit the configuration to a few members, spread over the bank, and draw from it; nothing is written.

    Without jitter and held-out members, of which none would be known by heart. Raises `InputError` for a
    bank of fewer than 3 members.
    """
    if len(bank) < 3:
        raise InputError(f"{bank.path}: {counted(len(bank), 'checkpoint')}; a self-test needs 3 or more")
    count = min(MEMBERS, len(bank))
    members = bank.view([index * (len(bank) - 1) // (count - 1) for index in range(count)])
    plain = replace(
        config, diffusion=replace(config.diffusion, jitter=0.0), condition=(), held_out=0.0, check=False
    )
    fitted = Latent.fit(plain, members, context)
    return SelfTest(count, fitted.explained, _distance(fitted, members))


def _distance(fitted: Latent, members: View) -> float:
    normalizer = members.normalizer(fitted.config.normalize)
    rows = fitted.rows(range(DRAWS), fitted.config.seed)
    normalizer.apply(rows.numpy())
    known = members.batch(range(len(members)), normalizer)
    between = torch.cdist(known, known).fill_diagonal_(torch.inf).amin(dim=1).mean()
    return float(torch.cdist(rows, known).amin(dim=1).mean() / between)
