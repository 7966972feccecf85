"""From a matplotlib figure to SVG that lives in a page: it takes the page's fonts and colours."""

import io
import re
from collections.abc import Mapping
from contextlib import AbstractContextManager
from html import escape

import matplotlib.style
from matplotlib.figure import Figure

__all__ = ["COLOURS", "inline_svg", "style"]

COLOURS: Mapping[str, str] = {
    "ink": "#010101",
    "muted": "#020202",
    "grid": "#030303",
    "paper": "#040404",
    "original": "#050505",
    "generated": "#060606",
    "ensemble": "#070707",
    "noise": "#080808",
    "average": "#090909",
    "gaussian": "#0a0a0a",
}
"""Placeholders to draw with; each becomes the page's CSS variable `--NAME`, which light and dark set."""

_STYLE = {
    "svg.fonttype": "none",
    "font.size": 9.5,
    "text.color": COLOURS["ink"],
    "axes.edgecolor": COLOURS["grid"],
    "axes.labelcolor": COLOURS["muted"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "axes.axisbelow": True,
    "grid.color": COLOURS["grid"],
    "grid.linewidth": 0.6,
    "xtick.color": COLOURS["grid"],
    "ytick.color": COLOURS["grid"],
    "xtick.labelcolor": COLOURS["muted"],
    "ytick.labelcolor": COLOURS["muted"],
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "path.simplify": False,
}


def style(salt: str) -> AbstractContextManager[None]:
    """Return the context to draw and save a figure in, whatever the user's own settings.

    `salt` makes the ids that matplotlib invents repeatable.
    """
    return matplotlib.style.context({**_STYLE, "svg.hashsalt": salt}, after_reset=True)


def inline_svg(figure: Figure, prefix: str, alternative: str) -> str:
    """Return the figure as an `<svg>` element that scales with its container.

    Ids get `prefix`, so that several figures share a page; `alternative` is read out in its place. The same
    figure gives the same bytes. To be called within `style`.
    """
    buffer = io.StringIO()
    metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(buffer, format="svg", metadata=metadata)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"', "", svg).replace("xlink:href", "href")
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\1{prefix}-", svg)
    svg = re.sub(r"font-family: [^;\"]*; ?", "", svg)
    svg = re.sub(r"\s+", " ", svg)
    for name, colour in COLOURS.items():
        svg = svg.replace(colour, f"var(--{name})")
    end = svg.index(">") + 1
    view_box = re.search(r'viewBox="[^"]*"', svg)
    assert view_box is not None, "matplotlib writes one"
    return f'<svg {view_box[0]} role="img" aria-label="{escape(alternative)}">{svg[end:].strip()}'
