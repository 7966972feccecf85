"""What the page draws besides the table: plain lists of bounded size, the section `plots` of `results.json`.

    similarity  how alike models err, every pair
    map         the first two principal components of the bank, and models of each kind in them
    parameters  histograms of the tensors that vary most
    training    losses of the run
    reverse     scores on the way from noise

A section that cannot be made is `{"reason": why}`. Of several runs the last two show the first.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import torch

from pdiff.bank import Bank
from pdiff.evaluation.curves import training_curves
from pdiff.evaluation.families import Population
from pdiff.evaluation.field import Field
from pdiff.evaluation.histograms import Histograms
from pdiff.evaluation.judge import Judged, blocks
from pdiff.evaluation.projection import Projection
from pdiff.evaluation.similarity import similarity_map
from pdiff.evaluation.thinning import spread_over
from pdiff.training import Run

__all__ = ["plots"]

_MODELS = 100
"""Of each population at most so many models are drawn."""
_SHOWN = ("original", "generated", "ensemble", "noise", "average", "gaussian")
"""Families on the map."""
_STRENGTHS = {"average": 16.0, "gaussian": 1.0}
"""The strengths that are drawn of swept families, or the nearest there is; of others the middle one."""


def plots(judged: Field[Judged], bank: Bank, run: Run | str, way: dict[str, Any]) -> dict[str, Any]:
    """Return the section `plots`; rows of some populations are made once more.

    `run` is the run that the models were drawn from, or why there is none; `way` is what `reverse` returned.
    """
    shown = _in_weights(bank, _chosen(each.population for each in judged))
    wrong = torch.cat([each.wrong for each in judged.runs])
    return {
        "similarity": similarity_map(judged.original.wrong, wrong, _MODELS),
        **shown,
        "training": {"reason": run} if isinstance(run, str) else training_curves(run),
        "reverse": way,
    }


def _in_weights(bank: Bank, populations: Sequence[Population]) -> dict[str, Any]:
    """Return the map and the histograms, from one pass over the rows of these populations."""
    projection, histograms = Projection.of(bank), Histograms(bank)
    for population in populations:
        chosen = spread_over(population.size, _MODELS)
        for part in blocks(len(chosen), bank.dim):
            rows = population.rows([chosen[index] for index in part])
            histograms.add(population, rows)
            if projection is not None:
                projection.add(population, rows)
    without = {"reason": f"a map of {len(bank):,} members would take too long"}
    return {
        "map": without if projection is None else projection.result(),
        "parameters": histograms.result(),
    }


def _chosen(populations: Iterable[Population]) -> list[Population]:
    """Return the populations that are drawn: of a swept family one, of the others all."""
    families: dict[str, list[Population]] = {family: [] for family in _SHOWN}
    for population in populations:
        if population.family in families:
            families[population.family].append(population)
    return [one for family, each in families.items() for one in _of_family(family, each)]


def _of_family(family: str, populations: Sequence[Population]) -> list[Population]:
    swept = [(each.strength, place) for place, each in enumerate(populations) if each.strength is not None]
    if not swept:
        return list(populations)
    middle, _ = sorted(swept)[(len(swept) - 1) // 2]
    wanted = _STRENGTHS.get(family, middle)
    _, place = min(swept, key=lambda one: abs(one[0] - wanted))
    return [populations[place]]
