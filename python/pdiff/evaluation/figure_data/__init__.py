"""Gather what the page draws besides the table: lists of bounded size.

A section that cannot be made is None, and `missing` says why. Of several runs the last two show the first.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from pdiff.bank import Bank
from pdiff.evaluation.figure_data.curves import training_curves, training_warnings
from pdiff.evaluation.figure_data.weight_space import MOST_MEMBERS, Histograms, Projection, spread_over
from pdiff.evaluation.inference import Predictions
from pdiff.evaluation.metrics.errors import iou
from pdiff.evaluation.populations import Compared, Population, blocks
from pdiff.evaluation.schema import Histogram, MapData, Plots, ReverseData, SimilarityData
from pdiff.training import Run

__all__ = ["figure_data", "training_warnings"]

LEVELS = 255
"""The level of similarity that stands for 1."""
_MODELS = 100
"""Of each population at most so many models are drawn."""
_SHOWN = ("original", "generated", "ensemble", "noise", "average", "gaussian")
"""Families on the map."""
_STRENGTHS = {"average": 16.0, "gaussian": 1.0}
"""The strengths that are drawn of swept families, or the nearest there is; of others the middle one."""


def figure_data(
    predicted: Compared[Predictions], bank: Bank, run: Run | str, way: ReverseData | str
) -> Plots:
    """Return the data of the figures; rows of some populations are made once more.

    `run` is the run that the models were drawn from and `way` their scores on the way from noise, or why
    there is none.
    """
    missing = {}
    shown, histograms = _in_weights(bank, _chosen(each.population for each in predicted))
    if shown is None:
        missing["map"] = f"a map of {len(bank):,} members would take too long"
    training = run if isinstance(run, str) else training_curves(run)
    if isinstance(training, str):
        missing["training"] = training
    if isinstance(way, str):
        missing["reverse"] = way
    wrong = torch.cat([each.wrong for each in predicted.runs])
    return Plots(
        similarity=similarity_map(predicted.original.wrong, wrong, _MODELS),
        map=shown,
        parameters=histograms,
        training=None if isinstance(training, str) else training,
        reverse=None if isinstance(way, str) else way,
        missing=missing,
    )


def _in_weights(bank: Bank, populations: Sequence[Population]) -> tuple[MapData | None, list[Histogram]]:
    """Return the map and the histograms, from one pass over the rows of these populations."""
    projection = Projection(bank) if len(bank) <= MOST_MEMBERS else None
    histograms = Histograms(bank)
    for population in populations:
        chosen = spread_over(population.size, _MODELS)
        for part in blocks(len(chosen), bank.dim):
            rows = population.rows([chosen[index] for index in part])
            histograms.add(population, rows)
            if projection is not None:
                projection.add(population, rows)
    return None if projection is None else projection.result(), histograms.result()


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


def similarity_map(original: Tensor, generated: Tensor, most: int) -> SimilarityData:
    """Return the similarities among at most `most` originals and as many generated models: bool [·, P] each.

    `original` and `generated` are their indices: the originals in the bank's order, which is that of their
    training, the generated ones by the place of the most similar of these originals, so that a copy lies
    beside a diagonal. `rows` has one string a model, originals first, two hexadecimal digits for each model
    in the same order: `00` is 0 and `ff` is 1.
    """
    originals = spread_over(len(original), most)
    ours = torch.tensor(spread_over(len(generated), most))
    nearest = iou(generated[ours], original[originals]).argmax(dim=1)
    ours = ours[nearest.argsort(stable=True)]
    wrong = torch.cat([original[originals], generated[ours]])
    levels = (LEVELS * iou(wrong, wrong)).round().to(torch.uint8)
    rows = [bytes(row.tolist()).hex() for row in levels]
    return SimilarityData(original=originals, generated=ours.tolist(), rows=rows)
