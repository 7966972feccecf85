"""Draw maps: how alike every two models err, and where models lie among the members' weights."""

from functools import partial

import numpy as np
from matplotlib.figure import Figure

from pdiff.evaluation.schema import MapData, Results, SimilarityData
from pdiff.report.marks import marker
from pdiff.report.plot import NARROW, WIDE, Colours, Plot, ticks

_MAP = "cividis"
"""Made for eyes that tell no red from green, and its lightness rises evenly."""


def similarity(results: Results) -> Plot:
    """Draw the similarities of `plots.similarity`: originals first, then the generated models."""
    alternative = (
        "Heat map of the similarity (IoU of wrong predictions) of every pair of models, originals first, "
        "then generated ones; the means of its blocks are OO, OG and GG among the novelty measures."
    )
    draw = partial(_draw_similarity, results.plots.similarity)
    return Plot("similarity", alternative, draw, (4.8, 4.2))


def _draw_similarity(data: SimilarityData, figure: Figure, colours: Colours) -> None:
    levels = np.array([list(bytes.fromhex(row)) for row in data.rows]) / 255
    count, border = len(levels), len(data.original)
    axes = figure.subplots()
    others = levels[~np.eye(count, dtype=bool)] if count > 1 else levels  # a model is like itself
    low, high = float(np.floor(20 * others.min()) / 20), float(np.ceil(20 * others.max()) / 20)
    picture = axes.imshow(levels, cmap=_MAP, vmin=low, vmax=high, interpolation="nearest", aspect="equal")
    for draw in (axes.axhline, axes.axvline):
        draw(border - 0.5, color="white", linewidth=1.2)
    places = [(border - 1) / 2, border + (count - border - 1) / 2]
    names = [f"{border} originals", f"{count - border} generated"]
    axes.set_xticks(places, names)
    axes.set_yticks(places, names, rotation=90, va="center")
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(picture, ax=axes, shrink=0.7, aspect=24)
    bar.set_label("similarity (IoU)", color=colours["muted"])
    bar.outline.set_visible(False)


def projection(data: MapData) -> Plot:
    """Draw models on the first two principal components of the bank, in its normalised units."""
    alternative = (
        "Scatter plot of the weights of originals, generated models and baselines, projected on the first "
        "two principal components of the bank."
    )
    return Plot("map", alternative, partial(_draw_projection, data), (WIDE, 5.0), (NARROW, 4.6))


def _draw_projection(data: MapData, figure: Figure, colours: Colours) -> None:
    axes = figure.subplots()
    for each in sorted(data.populations, key=lambda each: each.family == "generated"):  # on top
        x, y = np.array(each.xy, dtype=np.float64).reshape(-1, 2).T
        alone = len(x) == 1
        axes.plot(x, y, alpha=1 if alone else 0.65, **marker(each.family, 13 if alone else 5, colours))
    shares = [f"{100 * share:.0f}% of the bank’s variance" for share in data.explained]
    axes.set_xlabel(f"first component ({shares[0]})")
    axes.set_ylabel(f"second component ({shares[1]})")
    ticks(axes)
