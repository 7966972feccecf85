"""The model card: what it says, and whose README.md is never touched."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pdiff.common.provenance import DataAccess
from pdiff.generation.card import CARD, Judgement, rewrite_card
from pdiff.generation.generated import Generated
from pdiff.generation.sample import generate
from pdiff.training import Run
from pdiff.verification import verify

JUDGED = Judgement(
    sentence="3 models <on> the frontier.",
    task="a|b*",
    arch="wide",
    split="test",
    samples=1000,
    metric="RMSE",
    percent=False,
    rows=[
        ("mean RMSE", 1.25, 1.5),
        ("max-similarity", 0.5, 0.75),
        ("similarity within", None, 0.625),
        ("dispersion", 0.875, 1),
    ],
    version="1.2.3",
    date="2025-01-01",
)


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
    assert (head["seed"], head["generator"]) == (11, generated.info.generator.label)
    assert (head["bank_digest"], head["generator_digest"]) == (
        generated.bank.digest,
        generated.info.generator.digest,
    )
    assert "# 3 generated checkpoints of a network" in text
    assert "Not evaluated yet" in text
    assert generated.info.access == DataAccess("weights", 0)
    assert "- Seen besides the weights: nothing\n" in text
    assert "neural-network-diffusion" in head["tags"]
    assert (
        "pdiff generate ../run --sampler dpm++2m --steps 5 --temperature 1 --n 3 --seed 11 --out ../g-again"
        in text
    )
    assert (generated.path / "../run").resolve() == tmp_path / "run"


def test_the_command_names_the_format(make_run: Callable[..., Run], tmp_path: Path) -> None:
    generated = generate(make_run(), n=1, format="pth", out=tmp_path / "g")
    assert "--n 1 --seed 0 --format pth --out" in (generated.path / CARD).read_text()


def test_evaluate_adds_figures_and_verdict(generated: Generated) -> None:
    assert rewrite_card(generated, JUDGED) is None
    text = (generated.path / CARD).read_text()
    assert "Not evaluated yet" not in text
    assert front_matter(text)["base_network"] == "a|b* wide"
    assert r"3 models \<on\> the frontier." in text
    assert "| mean RMSE | 1.2500 | 1.5000 |" in text
    assert "| similarity within | – | 0.6250 |" in text
    assert r"On 1,000 test samples of a\|b\*, by RMSE:" in text
    (model,) = front_matter(text)["model-index"]
    assert model["results"][0]["metrics"] == [{"type": "RMSE", "name": "mean RMSE", "value": 1.25}]
    before = text
    assert rewrite_card(generated, JUDGED) is None
    assert (generated.path / CARD).read_text() == before


def test_a_task_of_yours_is_named_without_its_folder(generated: Generated) -> None:
    rewrite_card(generated, replace(JUDGED, task="/home/somebody/tasks/mine.py:factory", runs=2))
    text = (generated.path / CARD).read_text()
    assert "somebody" not in text
    assert "samples of mine.py:factory" in text.replace("\\", "")
    assert "the frontier. 2 folders, judged together." in text


def test_a_card_breaks_nothing(generated: Generated, make_run: Callable[..., Run]) -> None:
    rewrite_card(generated, JUDGED)
    assert verify(generated.path).bad == []
    assert len(Generated.open(generated.path)) == 3
    again = generate(Run.open(generated.path / "../run"), n=2, out=generated.path, overwrite=True)
    assert "Not evaluated yet" in (again.path / CARD).read_text()


def test_somebody_elses_readme_is_left_alone(generated: Generated, tmp_path: Path) -> None:
    path = generated.path / CARD
    path.write_text("mine")
    assert rewrite_card(generated, JUDGED) == f"{path}: not written by pdiff, left as it is"
    assert path.read_text() == "mine"
    path.unlink()
    (tmp_path / "elsewhere").write_bytes(b"theirs")
    path.symlink_to(tmp_path / "elsewhere")
    assert "left as it is" in str(rewrite_card(generated, JUDGED))
    assert (tmp_path / "elsewhere").read_bytes() == b"theirs"


def test_a_card_that_is_missing_is_written(generated: Generated) -> None:
    (generated.path / CARD).unlink()
    assert rewrite_card(generated, JUDGED) is None
    assert "the frontier" in (generated.path / CARD).read_text()


def test_what_cannot_be_written_is_said(generated: Generated) -> None:
    path = generated.path / CARD
    path.unlink()
    path.mkdir()
    assert str(rewrite_card(generated, JUDGED)).startswith(f"{path}: not written (")
