"""Compare several evaluations: where each method is in the two planes, and in what they differ."""

from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from msgspec.structs import astuple, replace

from pdiff.common.errors import UsageError
from pdiff.common.wording import printable
from pdiff.evaluation.schema import PlaneEntry, Results, Scale
from pdiff.report.figures.planes import AXES, SIDES, Plane, front_line, stand
from pdiff.report.marks import marker
from pdiff.report.plot import NARROW, WIDE, Colours, Plot, around, ticks

_METHODS = (
    *(("generated", "o"), ("noise", "^"), ("average", "s"), ("gaussian", "D"), ("interpolation", "P")),
    *(("pca-gaussian", "p"), ("cyclic", "v"), ("tuned-mean", "X")),
)
"""Colour and mark of each method; a ninth looks like the first, and the table tells them apart."""

Named = Sequence[tuple[str, Results]]
"""Evaluations with their names."""


def named(paths: Sequence[Path], results: Sequence[Results]) -> Named:
    """Return evaluations with their names: the folder's own, the whole path where two would be the same.

    Raises `UsageError` if their metrics differ.
    """
    metrics = {astuple(each.task.metric) for each in results}
    if len(metrics) > 1:
        found = ", ".join(sorted({each.task.metric.name for each in results}))
        raise UsageError(f"metrics differ ({found}); only evaluations by one metric can be compared")
    short = [printable(path.resolve().name) for path in paths]
    counts = Counter(short)
    names = [
        name if counts[name] == 1 else printable(str(path)) for name, path in zip(short, paths, strict=True)
    ]
    return list(zip(names, results, strict=True))


def differences(evaluations: Named) -> list[str]:
    """Say in what the evaluations differ that makes them hard to compare."""
    kinds: dict[str, list[object]] = {
        "tasks": [(each.task.name, each.task.arch, each.task.split) for _, each in evaluations],
        "banks": [each.bank.digest for _, each in evaluations],
        "kinds of data access": [replace(each.data_access, asked="weights") for _, each in evaluations],
        "seeds of the baselines": [each.provenance["seed"] for _, each in evaluations],
    }
    return [kind for kind, values in kinds.items() if any(value != values[0] for value in values)]


def method(place: int) -> tuple[str, str]:
    """Return the colour's name and the mark of the method at `place`."""
    return _METHODS[place % len(_METHODS)]


def comparison_figures(evaluations: Named) -> dict[str, Plot]:
    """Return the figures of the page by name."""
    plots, scale = {}, evaluations[0][1].task.metric
    for which in SIDES:
        places = [(name, stand(results, which)) for name, results in evaluations]
        means = "; ".join(
            f"{name}: " + ("not defined" if at is None else f"{scale.text(at.score)} at {at.at:.3f}")
            for name, at in places
        )
        alternative = f"Scatter plot: mean {scale.name} of each method against {AXES[which]}. {means}."
        name, draw = f"compared-{which.replace('_', '-')}", partial(_draw, evaluations, which)
        plots[name] = Plot(name, alternative, draw, (WIDE, 5.2), (NARROW, 4.8))
    return plots


def _draw(evaluations: Named, which: Plane, figure: Figure, colours: Colours) -> None:
    """Draw the methods' means with the intervals of their margins, then each one's Pareto front.

    The methods decide the limits.
    """
    axes, scale = figure.subplots(), evaluations[0][1].task.metric
    seen: list[tuple[float, float]] = []
    for place, (_, results) in enumerate(evaluations):
        seen += _draw_method(axes, method(place), stand(results, which), scale, colours)
    if seen:
        x, y = zip(*seen, strict=True)
        bottom, top = around([y], 0.25, 0.002 * abs(max(y)))
        axes.set(
            xlim=around([x], 0.25, 0.05), ylim=(bottom, top) if scale.higher_is_better else (top, bottom)
        )
    muted = dict.fromkeys(colours, colours["muted"])
    for place, (_, results) in enumerate(evaluations):
        for each in results.baselines:
            if (at := getattr(each, which)) is not None:
                mark = marker(each.family, 4.5, muted)
                axes.plot([at], [scale.drawn(each.score.mean)], alpha=0.6, zorder=2, **mark)
        front_line(axes, results, which, colours, method(place)[0])
    axes.set_xlabel(f"{AXES[which]}\n{SIDES[which]}")
    axes.set_ylabel(scale.axis)
    ticks(axes)


def _draw_method(
    axes: Axes, mark: tuple[str, str], found: PlaneEntry | None, scale: Scale, colours: Colours
) -> list[tuple[float, float]]:
    """Draw one method's mean and the interval of its margin; return the points to be in view."""
    if found is None:
        return []
    colour, x = colours[mark[0]], found.at
    sign = 1 if scale.higher_is_better else -1  # margins are positive where the method is better
    ends = [scale.drawn(found.front + sign * end) for end in found.interval]
    score = scale.drawn(found.score)
    axes.plot([x, x], ends, color=colour, linewidth=5, alpha=0.35, zorder=3, solid_capstyle="butt")
    axes.plot(
        [x], [score], marker=mark[1], markersize=10, color=colour, markeredgecolor=colours["paper"], zorder=4
    )
    return [(x, height) for height in (*ends, score, scale.drawn(found.front))]
