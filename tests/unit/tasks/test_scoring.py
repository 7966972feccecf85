"""What is wrong, what a metric measures, and a network's score, by hand."""

import math

import pytest
import torch
from torch import nn

from pdiff.common.errors import InputError, UsageError
from pdiff.tasks import Classification, Regression, SplitData
from pdiff.tasks.base import Metric
from pdiff.tasks.scoring import load, measured, score, wrong
from tests.unit.evaluation.waves import Waves

OUTPUTS = torch.tensor([[0.0, 1.0], [2.0, 3.0], [4.0, float("nan")]])
TARGETS = torch.tensor([[0.1, 1.6], [2.5, 3.0], [9.0, 5.0]])


class Numbers(Regression):
    name = "numbers"
    tolerance = 0.5

    def build(self, arch):
        return torch.nn.Identity()

    def data(self, split):
        return OUTPUTS.nan_to_num(5.0), TARGETS


class Classes(Classification):
    name = "classes"

    def build(self, arch):
        return torch.nn.Identity()

    def data(self, split):
        return torch.eye(3)[[0, 1, 2, 0, 1]], torch.tensor([0, 1, 2, 2, 2])


def test_each_number_of_a_regression_is_right_within_the_tolerance():
    expected = [[False, True], [False, False], [True, True]]
    assert wrong(Numbers(), OUTPUTS, TARGETS).tolist() == expected, "at the tolerance is right, NaN is wrong"
    assert wrong(Numbers(), OUTPUTS[:, :, None], TARGETS[:, :, None]).tolist() == expected


def test_a_regression_scores_with_its_metric():
    squares = [0.01, 0.36, 0.25, 0.0, 25.0, 0.0]
    found = score(Numbers(), Numbers().build("network"), SplitData(Numbers(), "test"), batch_size=2)
    assert found == pytest.approx(math.sqrt(sum(squares) / 6), rel=1e-6)
    assert measured(Numbers(), OUTPUTS[:2], TARGETS[:2]).shape == (2, 1)
    assert measured(Numbers(), OUTPUTS[:2], TARGETS[:2])[:, 0].tolist() == pytest.approx([0.185, 0.125])
    assert Numbers().describe(found) == f"RMSE {found:.4g}"
    assert not Numbers().higher_is_better


def test_a_classifier_scores_with_the_share_that_is_right():
    task = Classes()
    assert score(task, task.build("network"), SplitData(task, "test"), batch_size=2) == 3 / 5
    assert wrong(task, *task.data("test")).tolist() == [[False], [False], [False], [True], [True]]
    assert measured(task, *task.data("test")) is None
    assert task.describe(0.5) == "accuracy 50.00%"


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ([0, 1, 5], "task classes: targets hold 5, and the network has classes 0 to 2"),
        ([0, -1, 1], "task classes: targets hold -1, and the network has classes 0 to 2"),
        ([0.0, 1.0, 2.0], "task classes: targets are torch.float32; numbers of classes are wanted"),
    ],
)
def test_targets_that_are_no_classes_of_the_network_are_refused(targets, message):
    with pytest.raises(UsageError) as refusal:
        wrong(Classes(), torch.eye(3), torch.tensor(targets))
    assert str(refusal.value) == message


def test_parts_of_samples_count_each():
    class Labels(Classes):
        def error(self, outputs, targets):
            return torch.tensor([[0.0, 1.0, 0.0, 0.0]]).repeat(len(outputs), 1)

    assert score(Labels(), Labels().build("network"), SplitData(Labels(), "test")) == 0.75


@pytest.mark.parametrize("shape", [(), (4,), (5, 2, 1)])
def test_errors_of_another_shape_are_refused(shape):
    class Odd(Classes):
        def error(self, outputs, targets):
            return torch.zeros(shape)

    with pytest.raises(UsageError, match=r"task classes: error\(\) returned .*; \[5\] or \[5, S\] is wanted"):
        wrong(Odd(), *Odd().data("test"))


def test_an_error_that_is_no_tensor_is_refused():
    task = Classes()
    task.error = lambda outputs, targets: [0.0] * len(targets)
    with pytest.raises(UsageError, match=r"task classes: error\(\) returned a list; a tensor is wanted"):
        wrong(task, *task.data("test"))


def test_a_metric_that_measures_another_shape_is_refused():
    task = Classes()
    task.metric = Metric("odd", True, False, lambda outputs, targets: outputs.flatten(), float)
    with pytest.raises(UsageError, match=r"task classes: the metric odd measured \[15\]; \[5, S\] is wanted"):
        measured(task, *task.data("test"))


def test_single_numbers_may_lack_a_dimension_and_never_broadcast():
    task = Numbers()
    outputs, targets = OUTPUTS[:, 0], TARGETS[:, 0]
    assert wrong(task, outputs, targets).tolist() == [[False], [False], [True]]
    assert measured(task, outputs, targets)[:, 0].tolist() == pytest.approx([0.01, 0.25, 25.0])
    for judge in (wrong, measured, lambda own, *pair: own.loss(*pair)):
        with pytest.raises(UsageError, match=r"outputs \[3, 1\] and targets \[3\]; one shape is wanted"):
            judge(task, outputs[:, None], targets)


class Choosy(nn.Linear):
    """Takes nothing, for a reason of its own."""

    def _load_from_state_dict(self, *_: object) -> None:
        raise RuntimeError("no \n  " + 400 * "never ")


@pytest.mark.parametrize(
    ("network", "checkpoint", "reasons"),
    [
        (
            Waves().build("residual"),
            Waves().build("linear"),
            "only it has conv1.weight, conv1.bias and 14 more; only they have 1.bias, 1.weight",
        ),
        (nn.Linear(3, 2), nn.Linear(3, 2, bias=False), "only it has bias"),
        (
            nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2)),
            nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 2)),
            "of other shapes 0.weight (it 2×3, they 5×3), 0.bias (it 2, they 5) and 1 more",
        ),
        (Choosy(1, 1), nn.Linear(1, 1), "no never never"),
    ],
)
def test_what_a_network_does_not_take_is_said_in_one_line(
    network: nn.Module, checkpoint: nn.Module, reasons: str
) -> None:
    with pytest.raises(InputError) as refusal:
        load(network, checkpoint.state_dict(), "mine")
    message = str(refusal.value)
    assert message.startswith(f"the network 'mine' does not take the checkpoints: {reasons}")
    assert message.endswith("; say which network they are of with --task and --arch")
    assert len(message) < 350
    assert "\n" not in message


def test_classes_that_begin_at_1_are_guessed():
    with pytest.raises(
        UsageError, match=r"targets hold 3, and the network has classes 0 to 2 \(do yours begin"
    ):
        wrong(Classes(), torch.eye(3), torch.tensor([1, 2, 3]))
