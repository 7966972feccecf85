"""Draw a figure in the page's fonts and colours, as a part of the page or as a file of its own."""

import io
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Literal

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from pdiff import _core
from pdiff.report.marks import COLOURED
from pdiff.report.svg import page_svg

Colours = Mapping[str, str]
"""Name of a colour → what matplotlib is given."""
Size = tuple[float, float]
"""Width and height in inches."""
Kind = Literal["png", "pdf"]

WIDE = 9.6
NARROW = 4.1
_DPI = 200
_NAMES = ("ink", "muted", "grid", "paper", "panel", "good", "bad", *COLOURED)
PLACEHOLDERS: Colours = {name: f"#{i:02x}{i:02x}{i:02x}" for i, name in enumerate(_NAMES, 1)}
"""Colours to draw a page's figures with; each becomes the CSS variable `--NAME`, which light and dark set."""

_COLOURED = {
    "ink": ("text.color",),
    "grid": ("axes.edgecolor", "grid.color", "xtick.color", "ytick.color"),
    "muted": ("axes.labelcolor", "axes.titlecolor", "xtick.labelcolor", "ytick.labelcolor"),
}
_UNSEEN = ("figure.facecolor", "axes.facecolor", "savefig.facecolor")
_TICKS = ("xtick.major.size", "ytick.major.size", "xtick.minor.size", "ytick.minor.size")
_ON = ("axes.grid", "axes.unicode_minus", "axes.axisbelow")
_OFF = ("axes.spines.top", "axes.spines.right", "legend.frameon", "path.simplify")


@dataclass(frozen=True)
class Drawing:
    """One figure at two sizes, of which the page shows the one that fits."""

    wide: str
    narrow: str | None
    """None for a figure that fits any page."""


@dataclass(frozen=True)
class Plot:
    """One figure: what it is called, what it says to who cannot see it, and how it is drawn."""

    name: str
    """As in the page's ids and the names of files."""
    alternative: str
    draw: Callable[[Figure, Colours], None]
    """Draws on a figure of any of the sizes."""
    wide: Size
    narrow: Size | None = None

    def drawing(self) -> Drawing:
        """Draw for a page; the same figure gives the same text."""
        narrow = None if self.narrow is None else self._svg(self.narrow, f"{self.name}-n")
        return Drawing(self._svg(self.wide, f"{self.name}-w"), narrow)

    def _svg(self, size: Size, prefix: str) -> str:
        with style(prefix):
            figure, text = Figure(figsize=size, layout="constrained"), io.StringIO()
            self.draw(figure, PLACEHOLDERS)
            _lay_out(figure)
            metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
            figure.savefig(text, format="svg", metadata=metadata)
        return page_svg(text.getvalue(), prefix, self.alternative, PLACEHOLDERS)

    def save(self, folder: Path, kind: Kind) -> Path:
        """Write the wide figure to `folder`, in the colours of the light page; the same bytes every time."""
        colours, buffer = light_colours(), io.BytesIO()
        with style(self.name, colours):
            figure = Figure(figsize=self.wide, layout="constrained", facecolor=colours["paper"])
            self.draw(figure, colours)
            names = ("Creator", "Producer", "CreationDate") if kind == "pdf" else ("Software",)
            metadata = dict.fromkeys(names)
            figure.savefig(buffer, format=kind, dpi=_DPI, metadata=metadata, facecolor=colours["paper"])
        path = folder / f"{self.name}.{kind}"
        _core.write_file(path, buffer.getvalue())
        return path


def _lay_out(figure: Figure) -> None:
    """Place everything for an SVG now: saving a figure that has a layout to compute draws all of it twice."""
    FigureCanvasSVG(figure)  # whose measures of text the layout goes by
    if (engine := figure.get_layout_engine()) is not None:
        engine.execute(figure)
    figure.set_layout_engine(None)


def is_wide(figure: Figure) -> bool:
    """Return whether a figure is drawn for a wide page."""
    return figure.get_figwidth() > (WIDE + NARROW) / 2


def around(values: Sequence[ArrayLike], share: float, least: float = 0.0) -> tuple[float, float]:
    """Return limits around values, with a `share` of their range, at least `least`, as room."""
    every = np.concatenate([np.ravel(each) for each in values])
    low, high = float(np.nanmin(every)), float(np.nanmax(every))
    room = max(share * (high - low), least) or 0.02 * (abs(high) or 1)
    return low - room, high + room


def ticks(axes: Axes, x: int = 7, y: int = 7) -> None:
    """Have both axes of numbers marked at so many places at most."""
    axes.xaxis.set_major_locator(MaxNLocator(x))
    axes.yaxis.set_major_locator(MaxNLocator(y))


def plain(name: str) -> str:
    """Return a name from outside as matplotlib draws it to the letter: dollar signs are no formula."""
    return name.replace("$", r"\$")


def stylesheet() -> str:
    """Return the page's CSS."""
    return files("pdiff.report").joinpath("templates/style.css").read_text("utf-8")


@cache
def light_colours() -> Colours:
    """Return the colours of the light page, for figures that are files: the style sheet's first block."""
    lines = stylesheet().partition("}")[0].splitlines()
    values = dict(line.strip().removeprefix("--").removesuffix(";").split(": ", 1) for line in lines[1:])
    return {name: values[name] for name in _NAMES}


def style(salt: str, colours: Colours = PLACEHOLDERS) -> AbstractContextManager[None]:
    """Return the context to draw and save a figure in, whatever the user's own settings.

    `salt` makes the ids that matplotlib invents repeatable.
    """
    return matplotlib.style.context({**_style(colours), "svg.hashsalt": salt}, after_reset=True)


def _style(colours: Colours) -> dict[str, object]:
    found: dict[str, object] = dict.fromkeys(_UNSEEN, "none")
    found |= dict.fromkeys(_TICKS, 0) | dict.fromkeys(_OFF, False) | dict.fromkeys(_ON, True)
    for colour, parts in _COLOURED.items():
        found |= dict.fromkeys(parts, colours[colour])
    return found | {
        "svg.fonttype": "none",
        "pdf.fonttype": 42,
        "font.size": 9.5,
        "axes.titlelocation": "left",
        "axes.titlesize": "medium",
        "grid.linewidth": 0.6,
    }
