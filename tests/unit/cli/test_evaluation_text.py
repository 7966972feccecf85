"""What `pdiff evaluate` prints of planted cases, at several widths, against texts that were read once.

PDIFF_GOLDEN=1 pytest tests/unit/cli/test_evaluation_text.py    # writes them anew
"""

import os
import sys
from pathlib import Path

import pytest

from pdiff.cli.console import Console
from pdiff.cli.evaluate import show
from pdiff.evaluation.schema import Results
from tests.unit.evaluation.planted import planted

TEXTS = Path(__file__).parent / "evaluation_texts"
WIDTHS = (60, 80, 100, 140)
CASES = planted()


@pytest.mark.parametrize("name", CASES)
def test_the_text_is_readable_at_any_width(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = "".join(f"{'=' * width}\n{printed(CASES[name], width, capsys, monkeypatch)}" for width in WIDTHS)
    path = TEXTS / f"{name}.txt"
    if os.environ.get("PDIFF_GOLDEN"):
        path.write_text(found, encoding="utf-8")
    assert found == path.read_text(encoding="utf-8")


def printed(
    results: Results, width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> str:
    """Return what stdout gets on a terminal of this width; the table's lines fit it."""
    console = Console()
    monkeypatch.setattr(console._out, "width", width)
    monkeypatch.setattr(sys, "argv", ["pdiff", "evaluate"])  # advice begins with what was typed
    show(console, results, Path("evaluation"), everything=False)
    text = capsys.readouterr().out
    table = text[text.index("mnist1d") : text.index("\nmean:")].splitlines()
    assert max(map(len, table)) <= width
    return text
