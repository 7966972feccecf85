"""Whole populations: the task's own metric goes all the way, whatever it is made of."""

import math

import pytest
import torch
from torch import Tensor

from pdiff.bank import Bank
from pdiff.common.errors import UsageError
from pdiff.evaluation.inference.compared import predict_population
from pdiff.evaluation.inference.predictions import Predictions
from pdiff.evaluation.inference.predictor import Predictor
from pdiff.evaluation.metrics.soft_voting import likelihood, normalised
from pdiff.evaluation.populations import Population, blocks
from pdiff.tasks.base import Metric, Split
from pdiff.tasks.metrics import average_precision, mean_iou
from pdiff.tasks.regression import rmse
from pdiff.tasks.scoring import wrong
from tests.unit.evaluation.waves import SAMPLES, Waves


class Regression(Waves):
    """Three numbers to predict, each right within a tolerance."""

    metric: Metric = rmse()
    tolerance = 4.0

    def data(self, split: Split) -> tuple[Tensor, Tensor]:
        inputs, _ = super().data(split)
        return inputs, inputs[:, 0, :3].cumsum(dim=1)

    def error(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs - targets).abs()


class Segmentation(Waves):
    """Each of eight places has a class; less than half of the places right is wrong."""

    metric: Metric = mean_iou(3)

    def data(self, split: Split) -> tuple[Tensor, Tensor]:
        inputs, _ = super().data(split)
        return inputs, (inputs[:, 0] > 0).long() + (inputs[:, 0] > 1).long()

    def outputs(self, plain: Tensor, inputs: Tensor) -> Tensor:
        return plain[:, :, None] * torch.linspace(-1, 1, 8) + inputs

    def error(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs.argmax(dim=1) == targets).float().mean(dim=1) < 0.5


class Detection(Waves):
    """Two boxes at most in an image; no detection that hits is wrong."""

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

    def error(self, outputs: Tensor, targets: Tensor) -> Tensor:
        measured = self.metric.measure(outputs, targets)
        return ~(measured[:, [1, 4]] > 0).any(dim=1)


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
    found = predict_population(population, Predictor(norm_bank, task, "residual", batch_size=20), tracker)
    inputs, targets = task.data("test")
    again = torch.randint(SAMPLES, (SAMPLES,), generator=torch.Generator().manual_seed(0))
    scores, resampled = found.scores(), found.scores(again)
    metric: Metric = task.metric  # type: ignore[attr-defined]
    assert len(set(scores.tolist())) > 1, "the members have to differ for this to mean anything"
    for index, row in enumerate(norm_bank.batch(range(len(norm_bank)))):
        network = task.build("residual").eval()
        network.load_state_dict(norm_bank.state_dict(row))
        with torch.inference_mode():
            outputs = network(inputs.clone())
        assert torch.equal(found.wrong[index], wrong(task, outputs, targets).flatten())
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
    found = predict_population(population, Predictor(norm_bank, Waves(), "residual"), tracker, votes=range(2))
    assert found.metric is None
    assert torch.equal(found.scores(), 1 - found.wrong.double().mean(dim=1))
    assert tracker.figures[-1] == {"accuracy": float(found.scores()[-1])}
    assert found.votes is not None
    assert found.votes.shape == (2, SAMPLES, 3)
    assert torch.allclose(found.votes.sum(dim=2), torch.ones(2, SAMPLES), atol=1e-6)


class Undecided(Waves):
    """Waves by a network that gives all classes nearly the same probability."""

    def probabilities(self, outputs: Tensor) -> Tensor:
        """Return the probabilities of logits that hardly differ."""
        return (1e-4 * outputs).softmax(dim=-1)


@pytest.mark.parametrize("task", [Waves(), Undecided()], ids=["Waves", "Undecided"])
def test_votes_are_as_exact_as_the_networks_outputs(norm_bank: Bank, task: Waves) -> None:
    """A vote of one is right where its network is, and its NLL is that of the network's own outputs."""
    population = Population("original", None, len(norm_bank), norm_bank.batch)
    predictor = Predictor(norm_bank, task, "residual")
    found = predict_population(population, predictor, Tracker(), votes=range(len(norm_bank)))
    assert found.votes is not None
    inputs, targets = task.data("test")
    for index, row in enumerate(norm_bank.batch(range(len(norm_bank)))):
        network = task.build("residual").eval()
        network.load_state_dict(norm_bank.state_dict(row))
        with torch.inference_mode():
            outputs = network(inputs.clone())
        assert torch.equal(found.votes[index].argmax(dim=1), outputs.argmax(dim=1))
        nll = -task.probabilities(outputs).double()[torch.arange(SAMPLES), targets].log().mean()
        assert likelihood(normalised(found.votes[index]), targets) == pytest.approx(float(nll), rel=1e-6)


def test_regression_counts_the_error_and_the_tolerance(norm_bank: Bank) -> None:
    """By hand: one model, its errors squared one by one."""
    task = Regression()
    population = Population("original", None, 1, norm_bank.batch)
    found: Predictions = predict_population(population, Predictor(norm_bank, task, "residual"), Tracker())
    network = task.build("residual").eval()
    network.load_state_dict(norm_bank.state_dict(norm_bank.batch([0])[0]))
    inputs, targets = task.data("test")
    with torch.inference_mode():
        errors = (network(inputs.clone()) - targets).tolist()
    squares = [number**2 for sample in errors for number in sample]
    assert float(found.scores()) == pytest.approx(math.sqrt(sum(squares) / len(squares)), rel=1e-5)
    expected = [abs(number) > task.tolerance for sample in errors for number in sample]
    assert found.parts == 3
    assert found.wrong[0].tolist() == expected
    assert 0 < sum(expected) < 3 * SAMPLES


def test_parts_count_with_their_samples() -> None:
    """By hand: two models, three samples of two parts."""
    wrong = torch.tensor([[1, 0, 0, 0, 1, 1], [0, 0, 1, 0, 0, 0]], dtype=torch.bool)
    found = Predictions(Population("original", None, 2, torch.zeros), wrong, parts=2)
    assert found.scores().tolist() == pytest.approx([1 / 2, 5 / 6])
    assert found.scores(torch.tensor([2, 2, 0])).tolist() == pytest.approx([1 / 6, 1.0])
    assert found.scores(torch.tensor([1]), torch.tensor([1])).tolist() == [0.5]


def test_rows_come_in_blocks_of_bounded_memory() -> None:
    assert [len(block) for block in blocks(5, 2**23)] == [2, 2, 1]
    assert [len(block) for block in blocks(2, 2**30)] == [1, 1]


def test_a_metric_that_gives_no_number_is_refused(norm_bank: Bank) -> None:
    class Undefined(Waves):
        metric = Metric("AUC", True, True, lambda outputs, _: outputs[:, :1], lambda _: math.nan)

    predictor = Predictor(norm_bank, Undefined(), "residual")
    with pytest.raises(UsageError, match="task waves: the metric AUC is nan; a finite number is wanted"):
        predictor.score(predictor.predict(norm_bank.batch([0])[0]))
