"""The Python functions as scripts and notebooks use them: progress, and what objects say of themselves."""

import io
import re
import sys
from collections.abc import Callable
from html import escape
from pathlib import Path
from types import ModuleType

import pytest

import pdiff
from pdiff.bank import Bank
from pdiff.training import Run
from tests.unit.report.sample import sample_results


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("given", "where", "shown"),
    [
        ({}, "script", False),
        ({}, "terminal", True),
        ({}, "notebook", True),
        ({"progress": True}, "script", True),
        ({"progress": False}, "terminal", False),
    ],
)
def test_progress_is_shown_where_somebody_looks(
    ckpts: Path, monkeypatch: pytest.MonkeyPatch, given: dict[str, bool], where: str, shown: bool
) -> None:
    said = Terminal() if where == "terminal" else io.StringIO()
    monkeypatch.setattr(sys, "stderr", said)
    if where == "notebook":
        monkeypatch.setitem(sys.modules, "ipykernel", ModuleType("ipykernel"))
    pdiff.collect(ckpts, out=ckpts.parent / "b", **given)  # type: ignore[arg-type]
    assert ("Comparing tensors" in said.getvalue()) == shown


def test_banks_and_runs_may_be_paths(bank: Bank, tmp_path: Path) -> None:
    config = pdiff.Config.build(settings=["train.steps=5", "codec.kind=identity", "check=false"])
    run = pdiff.train(str(bank.path), out=tmp_path / "run", config=config)
    assert len(pdiff.generate(str(run.path), n=2, out=tmp_path / "a")) == 2
    averages = pdiff.Config.preset("average")
    assert len(pdiff.generate(bank.path, config=averages, n=2, out=tmp_path / "b")) == 2


def test_objects_say_the_numbers_that_matter(
    bank: Bank, make_run: Callable[..., Run], tmp_path: Path
) -> None:
    assert repr(bank) == f"<Bank {bank.path}: 12 checkpoints × 21 numbers>"
    assert repr(bank.view([0, 1])) == f"<View {bank.path}: 2 checkpoints × 21 numbers>"
    run = make_run()
    assert re.fullmatch(r"<Run .*/run: default, .*train.steps=5.*, of 12 checkpoints, [\d.]+ s>", repr(run))
    models = pdiff.generate(run, n=2, out=tmp_path / "generated")
    assert re.fullmatch(r"<Generated .*/generated: 2 checkpoints of default, .*, seed 0>", repr(models))


def test_results_say_how_good_and_how_new() -> None:
    results = sample_results()
    said = re.sub(r"\d+(\.\d+)?", "9", repr(results))
    assert said.startswith("<Results p-diff: 9 models, mnist9d accuracy 9, of originals 9, max-similarity")
    page = results._repr_html_()
    assert page.count("<tr>") == page.count("</tr>") == 4
    for sentence in results.verdict.advice.sentences:
        assert escape(sentence) in page


def test_presets_classes_and_paths_are_taken_as_people_write_them(tmp_path):
    from pdiff.alignment.align import as_task as in_alignment
    from pdiff.evaluation.evaluate import Options
    from pdiff.tasks.digits import Digits
    from pdiff.tasks.registry import as_task

    assert isinstance(as_task(Digits), Digits)
    assert isinstance(in_alignment("digits"), Digits)
    assert Options.of({"cache": str(tmp_path)}).cache == tmp_path
    assert Options.of({"cache": None}).cache is None
    with pytest.raises(pdiff.UsageError, match="unknown preset 'papper'; did you mean 'paper'") as caught:
        pdiff.Config.preset("papper")
    assert not hasattr(caught.value, "__notes__")
    error = pdiff.UsageError("name a generator with --generator")
    assert error.__notes__ == ["In Python: config=pdiff.Config.preset(…)"]
