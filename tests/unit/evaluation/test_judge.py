"""Whole populations: the task's own metric goes all the way, whatever it is made of."""

import math

import pytest
import torch
from torch import Tensor

from pdiff.bank import Bank
from pdiff.evaluation.families import Population
from pdiff.evaluation.judge import Judged, judge
from pdiff.evaluation.predict import Predictor
from pdiff.tasks.base import Metric, Split
from pdiff.tasks.metrics import average_precision, mean_iou, rmse
from tests.unit.evaluation.waves import SAMPLES, Waves


class Regression(Waves):
    """Three numbers to predict; within a tolerance, in all three, is correct."""

    metric: Metric = rmse()
    tolerance = 4.0

    def data(self, split: Split) -> tuple[Tensor, Tensor]:
        inputs, _ = super().data(split)
        return inputs, inputs[:, 0, :3].cumsum(dim=1)

    def correct(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return ((outputs - targets).abs() < self.tolerance).all(dim=1)


class Segmentation(Waves):
    """Each of eight places has a class; half of the places right is correct."""

    metric: Metric = mean_iou(3)

    def data(self, split: Split) -> tuple[Tensor, Tensor]:
        inputs, _ = super().data(split)
        return inputs, (inputs[:, 0] > 0).long() + (inputs[:, 0] > 1).long()

    def outputs(self, plain: Tensor, inputs: Tensor) -> Tensor:
        return plain[:, :, None] * torch.linspace(-1, 1, 8) + inputs

    def correct(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs.argmax(dim=1) == targets).float().mean(dim=1) >= 0.5


class Detection(Waves):
    """Two boxes at most in an image; a detection that hits is correct."""

    metric: Metric = average_precision(1)

    def data(self, split: Split) -> tuple[Tensor, Tensor]:
        inputs, labels = super().data(split)
        corner = inputs[:, 0, :2, None] + torch.tensor([0.0, 0.0])
        boxes = torch.cat([corner, corner + 3], dim=2)
        padding = torch.stack([torch.zeros_like(labels), torch.where(labels == 0, -1, 0)], dim=1)
        return inputs, torch.cat([boxes, padding[..., None]], dim=2)

    def outputs(self, plain: Tensor, inputs: Tensor) -> Tensor:
        corner = inputs[:, 0, :2, None] + 0.02 * plain[:, :1, None]
        boxes = torch.cat([corner, corner, corner + 3, corner + 3], dim=2)
        scores = plain[:, 1:3, None]
        return torch.cat([boxes, scores, torch.zeros_like(scores)], dim=2)

    def correct(self, outputs: Tensor, targets: Tensor) -> Tensor:
        measured = self.metric.measure(outputs, targets)
        return (measured[:, [1, 4]] > 0).any(dim=1)


class Tracker:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.done, self.figures = 0, list[dict[str, float]]()

    def advance(self, amount: int = 1, **info: float) -> None:
        self.done += amount
        self.figures.append(info)


@pytest.fixture(params=[Regression, Segmentation, Detection])
def task(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Waves:
    """A task whose network is the classifier's, reshaped where its outputs are."""
    task: Waves = request.param()
    if hasattr(task, "outputs"):
        kind = type(task.build("residual"))
        original = kind.forward
        monkeypatch.setattr(kind, "forward", lambda self, x: task.outputs(original(self, x.clone()), x))
    return task


def test_the_metric_of_each_model_is_that_of_its_outputs(norm_bank: Bank, task: Waves) -> None:
    population = Population("original", None, len(norm_bank), norm_bank.batch)
    tracker = Tracker()
    judged = judge(population, Predictor(norm_bank, task, "residual", batch_size=20), tracker)
    inputs, targets = task.data("test")
    again = torch.randint(SAMPLES, (SAMPLES,), generator=torch.Generator().manual_seed(0))
    scores, resampled = judged.scores(), judged.scores(again)
    metric: Metric = task.metric  # type: ignore[attr-defined]
    assert len(set(scores.tolist())) > 1, "the members have to differ for this to mean anything"
    for index, row in enumerate(norm_bank.batch(range(len(norm_bank)))):
        network = task.build("residual").eval()
        network.load_state_dict(norm_bank.state_dict(row))
        with torch.inference_mode():
            outputs = network(inputs.clone())
        assert torch.equal(judged.wrong[index], ~task.correct(outputs, targets))
        assert float(scores[index]) == pytest.approx(
            metric.reduce(metric.measure(outputs, targets)), rel=1e-4
        )
        drawn = metric.reduce(metric.measure(outputs[again], targets[again]))
        assert float(resampled[index]) == pytest.approx(drawn, rel=1e-4)
        assert tracker.figures[index] == {metric.name: pytest.approx(float(scores[index]))}
    assert tracker.done == len(norm_bank)


def test_without_a_metric_a_model_is_as_good_as_its_share_of_correct_samples(norm_bank: Bank) -> None:
    population = Population("original", None, len(norm_bank), norm_bank.batch)
    tracker = Tracker()
    judged = judge(population, Predictor(norm_bank, Waves(), "residual"), tracker, votes=range(2))
    assert judged.metric is None
    assert torch.equal(judged.scores(), 1 - judged.wrong.double().mean(dim=1))
    assert tracker.figures[-1] == {"accuracy": float(judged.scores()[-1])}
    assert judged.votes is not None
    assert judged.votes.shape == (2, SAMPLES, 3)
    assert torch.allclose(judged.votes.float().sum(dim=2), torch.ones(2, SAMPLES), atol=2e-3)


def test_regression_counts_the_error_and_the_tolerance(norm_bank: Bank) -> None:
    """By hand: one model, its errors squared one by one."""
    task = Regression()
    population = Population("original", None, 1, norm_bank.batch)
    judged: Judged = judge(population, Predictor(norm_bank, task, "residual"), Tracker())
    network = task.build("residual").eval()
    network.load_state_dict(norm_bank.state_dict(norm_bank.batch([0])[0]))
    inputs, targets = task.data("test")
    with torch.inference_mode():
        errors = (network(inputs.clone()) - targets).tolist()
    squares = [number**2 for sample in errors for number in sample]
    assert float(judged.scores()) == pytest.approx(math.sqrt(sum(squares) / len(squares)), rel=1e-5)
    expected = [any(abs(number) >= task.tolerance for number in sample) for sample in errors]
    assert judged.wrong[0].tolist() == expected
    assert 0 < sum(expected) < SAMPLES
