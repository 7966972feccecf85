"""Tasks other than classification, from training a network to a verdict, with a few scenes and steps."""

import json
from functools import partial
from pathlib import Path

import pytest

from pdiff.evaluation.evaluate import evaluate
from pdiff.report.plot import Drawing, Plot
from pdiff.tasks import denoising, scenes
from pdiff.tasks.fashion_files import DEBIAN
from tests.command import pdiff

FEW = {"train": 32, "validation": 4, "test": 6}
MEMBERS = 6
TINY = ["--set", "train.steps=20", "--set", "denoiser.width=16", "--set", "sampler.steps=4"]


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="needs Debian's dataset-fashion-mnist")
@pytest.mark.parametrize(
    ("task", "subset", "metric"),
    [
        ("segmentation", "last-norms", ("mIoU", True, True)),
        ("detection", "last-norms", ("AP", True, True)),
        ("denoising", "last.*", ("noise MSE", False, False)),
    ],
)
def test_a_task_ends_with_a_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str, subset: str, metric: tuple[str, bool, bool]
) -> None:
    if task == "detection":
        pytest.importorskip("torchvision")
    monkeypatch.setattr(scenes, "SIZES", FEW)
    monkeypatch.setattr(denoising, "SIZES", FEW)
    monkeypatch.setattr("pdiff.evaluation.verdict.support.FEWEST", 2)  # or so few members support no verdict
    monkeypatch.setattr(Plot, "drawing", lambda plot: Drawing(plot.name, None))
    monkeypatch.setattr("pdiff.evaluation.evaluate.evaluate", partial(evaluate, replicates=20))
    for command in (
        ["zoo", task, "--k", str(MEMBERS), "--subset", subset, "--epochs", "1"],
        ["collect"],
        ["train", *TINY],
        ["generate", "--n", "2"],
        ["evaluate", "--baselines-n", "2"],
    ):
        done = pdiff(tmp_path, *command)
        assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "evaluation/results.json").read_text())
    assert (results["original"]["n"], results["generated"]["n"]) == (MEMBERS, 2)
    assert results["task"]["name"] == task
    assert tuple(results["task"]["metric"].values()) == metric
    assert results["task"]["samples"] == FEW["test"]
    verdict = results["verdict"]
    assert verdict["position"] or "checkpoints are all alike" in verdict["advice"]["unsupported"]
