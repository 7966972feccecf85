"""From a matplotlib figure to SVG that lives in a page: it takes the page's fonts and colours."""

import io
import re
from collections.abc import Mapping
from contextlib import AbstractContextManager
from functools import cache
from html import escape
from importlib.resources import files

import matplotlib.style
from matplotlib.figure import Figure

__all__ = ["PLACEHOLDERS", "inline_svg", "light_colours", "style", "stylesheet"]

_NAMES = (
    *("ink", "muted", "grid", "paper", "panel", "good", "bad"),
    *("original", "generated", "ensemble", "noise", "mean-noise", "average", "interpolation", "gaussian"),
    *("pca-gaussian", "tuned-mean", "cyclic", "tuned-gaussian", "control"),
)
PLACEHOLDERS: Mapping[str, str] = {name: f"#{i:02x}{i:02x}{i:02x}" for i, name in enumerate(_NAMES, 1)}
"""Colours to draw with; each becomes the page's CSS variable `--NAME`, which light and dark set."""


def stylesheet() -> str:
    """Return the page's CSS."""
    return files("pdiff.report").joinpath("templates/style.css").read_text("utf-8")


@cache
def light_colours() -> Mapping[str, str]:
    """Return the colours of the light page, for figures that are files: the style sheet's first block."""
    block = stylesheet().partition("}")[0]
    values = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block))
    return {name: values[name] for name in _NAMES}


def _style(colours: Mapping[str, str]) -> dict[str, object]:
    return {
        "svg.fonttype": "none",
        "pdf.fonttype": 42,
        "font.size": 9.5,
        "text.color": colours["ink"],
        "axes.edgecolor": colours["grid"],
        "axes.labelcolor": colours["muted"],
        "axes.titlecolor": colours["muted"],
        "axes.titlelocation": "left",
        "axes.titlesize": "medium",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.unicode_minus": True,
        "figure.facecolor": "none",
        "axes.facecolor": "none",
        "savefig.facecolor": "none",
        "axes.axisbelow": True,
        "grid.color": colours["grid"],
        "grid.linewidth": 0.6,
        "xtick.color": colours["grid"],
        "ytick.color": colours["grid"],
        "xtick.labelcolor": colours["muted"],
        "ytick.labelcolor": colours["muted"],
        "xtick.major.size": 0,
        "ytick.major.size": 0,
        "xtick.minor.size": 0,
        "ytick.minor.size": 0,
        "legend.frameon": False,
        "path.simplify": False,
    }


def style(salt: str, colours: Mapping[str, str] = PLACEHOLDERS) -> AbstractContextManager[None]:
    """Return the context to draw and save a figure in, whatever the user's own settings.

    `salt` makes the ids that matplotlib invents repeatable.
    """
    return matplotlib.style.context({**_style(colours), "svg.hashsalt": salt}, after_reset=True)


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
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"', "", svg).replace("xlink:href", "href")
    svg = _short_ids(svg, prefix)
    svg = re.sub(r"font-family: [^;\"]*; ?", "", svg)
    svg = _tidied(_strung(re.sub(r"\s+", " ", svg), prefix))
    for name, colour in PLACEHOLDERS.items():
        svg = svg.replace(colour, f"var(--{name})")
    end = svg.index(">") + 1
    view_box = re.search(r'viewBox="[^"]*"', svg)
    assert view_box is not None, "matplotlib writes one"
    return f'<svg {view_box[0]} role="img" aria-label="{escape(alternative)}">{svg[end:].strip()}'


def _short_ids(svg: str, prefix: str) -> str:
    """Replace the ids that are referred to by `prefix` and a number, and drop the others."""
    referred = dict.fromkeys(re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', svg))
    names = {href or url: f"{prefix}-{place}" for place, (href, url) in enumerate(referred)}
    svg = re.sub(r' id="([^"]*)"', lambda m: f' id="{names[m[1]]}"' if m[1] in names else "", svg)
    svg = re.sub(r'href="#([^"]+)"', lambda m: f'href="#{names[m[1]]}"', svg)
    return re.sub(r"url\(#([^)]+)\)", lambda m: f"url(#{names[m[1]]})", svg)


def _tidied(svg: str) -> str:
    """Round coordinates to a hundredth of a point, and drop turns by nothing and what is empty."""
    svg = re.sub(r' transform="rotate\(-0 [^"]*\)"', "", svg)
    svg = re.sub(r"<g/> ?|<defs> ?</defs> ?", "", svg)
    return re.sub(r"<[^>]*>", lambda tag: re.sub(r"\d+\.\d{3,}", _hundredths, tag[0]), svg)


def _hundredths(found: re.Match[str]) -> str:
    return f"{float(found[0]):.2f}"


_USES = re.compile(
    r'<use href="#([^"]+)" x="[^"]+" y="[^"]+" style="([^"]*)"/>\s*'
    r'(?:<use href="#\1" x="[^"]+" y="[^"]+" style="\2"/>\s*)+'
)
_PLACE = re.compile(r'x="([^"]+)" y="([^"]+)"')


def _strung(svg: str, prefix: str) -> str:
    """Put equal marks on one invisible line whose corners they mark: a quarter of the bytes."""
    strings = 0

    def string(run: re.Match[str]) -> str:
        nonlocal strings
        strings += 1
        corners = "L".join(f"{float(x):.1f} {float(y):.1f}" for x, y in _PLACE.findall(run[0]))
        name = f"{prefix}-m{strings}"
        return (
            f'<marker id="{name}" markerUnits="userSpaceOnUse" overflow="visible">'
            f'<use href="#{run[1]}" style="{run[2]}"/></marker>'
            f'<path d="M{corners}" style="fill: none; marker: url(#{name})"/>'
        )

    return _USES.sub(string, svg)
