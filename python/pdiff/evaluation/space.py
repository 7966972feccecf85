"""Generated models as vectors of weights: whether they are copies, and where they lie among the members."""

from collections.abc import Sequence
from typing import Any

import torch

from pdiff.bank import Bank
from pdiff.evaluation.copying import copying
from pdiff.evaluation.families import Population
from pdiff.evaluation.hull import geometry
from pdiff.evaluation.products import Products
from pdiff.evaluation.scored import Scored, joined
from pdiff.evaluation.weights import weigh

__all__ = ["space"]


def space(
    bank: Bank, original: Scored, runs: Sequence[Scored], held_out: Sequence[tuple[int, ...]]
) -> dict[str, Any]:
    """Return `z_u` and `geometry` of the results; `held_out` are the members each run has not learned from.

    Distances of all runs are pooled, each run's beside those of its own held-out members.
    """
    found = [run.weights.products for run in runs]
    products = [each for each in found if each is not None]
    together = Products(
        joined([each.cross for each in products]),
        joined([each.squares for each in products]),
        products[0].gram,
    )
    kept = tuple(sorted(set.intersection(*map(set, held_out))))
    return {
        "z_u": _copying(bank, original, runs, held_out),
        "geometry": geometry(together, together.gram, bank.dim, kept),
    }


def _copying(
    bank: Bank, original: Scored, runs: Sequence[Scored], held_out: Sequence[tuple[int, ...]]
) -> dict[str, Any]:
    """Return Z_U of all runs that held members out."""
    known = {held_out[0]: original.distances.training}
    ours, unseen = [], []
    for run, kept in zip(runs, held_out, strict=True):
        if not kept:
            continue
        if kept not in known:
            members = Population("original", None, len(bank), bank.batch)
            distances = weigh(members, bank, distances=True, held_out=kept).distances
            assert distances is not None
            known[kept] = distances.training
        ours.append(run.distances.training)
        unseen.append(known[kept][torch.tensor(kept)])
    if not ours:
        return copying(torch.empty(0), torch.empty(0))
    return copying(joined(ours), joined(unseen))
