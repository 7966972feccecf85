"""The model card: what it says, and whose README.md is never touched."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pdiff.generation import Generated, generate
from pdiff.generation.card import CARD, rewrite_card
from pdiff.training import Run
from pdiff.verification import verify

RESULTS: dict[str, Any] = {
    "runs": [{}],
    "task": {"name": "a|b*", "split": "test", "samples": 1000, "metric": {"name": "RMSE", "percent": False}},
    "generated": {"mean": 1.25},
    "original": {"mean": 1.5},
    "novelty": {
        "max_similarity": {"mean": 0.5},
        "original_max_similarity": 0.75,
        "gg": None,
        "oo": 0.625,
        "dispersion": 0.875,
    },
    "verdict": {"position": "on", "sentence": "3 models <on> the frontier."},
    "provenance": {"pdiff": "1.2.3", "date": "2025-01-01"},
}


@pytest.fixture
def generated(make_run: Callable[..., Run], tmp_path: Path) -> Generated:
    return generate(make_run(), n=3, seed=11, out=tmp_path / "g")


def front_matter(text: str) -> dict[str, Any]:
    """The lines between the dashes, each a key and a value in JSON."""
    _, lines, _ = text.split("---\n", 2)
    return {key: json.loads(value) for key, _, value in (line.partition(": ") for line in lines.splitlines())}


def test_generate_writes_what_they_are_and_how_to_make_them_again(
    generated: Generated, tmp_path: Path
) -> None:
    text = (generated.path / CARD).read_text()
    head = front_matter(text)
    assert head["library_name"] == "pdiff"
    assert (head["seed"], head["preset"]) == (11, generated.info.run.preset)
    assert (head["bank_digest"], head["run_digest"]) == (generated.bank.digest, generated.info.run.digest)
    assert "# 3 generated checkpoints of a network" in text
    assert "Not evaluated yet" in text
    assert generated.info.cost.gradient_evaluations == 0
    assert "- Gradients of the networks' training data: 0\n" in text
    assert "pdiff generate ../run --n 3 --seed 11 --out ../g-again" in text
    assert (generated.path / "../run").resolve() == tmp_path / "run"


def test_the_command_names_the_format(make_run: Callable[..., Run], tmp_path: Path) -> None:
    generated = generate(make_run(), n=1, format="pth", out=tmp_path / "g")
    assert "--n 1 --seed 0 --format pth --out" in (generated.path / CARD).read_text()


def test_evaluate_adds_figures_and_verdict(generated: Generated) -> None:
    assert rewrite_card(generated, RESULTS) is None
    text = (generated.path / CARD).read_text()
    assert "Not evaluated yet" not in text
    assert r"3 models \<on\> the frontier." in text
    assert "| mean RMSE | 1.2500 | 1.5000 |" in text
    assert "| similarity within | – | 0.6250 |" in text
    assert r"On 1,000 test samples of a\|b\*:" in text
    (model,) = front_matter(text)["model-index"]
    assert model["results"][0]["metrics"] == [{"type": "RMSE", "name": "mean RMSE", "value": 1.25}]
    before = text
    assert rewrite_card(generated, RESULTS) is None
    assert (generated.path / CARD).read_text() == before


def test_a_task_of_yours_is_named_without_its_folder(generated: Generated) -> None:
    task = RESULTS["task"] | {"name": "/home/somebody/tasks/mine.py:factory"}
    rewrite_card(generated, RESULTS | {"task": task})
    text = (generated.path / CARD).read_text()
    assert "somebody" not in text
    assert "samples of mine.py:factory" in text.replace("\\", "")


def test_a_card_breaks_nothing(generated: Generated, make_run: Callable[..., Run]) -> None:
    rewrite_card(generated, RESULTS)
    assert verify(generated.path).bad == []
    assert len(Generated.open(generated.path)) == 3
    again = generate(Run.open(generated.path / "../run"), n=2, out=generated.path, overwrite=True)
    assert "Not evaluated yet" in (again.path / CARD).read_text()


def test_somebody_elses_readme_is_left_alone(generated: Generated, tmp_path: Path) -> None:
    path = generated.path / CARD
    path.write_text("mine")
    assert rewrite_card(generated, RESULTS) == f"{path}: not written by pdiff, left as it is"
    assert path.read_text() == "mine"
    path.unlink()
    (tmp_path / "elsewhere").write_bytes(b"theirs")
    path.symlink_to(tmp_path / "elsewhere")
    assert "left as it is" in str(rewrite_card(generated, RESULTS))
    assert (tmp_path / "elsewhere").read_bytes() == b"theirs"


def test_a_card_that_is_missing_is_written(generated: Generated) -> None:
    (generated.path / CARD).unlink()
    assert rewrite_card(generated, RESULTS) is None
    assert "the frontier" in (generated.path / CARD).read_text()


def test_what_cannot_be_written_is_said(generated: Generated) -> None:
    path = generated.path / CARD
    path.unlink()
    path.mkdir()
    assert str(rewrite_card(generated, RESULTS)).startswith(f"{path}: not written (")
