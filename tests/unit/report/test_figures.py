"""Figures: every model is drawn or counted, and they take the page's colours."""

import re
from dataclasses import replace as fields
from itertools import chain
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from msgspec.structs import replace

from pdiff.evaluation.schema import Results
from pdiff.report.figures import figures, hidden, worst_drawn
from pdiff.report.figures.distributions import clouds
from pdiff.report.marks import COLOURED, colour_name, mark_svg
from pdiff.report.plot import PLACEHOLDERS, Drawing, light_colours, style, stylesheet
from pdiff.report.svg import page_svg
from tests.unit.report.sample import FAMILIES, RMSE, changed, sample_results

NAMES = (
    *("verdict", "plane-max-similarity", "plane-gg", "strips", "similarity", "map", "parameters"),
    *("reverse", "votes", "training"),
)


@pytest.fixture(scope="module")
def results() -> Results:
    return sample_results()


@pytest.fixture(params=NAMES)
def drawing(request: pytest.FixtureRequest, drawings: dict[str, Drawing]) -> Drawing:
    return drawings[request.param]


def sizes(drawing: Drawing) -> list[str]:
    """The figure at each of its sizes."""
    return [svg for svg in (drawing.wide, drawing.narrow) if svg is not None]


def marks(svg: str, family: str) -> int:
    """Points drawn in a family's colour, whose style may be their group's."""
    colour = re.compile(rf"(?:fill|stroke): var\(--{family}\)")
    groups = (
        (use.get("style") or group.get("style") or "" for use in group.iterfind("use"))
        for group in ElementTree.fromstring(svg).iter()
    )
    return sum(colour.search(style) is not None for style in chain.from_iterable(groups))


def worse(results: Results, change: float) -> Results:
    """The results with every generated model's score changed."""
    points = [replace(p, score=p.score + change) if p.family == "generated" else p for p in results.points]
    return replace(results, points=points)


def test_all_are_there_with_an_order(results: Results) -> None:
    assert tuple(figures(results)) == NAMES


def test_what_has_no_data_is_left_out(results: Results) -> None:
    gone = {f"plots.{part}": None for part in ("map", "reverse", "training")}
    points = [replace(point, gg=None) for point in results.points]
    bare = changed(
        results,
        {"votes": None, "points": points, "verdict.at_gg": None, "plots.parameters": [], **gone},
    )
    found = figures(bare)
    assert tuple(found) == ("verdict", "plane-max-similarity", "strips", "similarity")
    assert "Not defined at equal similarity within (GG)." in found["verdict"].alternative
    assert "not defined" in found["verdict"].drawing().wide


def test_the_axis_ignores_what_is_far_below(results: Results) -> None:
    lowest = min(p.score for p in results.points if p.family in {"original", "generated"})
    assert worst_drawn(results) == pytest.approx(lowest - 0.02)
    near = replace(results, points=[p for p in results.points if p.strength != 0.052])
    assert worst_drawn(near) == min(p.score for p in near.points)
    assert (hidden(results), hidden(near)) == (8, 0)


def test_where_lower_is_better_the_axis_ignores_what_is_far_above(results: Results) -> None:
    points = [replace(point, score=1 - point.score) for point in results.points]
    errors = changed(results, {"task.metric": RMSE, "points": points})
    ours = [p.score for p in errors.points if p.family in {"original", "generated", "ensemble"}]
    assert worst_drawn(errors) == pytest.approx(max(ours) + (max(ours) - min(ours)))
    assert hidden(errors) == 8
    svg = figures(errors)["strips"].drawing().wide
    assert "RMSE, lower is better" in svg
    assert marks(svg, "generated") == 8


def test_a_wrecked_generator_stays_in_view(results: Results) -> None:
    wrecked = worse(results, -0.8)
    assert worst_drawn(wrecked) == min(p.score for p in wrecked.points)
    assert marks(figures(wrecked)["strips"].drawing().wide, "generated") == 8


def test_every_model_is_drawn(drawings: dict[str, Drawing]) -> None:
    drawn = {"original": 30, "generated": 8, "ensemble": 1, "noise": 16, "average": 16, "gaussian": 16}
    for svg in sizes(drawings["strips"]):
        assert {family: marks(svg, family) for family in drawn} == drawn
        assert "noise σ 0.026" in svg
        assert "noise σ 0.052" not in svg, "nothing of it is in view"
    for name in ("plane-max-similarity", "plane-gg"):
        for svg in sizes(drawings[name]):
            assert marks(svg, "original") >= 30 + 30  # all in both panels
            assert marks(svg, "generated") >= 8 + 8
            assert marks(svg, "average") >= 16


