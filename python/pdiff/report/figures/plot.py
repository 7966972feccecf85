"""A figure that can be part of a page or a file of its own."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Literal

from matplotlib.figure import Figure

from pdiff import _core
from pdiff.report.svg import PLACEHOLDERS, inline_svg, light_colours, style

__all__ = ["Colours", "Drawing", "Plot", "Size", "is_wide"]

Colours = Mapping[str, str]
Size = tuple[float, float]
"""Width and height in inches."""

WIDE = 9.6
NARROW = 4.1
_DPI = 200
_METADATA = {"png": ("Software",), "pdf": ("Creator", "Producer", "CreationDate")}


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
        """Draw for a page."""
        narrow = None if self.narrow is None else self._svg(self.narrow, f"{self.name}-n")
        return Drawing(self._svg(self.wide, f"{self.name}-w"), narrow)

    def _svg(self, size: Size, prefix: str) -> str:
        with style(prefix):
            figure = Figure(figsize=size, layout="constrained")
            self.draw(figure, PLACEHOLDERS)
            return inline_svg(figure, prefix, self.alternative)

    def save(self, folder: Path, kind: Literal["png", "pdf"]) -> Path:
        """Write the wide figure to `folder`, in the colours of the light page; the same bytes every time."""
        colours, buffer = light_colours(), BytesIO()
        with style(self.name, colours):
            figure = Figure(figsize=self.wide, layout="constrained", facecolor=colours["paper"])
            self.draw(figure, colours)
            metadata = dict.fromkeys(
                ("Creator", "Producer", "CreationDate") if kind == "pdf" else ("Software",)
            )
            figure.savefig(buffer, format=kind, dpi=_DPI, metadata=metadata, facecolor=colours["paper"])
        path = folder / f"{self.name}.{kind}"
        _core.write_file(path, buffer.getvalue())
        return path


def is_wide(figure: Figure) -> bool:
    """Return whether a figure is drawn for a wide page."""
    return figure.get_figwidth() > (WIDE + NARROW) / 2
