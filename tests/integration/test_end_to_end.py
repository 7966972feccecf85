"""The whole way through the command line, on a task small enough for a test."""

import json
from functools import partial
from pathlib import Path

import pytest
import torch

import pdiff
from pdiff.evaluation.evaluate import evaluate
from pdiff.report.plot import Drawing, Plot
from tests import command

TRAIN = ["--set", "train.steps=60", "--set", "denoiser.width=64", "--set", "sampler.steps=10"]
BASELINES = 5


def run(folder: Path, *arguments: str) -> str:
    """Run a command that must succeed and return its stdout."""
    result = command.pdiff(folder, *arguments)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize(
    ("arch", "fmt", "generated"),
    [("convnet", "safetensors", "safetensors"), ("mlp", "pth", "source"), ("mlp", "safetensors", "pth")],
)
def test_from_a_folder_of_checkpoints_to_a_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arch: str, fmt: str, generated: str
) -> None:
    if arch != "convnet":  # figures and the bootstrap take as long as all the rest: once is enough
        monkeypatch.setattr(Plot, "drawing", lambda plot: Drawing(plot.name, None))
        monkeypatch.setattr("pdiff.evaluation.evaluate.evaluate", partial(evaluate, replicates=50))
    run(tmp_path, "zoo", "digits", "--arch", arch, "--k", "30", "--epochs", "3", "--format", fmt)
    collected = json.loads(run(tmp_path, "collect", "./ckpts", "--json"))
    assert collected["members"] == 30
    run(tmp_path, "train", *TRAIN)
    run(tmp_path, "generate", "--n", "5", "--format", generated)
    verified = run(tmp_path, "verify", "bank", "run", "generated").splitlines()
    assert [line.endswith(", all as written") for line in verified] == [True] * 3
    shown = run(tmp_path, "evaluate", "--baselines-n", str(BASELINES))
    assert "Report: evaluation/report.html" in shown

    results = json.loads((tmp_path / "evaluation" / "results.json").read_text())
    assert (results["original"]["n"], results["generated"]["n"]) == (30, 5)
    assert 0.3 < results["generated"]["score"]["mean"] <= 1
    assert results["task"] == {
        **{"name": "digits", "arch": arch, "split": "test", "samples": 500},
        "metric": {"name": "accuracy", "higher_is_better": True, "percent": True},
    }
    families = {"noise", "mean-noise", "average", "interpolation", "gaussian", "pca-gaussian"}
    assert {b["family"] for b in results["baselines"]} == families
    page = (tmp_path / "evaluation" / "report.html").read_text()
    assert results["verdict"]["sentence"] in page.replace("\u00a0", " ")

    network = pdiff.load_task("digits").build(arch)
    for state in pdiff.Generated.open(tmp_path / "generated"):
        network.load_state_dict(state, strict=True)
        assert all(bool(torch.isfinite(tensor).all()) for tensor in state.values())


def test_the_python_way_gives_what_the_commands_give(tmp_path: Path) -> None:
    run(tmp_path, "zoo", "digits", "--arch", "mlp", "--k", "12", "--epochs", "1")
    run(tmp_path, "collect")
    run(tmp_path, "train", *TRAIN)
    run(tmp_path, "generate", "--n", "3")
    bank = pdiff.collect(tmp_path / "ckpts", out=tmp_path / "bank2")
    trained = pdiff.train(bank, out=tmp_path / "run2", config=pdiff.Config.build(settings=TRAIN[1::2]))
    models = pdiff.generate(trained, n=3, out=tmp_path / "generated2")
    assert bank.digest == pdiff.Bank.open(tmp_path / "bank").digest
    assert torch.equal(models.rows(), pdiff.Generated.open(tmp_path / "generated").rows())


def test_the_demo_ends_with_table_and_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pdiff.Config, "build", partial(pdiff.Config.build, settings=TRAIN[1::2]))
    monkeypatch.setattr(Plot, "drawing", lambda plot: Drawing(plot.name, None))
    fewer = partial(evaluate, baselines_n=BASELINES, replicates=50)
    monkeypatch.setattr("pdiff.evaluation.evaluate.evaluate", fewer)
    shown = run(tmp_path, "demo", "--task", "digits", "--arch", "mlp", "--k", "20", "--n", "4")
    for folder in ("ckpts: 20", "bank: 20", "run: default", "generated: 4", "evaluation/report.html"):
        assert f"pdiff-demo/{folder}" in shown
    assert "variance explained" not in shown
    assert (tmp_path / "pdiff-demo" / "evaluation" / "report.html").is_file()