def test_clouds_are_the_points(results: Results) -> None:
    found = clouds(results)
    assert {(c.family, c.strength) for c in found} == {row[:2] for row in FAMILIES}
    assert [c.family for c in found[:3]] == ["original", "ensemble", "generated"]
    (noise,) = [c for c in found if c.strength == 0.026]
    expected = [p for p in results.points if (p.family, p.strength) == ("noise", 0.026)]
    assert np.array_equal(noise.score, [100 * p.score for p in expected])
    assert np.array_equal(noise.gg, [p.gg for p in expected])
    assert np.isnan(found[1].gg).all()


def test_votes_are_drawn_where_there_are_figures(results: Results, drawings: dict[str, Drawing]) -> None:
    assert results.votes is not None
    drawn = {
        family: 3 * sum(draws > 0 for draws in values.draws)
        for family, values in results.votes.families.items()
    }
    assert drawn == {"original": 18, "generated": 18, "gaussian": 18, "mixed": 15}, "one is no mixture"
    bands = 3
    for svg in sizes(drawings["votes"]):
        found = {family: marks(svg, colour_name(family)) - bands for family in drawn}
        assert found == drawn


def test_families_differ_in_mark_and_in_colour() -> None:
    families = [*COLOURED[:-1], "other"]
    assert {row[0] for row in FAMILIES} < set(families)
    shapes = [mark_svg(family) for family in families if family != "original"]  # which is a ring
    assert len(set(shapes)) == len(shapes)
    colours = [light_colours()[colour_name(family)] for family in families]
    assert len(set(colours)) == len(colours)


@pytest.mark.parametrize(
    "name", ["ink", "muted", "generated", "noise", "average", "gaussian", "interpolation"]
)
def test_colours_stand_out_on_both_papers(name: str) -> None:

    light, dark = (
        dict(re.findall(r"--([\w-]+): #([0-9a-f]{6});", block))
        for block in stylesheet().split("@media screen")
    )
    for colours in (light, dark):
        assert contrast(colours[name], colours["paper"]) >= 3


