"""Errors in what a task defines: one line that names the task, the call, and the user's file and line."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from pdiff.common.errors import UsageError
from pdiff.tasks import Metric, SplitData, Task, calls, load_task
from pdiff.tasks.scoring import judged, measured, wrong

FILE = """
import torch
from pdiff.tasks import Classification

class Own(Classification):
    name = "own"

    def __init__(self, failing=""):
        self.failing = failing
        self.fail("__init__")

    def fail(self, where):
        if where == self.failing:
            raise KeyError(where)

    def build(self, arch):
        self.fail("build")
        return Network(self)

    def data(self, split):
        self.fail("data")
        return torch.zeros(4, 2), torch.zeros(4).long()

    def loss(self, outputs, targets):
        self.fail("loss")
        return super().loss(outputs, targets)

    def error(self, outputs, targets):
        self.fail("error")
        return super().error(outputs, targets)

    def probabilities(self, outputs):
        self.fail("probabilities")
        return super().probabilities(outputs)

class Network(torch.nn.Linear):
    def __init__(self, task):
        super().__init__(2, 3)
        self.task = task

    def forward(self, inputs):
        self.task.fail("forward")
        return super().forward(inputs)
"""
LINE = 1 + FILE.splitlines().index("            raise KeyError(where)")


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(sys, "path", list(sys.path))
    path = tmp_path / "task_with_errors.py"
    path.write_text(FILE)
    return path


def go(task: Task) -> None:
    """Call all that a task defines."""
    network, data = calls.build(task, "network"), SplitData(task, "test")
    judged(task, network, data)
    inputs, targets = next(data.batches(4))
    outputs = calls.forward(network, inputs)
    calls.loss(task, outputs, targets)
    calls.probabilities(task, outputs)


@pytest.mark.parametrize(
    ("where", "what"),
    [
        ("build", "task own: build('network')"),
        ("data", "task own: data('test')"),
        ("loss", "task own: loss()"),
        ("error", "task own: error()"),
        ("probabilities", "task own: probabilities()"),
        ("forward", "the forward of the network (Network)"),
    ],
)
def test_an_error_in_a_task_names_the_call_and_the_line(file: Path, where: str, what: str) -> None:
    go(load_task(f"{file}:Own"))
    with pytest.raises(UsageError) as refusal:
        go(load_task(f"{file}:Own", failing=where))
    assert str(refusal.value).startswith(f"{what}: KeyError: '{where}' ({file}:{LINE})")
    assert "\n" not in str(refusal.value)


def test_an_error_in_the_factory_names_the_line(file: Path) -> None:
    with pytest.raises(UsageError) as refusal:
        load_task(f"{file}:Own", failing="__init__")
    assert str(refusal.value) == f"{file}:Own: KeyError: '__init__' ({file}:{LINE})"


def test_a_network_that_does_not_take_the_data_is_refused_without_a_line(file: Path) -> None:
    """Its layers are torch's own: no line of the user's is in the way."""
    with pytest.raises(UsageError, match=r"^the forward of the network \(Linear\): RuntimeError: .*shapes"):
        calls.forward(torch.nn.Linear(3, 3), torch.zeros(4, 2))


def test_errors_of_our_own_stay_as_they_are(file: Path) -> None:
    task = load_task(f"{file}:Own")
    with pytest.raises(UsageError, match=r"^task own: targets hold 3, and the network has classes 0 to 2"):
        wrong(task, torch.zeros(1, 3), torch.tensor([3]))


def test_what_is_no_network_and_a_metric_that_fails_are_named(file: Path) -> None:
    task = load_task(f"{file}:Own")
    task.metric = Metric("odds", True, True, lambda outputs, targets: 1 / 0, float)
    with pytest.raises(UsageError, match=r"^task own: the metric odds: ZeroDivisionError"):
        measured(task, torch.zeros(1, 3), torch.zeros(1))
    task.build = lambda arch: None  # type: ignore[assignment,method-assign,return-value]
    with pytest.raises(UsageError, match=r"^task own: build\('a'\) returned a NoneType; a torch"):
        calls.build(task, "a")
