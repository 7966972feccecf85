"""Figures: every model is drawn or counted, and they take the page's colours."""

import re
from typing import Any

import matplotlib as mpl
import pytest

from pdiff.report.figures import Drawing, accuracy_floor, scatter, strips
from pdiff.report.svg import COLOURS
from tests.unit.report.sample import FAMILIES, sample_results


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
    return sample_results()


@pytest.fixture(scope="module", params=[scatter, strips])
def drawing(request: pytest.FixtureRequest, results: dict[str, Any]) -> Drawing:
    figure: Drawing = request.param(results)
    return figure


def marks(svg: str, family: str) -> int:
    """Points drawn in a family's colour, whatever the shape."""
    return len(re.findall(rf"<use [^>]*fill: var\(--{family}\)", svg))


def test_the_axis_ignores_what_is_far_below(results: dict[str, Any]) -> None:
    lowest = min(p["accuracy"] for p in results["points"] if p["family"] in {"original", "generated"})
    assert accuracy_floor(results) == pytest.approx(lowest - 0.02)
    near = results | {"points": [p for p in results["points"] if p["strength"] != 0.052]}
    assert accuracy_floor(near) == min(p["accuracy"] for p in near["points"])


def test_a_wrecked_generator_stays_in_view(results: dict[str, Any]) -> None:
    wrecked = [p | {"accuracy": 0.1} if p["family"] == "generated" else p for p in results["points"]]
    assert accuracy_floor(results | {"points": wrecked}) == 0.1


def test_models_that_are_not_drawn_are_counted(drawing: Drawing) -> None:
    assert drawing.below == 8


def test_every_model_is_drawn(results: dict[str, Any]) -> None:
    for svg in (strips(results).wide, strips(results).narrow):
        for family in ("original", "generated", "ensemble", "average", "gaussian"):
            (count,) = [n for name, _, n, *_ in FAMILIES if name == family]
            assert marks(svg, family) == count
        assert marks(svg, "noise") == 16
    for svg in (scatter(results).wide, scatter(results).narrow):
        assert marks(svg, "original") >= 30 + 30 + 2  # all in both panels, and a mean in each
        assert marks(svg, "generated") >= 8 + 8 + 2


def test_colours_are_the_pages(drawing: Drawing) -> None:
    for svg in (drawing.wide, drawing.narrow):
        assert set(re.findall(r"#[0-9a-fA-F]{6}", svg)) == set()
        assert "var(--generated)" in svg
        assert not any(colour in svg for colour in COLOURS.values())


def test_svg_scales_and_speaks(drawing: Drawing) -> None:
    for svg in (drawing.wide, drawing.narrow):
        opening = svg[: svg.index(">") + 1]
        assert re.fullmatch(r'<svg viewBox="[\d. ]+" role="img" aria-label="[^"]{60,}">', opening)
        assert svg.endswith("</svg>")
        assert "accuracy (%)" in svg
        assert "font-family" not in svg


def test_the_same_bytes_every_time_and_settings_left_alone(drawing: Drawing, results: dict[str, Any]) -> None:
    with mpl.rc_context({"font.size": 30, "axes.facecolor": "red"}):
        before = dict(mpl.rcParams)
        again = (scatter if "Two scatter" in drawing.wide else strips)(results)
        assert dict(mpl.rcParams) == before
    assert again == drawing