def contrast(one: str, other: str) -> float:
    """Contrast of WCAG 2 between two colours `rrggbb`."""

    def luminance(colour: str) -> float:
        channels = [int(colour[i : i + 2], 16) / 255 for i in (0, 2, 4)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return float(np.dot((0.2126, 0.7152, 0.0722), linear))

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_colours_are_the_pages(drawing: Drawing) -> None:
    for svg in sizes(drawing):
        found = set(re.findall(r"#[0-9a-fA-F]{6}\b", re.sub(r'"data:[^"]*"', "", svg)))
        assert found <= {"#ffffff"}, "the heat map's own lines"
        assert "var(--muted)" in svg
        assert not any(colour in svg for colour in PLACEHOLDERS.values())


def test_svg_scales_and_speaks(drawing: Drawing) -> None:
    for svg in sizes(drawing):
        opening = svg[: svg.index(">") + 1]
        assert re.fullmatch(r'<svg viewBox="[\d. ]+" role="img" aria-label="[^"]{60,}">', opening)
        assert svg.endswith("</svg>")
        assert "font-family" not in svg
        ids = re.findall(r' id="([^"]+)"', svg)
        assert len(ids) == len(set(ids))
        referred = {a or b for a, b in re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', svg)}
        assert referred == set(ids)


def test_axes_have_units(drawings: dict[str, Drawing]) -> None:
    for name, units in {
        "verdict": ("points better than the Pareto front",),
        "plane-max-similarity": ("accuracy (%)", "max-similarity to the bank (IoU, 0 to 1)"),
        "plane-gg": ("accuracy (%)", "similarity within the family (GG, IoU, 0 to 1)"),
        "strips": ("accuracy (%)",),
        "similarity": ("similarity (IoU)",),
        "map": ("first component (41% of the bank’s variance)", "second component (12%"),
        "parameters": ("value", "share of the values"),
        "reverse": ("accuracy (%)", "share of the reverse process’s steps done"),
        "votes": ("accuracy (%)", "NLL (nats)", "ECE", "models that vote"),
        "training": ("step", "loss (mean squared error)"),
    }.items():
        for svg in sizes(drawings[name]):
            assert all(unit in svg for unit in units), name


@pytest.mark.parametrize("narrow", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_ticks_of_histograms_are_there_and_apart(results: Results, narrow: bool, seed: int) -> None:
    """Twelve tensors of any size and spread, shares from 3 % to all; what is written nowhere overlaps."""
    generator = np.random.default_rng(seed)
    tensors = []
    for tensor in results.plots.parameters:
        scale, centre = (
            10 ** generator.uniform(-9, 7),
            generator.choice([0, 1, 30, -5000]) * generator.normal(),
        )
        share = float(generator.choice([0.03, 0.2, 1]))
        shares = {family: [share, *[0.0] * 31] for family in tensor.shares}
        edges = (scale * (centre - 1), scale * (centre + 1))
        tensors.append(replace(tensor, edges=edges, shares=shares))
    plot = figures(changed(results, {"plots.parameters": tensors}))["parameters"]
    with style("ticks", light_colours()):
        figure = Figure(figsize=plot.narrow if narrow else plot.wide, layout="constrained")
        plot.draw(figure, light_colours())
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        boxes = []
        for axes in figure.axes:
            for axis in (axes.xaxis, axes.yaxis):
                low, high = sorted(axis.get_view_interval())
                room = 1e-6 * (high - low)
                ticks = [
                    tick.label1
                    for tick in axis.get_major_ticks()
                    if low - room <= tick.get_loc() <= high + room  # type: ignore[attr-defined]
                ]
                texts = [text.get_text() for text in ticks]
                assert 3 <= len(set(texts)) == len(texts) <= 4, texts
                assert max(map(len, texts)) <= 6
                boxes += [text.get_window_extent() for text in (*ticks, axis.get_offset_text())]
        boxes = [box for box in boxes if box.width]
        assert not [
            (one.bounds, other.bounds)
            for place, one in enumerate(boxes)
            for other in boxes[:place]
            if one.overlaps(other)
        ]


@pytest.mark.parametrize("count", [1, 3, 6])
def test_a_panel_without_a_tensor_is_not_drawn(results: Results, count: int) -> None:
    tensors = results.plots.parameters[:1] * count
    plot = figures(changed(results, {"plots.parameters": tensors}))["parameters"]
    figure = Figure(figsize=plot.wide)
    plot.draw(figure, light_colours())
    assert sum(axes.get_visible() for axes in figure.axes) == count


def test_the_same_bytes_every_time_and_settings_left_alone(
    drawings: dict[str, Drawing], results: Results
) -> None:
    with mpl.rc_context({"font.size": 30, "axes.facecolor": "red"}):
        before = dict(mpl.rcParams)
        again = {name: fields(plot, narrow=None).drawing().wide for name, plot in figures(results).items()}
        assert dict(mpl.rcParams) == before
    assert again == {name: drawing.wide for name, drawing in drawings.items()}


@pytest.mark.parametrize(("kind", "start"), [("png", b"\x89PNG"), ("pdf", b"%PDF")])
def test_figures_as_files(results: Results, tmp_path: Path, kind: Any, start: bytes) -> None:
    plot = figures(results)["reverse"]
    path = plot.save(tmp_path, kind)
    content = path.read_bytes()
    assert (path.name, content[:4]) == (f"reverse.{kind}", start)
    assert len(content) > 5000
    assert plot.save(tmp_path, kind).read_bytes() == content


def test_dollar_signs_in_names_are_no_formulas(results: Results) -> None:
    tensor = replace(results.plots.parameters[0], name="w$1$")
    named = changed(results, {"name": "a$x$b", "plots.parameters": [tensor]})
    found = figures(named)
    strips, parameters = (
        fields(found[name], narrow=None).drawing().wide for name in ("strips", "parameters")
    )
    assert ">a$x$b<" in strips
    assert ">w$1$ 16×8<" in parameters


def test_svg_becomes_an_element_of_the_page() -> None:
    """Ids, colours, numbers, shared styles; what is empty, turned by nothing or no figure goes."""
    svg = """<?xml version="1.0"?>
<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="0 0 9 9">
 <metadata>x</metadata><defs><style>*{}</style></defs>
 <g id="outer"><g id="empty"/>
  <defs><path id="m" d="M 0.123456 1
L 2 3.100001 z"/><clipPath id="c"/></defs>
  <g clip-path="url(#c)">
   <use xlink:href="#m" x="1.0" y="2" style="fill: #010101; opacity: 0.5"/>
   <use xlink:href="#m" x="3" y="-0.001" style="fill: #010101; opacity: 0.5"/>
  </g>
  <text style="font-family: 'X', serif; fill: #020202" transform="rotate(-0 1 2)">a &lt; b</text>
 </g>
</svg>"""
    assert page_svg(svg, "p", 'say "<"', {"ink": "#010101", "muted": "#020202"}) == (
        '<svg viewBox="0 0 9 9" role="img" aria-label="say &quot;&lt;&quot;"><g>'
        '<defs><path id="p-1" d="M 0.12 1 L 2 3.1 z" /><clipPath id="p-0" /></defs>'
        '<g clip-path="url(#p-0)" style="fill: var(--ink); opacity: 0.5">'
        '<use href="#p-1" x="1" y="2" /><use href="#p-1" x="3" y="0" /></g>'
        '<text style="fill: var(--muted)">a &lt; b</text></g></svg>'
    )
