import msgspec
import pytest

from pdiff.evaluation.schema import RESULTS
from pdiff.experiments import Experiment
from tests.unit.report.sample import changed, lean_results

TASK = """
import torch
from torch import nn
from pdiff.tasks import Classification


class Mine(Classification):
    name = "mine"

    def build(self, arch):
        return nn.Sequential(nn.Linear(8, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3))

    def data(self, split):
        generator = torch.Generator().manual_seed(("train", "validation", "test").index(split))
        targets = torch.arange(120) % 3
        return 1.5 * torch.eye(3, 8)[targets] + torch.randn(120, 8, generator=generator), targets
"""


@pytest.fixture
def experiment(tmp_path):
    """A small experiment with a task of one's own."""
    (tmp_path / "mine.py").write_text(TASK)
    return Experiment(
        task=f"{tmp_path / 'mine.py'}:Mine",
        arch="network",
        k=12,
        n=3,
        epochs=2,
        baselines_n=2,
        settings={"train.steps": 3, "sampler.steps": 3},
    )


@pytest.fixture
def judged(monkeypatch):
    """Evaluations are made up: what they were asked for is returned, and a sample is written."""
    calls = []

    def evaluate(folders, **how):
        calls.append((folders, how))
        entries = {"generated.n": sum(map(len, folders)), "bank.members": len(folders[0].bank)}
        return changed(lean_results(), {**entries, "bank.dim": folders[0].bank.dim})

    def save_report(results, out):
        out.mkdir()
        (out / RESULTS).write_bytes(msgspec.json.encode(results))

    monkeypatch.setattr("pdiff.experiments.experiment.evaluate", evaluate)
    monkeypatch.setattr("pdiff.experiments.experiment.save_report", save_report)
    return calls
