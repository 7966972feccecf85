"""What the tests of pages share: drawing takes seconds, and most tests are about the text around it."""

from dataclasses import replace
from html import escape

import pytest

from pdiff.report.figures import figures
from pdiff.report.page import render_report
from pdiff.report.plot import Drawing, Plot
from tests.unit.report.sample import sample_results


@pytest.fixture(scope="session")
def drawings() -> dict[str, Drawing]:
    """The figures of the sample."""
    return {name: plot.drawing() for name, plot in figures(sample_results()).items()}


@pytest.fixture(scope="session")
def page(drawings: dict[str, Drawing]) -> str:
    """The page of the sample, with its figures."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Plot, "drawing", lambda plot: drawings[plot.name])
        return render_report(sample_results())


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Put figures' words in their place, but for those, then wide, whose names the test adds to the set."""
    draw, drawn = Plot.drawing, set[str]()

    def drawing(plot: Plot) -> Drawing:
        words = f'<svg role="img" aria-label="{escape(plot.alternative)}"></svg>'
        return draw(replace(plot, narrow=None)) if plot.name in drawn else Drawing(words, None)

    monkeypatch.setattr(Plot, "drawing", drawing)
    return drawn


@pytest.fixture
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write figures of few pixels."""
    monkeypatch.setattr("pdiff.report.plot._DPI", 20)
