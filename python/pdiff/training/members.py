"""Which of a bank's members are learned from, and which are kept aside."""

from pdiff.bank import Bank, View
from pdiff.common.config import Config

__all__ = ["FEWEST_TO_SPLIT", "training_members"]

FEWEST_TO_SPLIT = 20
"""A smaller bank is learned from whole: of so few nobody can be spared, and one or two tell nothing."""


def training_members(bank: Bank, config: Config) -> tuple[View, tuple[int, ...]]:
    """Return the members that codec and denoiser are fitted to, and the indices of those held out.

    A function of the bank's size and the configuration's `held_out` and `seed`.
    """
    if not config.held_out or len(bank) < FEWEST_TO_SPLIT:
        return bank.view(range(len(bank))), ()
    members, held_out = bank.split(config.held_out, config.seed)
    return members, tuple(held_out.indices.tolist())
