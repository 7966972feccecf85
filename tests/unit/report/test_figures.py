"""Figures: every model is drawn or counted, and they take the page's colours."""

import re
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from pdiff.report.figures import Drawing, figures, hidden, worst_drawn
from pdiff.report.figures.clouds import clouds
from pdiff.report.marks import colour_name, mark_svg
from pdiff.report.svg import PLACEHOLDERS, light_colours, style, stylesheet
from tests.unit.report.sample import FAMILIES, sample_results

NAMES = (
    *("verdict", "plane-max-similarity", "plane-gg", "strips", "similarity", "map", "parameters"),
    *("reverse", "votes", "training"),
)


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
    return sample_results()


@pytest.fixture(scope="module")
def drawings(results: dict[str, Any]) -> dict[str, Drawing]:
    return {name: plot.drawing() for name, plot in figures(results).items()}


@pytest.fixture(params=NAMES)
def drawing(request: pytest.FixtureRequest, drawings: dict[str, Drawing]) -> Drawing:
    return drawings[request.param]


def sizes(drawing: Drawing) -> list[str]:
    """The figure at each of its sizes."""
    return [svg for svg in (drawing.wide, drawing.narrow) if svg is not None]


def marks(svg: str, family: str) -> int:
    """Points drawn in a family's colour, one by one or strung on a line."""
    colour = rf"(?:fill|stroke): var\(--{family}\)"
    single = len(re.findall(rf"<use [^>]*x=[^>]*{colour}", svg))
    strings = re.findall(rf'<marker id="([^"]+)"[^>]*><use [^>]*{colour}', svg)
    return single + sum(
        len(re.split("L", d))
        for name in strings
        for d in re.findall(rf'<path d="M([^"]*)" style="fill: none; marker: url\(#{name}\)"', svg)
    )


def worse(results: dict[str, Any], change: float) -> dict[str, Any]:
    """The results with every generated model's score changed."""
    return results | {
        "points": [
            p | {"score": p["score"] + change} if p["family"] == "generated" else p for p in results["points"]
        ]
    }


def test_all_are_there_with_an_order(results: dict[str, Any]) -> None:
    assert tuple(figures(results)) == NAMES


def test_what_has_no_data_is_left_out(results: dict[str, Any]) -> None:
    gone = {"reason": "gone"}
    bare = results | {
        "votes": None,
        "points": [point | {"gg": None} for point in results["points"]],
        "verdict": results["verdict"] | {"at_gg": None},
        "plots": results["plots"] | {"map": gone, "reverse": gone, "training": gone, "parameters": []},
    }
    found = figures(bare)
    assert tuple(found) == ("verdict", "plane-max-similarity", "strips", "similarity")
    assert "Not defined at equal GG." in found["verdict"].alternative
    assert "not defined" in found["verdict"].drawing().wide


def test_the_axis_ignores_what_is_far_below(results: dict[str, Any]) -> None:
    lowest = min(p["score"] for p in results["points"] if p["family"] in {"original", "generated"})
    assert worst_drawn(results) == pytest.approx(lowest - 0.02)
    near = results | {"points": [p for p in results["points"] if p["strength"] != 0.052]}
    assert worst_drawn(near) == min(p["score"] for p in near["points"])
    assert (hidden(results), hidden(near)) == (8, 0)


def test_where_lower_is_better_the_axis_ignores_what_is_far_above(results: dict[str, Any]) -> None:
    metric = {"name": "RMSE", "higher_is_better": False, "percent": False}
    errors = results | {
        "task": results["task"] | {"metric": metric},
        "points": [point | {"score": 1 - point["score"]} for point in results["points"]],
    }
    ours = [p["score"] for p in errors["points"] if p["family"] in {"original", "generated", "ensemble"}]
    assert worst_drawn(errors) == pytest.approx(max(ours) + (max(ours) - min(ours)))
    assert hidden(errors) == 8
    svg = figures(errors)["strips"].drawing().wide
    assert "RMSE, lower is better" in svg
    assert marks(svg, "generated") == 8


