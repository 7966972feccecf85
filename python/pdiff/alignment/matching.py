"""Match the hidden units of many networks to each other, in rounds over all of them."""

from collections.abc import Callable

import numpy as np

from pdiff.alignment.symmetry import Orders, Symmetry, Values
from pdiff.common.progress import Progress

ROUNDS = 10
"""At most: later ones change little."""


def matched(
    values: Callable[[int], Values],
    members: int,
    symmetry: Symmetry,
    progress: Progress,
    rounds: int = ROUNDS,
) -> list[Orders]:
    """Return the orders of each member's units that bring the members' vectors `values(i)` [P] together.

    In the first round each is matched to the sum of those before it, the first one as it is. Then each is
    matched to the sum of all others, until no order changes (Ainsworth et al., arXiv 2209.04836, alg. 3).
    """
    orders = [symmetry.unchanged() for _ in range(members)]
    total = np.zeros_like(values(0))
    with progress.track("Matching hidden units", rounds, "round") as tracker:
        for number in range(rounds):
            changed = False
            for index in range(members):
                mine = symmetry.permuted(values(index), orders[index])
                others = total - mine if number else total
                step = symmetry.match(mine, others)
                changed |= any((order != range(len(order))).any() for order in step)
                orders[index] = [order[new] for order, new in zip(orders[index], step, strict=True)]
                total = others + symmetry.permuted(mine, step)
            tracker.advance()
            if number and not changed:
                break
    return orders