def test_a_wrecked_generator_stays_in_view(results: dict[str, Any]) -> None:
    wrecked = worse(results, -0.8)
    assert worst_drawn(wrecked) == min(p["score"] for p in wrecked["points"])
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


def test_clouds_are_the_points(results: dict[str, Any]) -> None:
    found = clouds(results)
    assert {(c.family, c.strength) for c in found} == {row[:2] for row in FAMILIES}
    assert [c.family for c in found[:3]] == ["original", "ensemble", "generated"]
    (noise,) = [c for c in found if c.strength == 0.026]
    expected = [p for p in results["points"] if (p["family"], p["strength"]) == ("noise", 0.026)]
    assert np.array_equal(noise.score, [100 * p["score"] for p in expected])
    assert np.array_equal(noise.gg, [p["gg"] for p in expected])
    assert np.isnan(found[1].gg).all()


def test_votes_are_drawn_where_there_are_figures(
    results: dict[str, Any], drawings: dict[str, Drawing]
) -> None:
    drawn = {
        family: 3 * (1 + sum(draws > 0 for draws in values["draws"]))  # a band and its marks
        for family, values in results["votes"]["families"].items()
    }
    assert drawn == {"original": 21, "generated": 21, "gaussian": 21, "mixed": 18}, "one is no mixture"
    for svg in sizes(drawings["votes"]):
        assert {family: marks(svg, colour_name(family)) for family in drawn} == drawn


def test_families_differ_in_mark_and_in_colour() -> None:
    families = [*dict.fromkeys(row[0] for row in FAMILIES), "mean-noise", "tuned-mean", "cyclic", "other"]
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
        "verdict": ("points better than the frontier",),
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
def test_ticks_of_histograms_are_there_and_apart(results: dict[str, Any], narrow: bool, seed: int) -> None:
    """Twelve tensors of any size and spread, shares from 3 % to all; what is written nowhere overlaps."""
    generator = np.random.default_rng(seed)
    tensors = []
    for tensor in results["plots"]["parameters"]:
        scale, centre = (
            10 ** generator.uniform(-9, 7),
            generator.choice([0, 1, 30, -5000]) * generator.normal(),
        )
        share = float(generator.choice([0.03, 0.2, 1]))
        shares = {family: [share, *[0.0] * 31] for family in tensor["shares"]}
        edges = [scale * (centre - 1), scale * (centre + 1)]
        tensors.append(tensor | {"edges": edges, "shares": shares})
    plot = figures(results | {"plots": results["plots"] | {"parameters": tensors}})["parameters"]
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
def test_a_panel_without_a_tensor_is_not_drawn(results: dict[str, Any], count: int) -> None:
    tensors = results["plots"]["parameters"][:1] * count
    plot = figures(results | {"plots": results["plots"] | {"parameters": tensors}})["parameters"]
    figure = Figure(figsize=plot.wide)
    plot.draw(figure, light_colours())
    assert sum(axes.get_visible() for axes in figure.axes) == count


def test_the_same_bytes_every_time_and_settings_left_alone(
    drawings: dict[str, Drawing], results: dict[str, Any]
) -> None:
    with mpl.rc_context({"font.size": 30, "axes.facecolor": "red"}):
        before = dict(mpl.rcParams)
        again = {name: plot.drawing() for name, plot in figures(results).items()}
        assert dict(mpl.rcParams) == before
    assert again == drawings


@pytest.mark.parametrize(("kind", "start"), [("png", b"\x89PNG"), ("pdf", b"%PDF")])
def test_figures_as_files(results: dict[str, Any], tmp_path: Path, kind: Any, start: bytes) -> None:
    plot = figures(results)["reverse"]
    path = plot.save(tmp_path, kind)
    content = path.read_bytes()
    assert (path.name, content[:4]) == (f"reverse.{kind}", start)
    assert len(content) > 5000
    assert plot.save(tmp_path, kind).read_bytes() == content
