"""Cached predictions: none is made twice, and none of other data, another task or other numbers is taken."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pdiff.bank import Bank
from pdiff.evaluation.inference import Prediction, Predictor
from pdiff.evaluation.inference.cache import prediction_keys
from pdiff.tasks import load_task
from pdiff.tasks.base import Metric, Split
from tests.unit.evaluation.waves import NORMS, Waves, save_bank


class Squares(Waves):
    """Has a metric of its own."""

    metric = Metric(
        "error",
        False,
        False,
        lambda outputs, targets: (outputs[:, :1] - targets[:, None]).abs(),
        lambda measured: float(measured.mean()),
    )


class Holds(Waves):
    """Has a number that decides what is wrong."""

    def __init__(self, least: float) -> None:
        self.least = least

    def error(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return super().error(outputs, targets) | (outputs.amax(dim=1) < self.least)


@pytest.fixture
def predictor(norm_bank: Bank, tmp_path: Path) -> Callable[..., Predictor]:
    """Make a predictor that caches its predictions: `predictor(task, **options)`."""

    def make(task: Waves | None = None, bank: Bank = norm_bank, **options: Any) -> Predictor:
        return Predictor(bank, task or Waves(), "residual", cache=tmp_path / "cache", **options)

    return make


def predictions(predictor: Predictor, votes: bool = False) -> list[Prediction]:
    bank = predictor._bank
    return [predictor.predict(row, votes=votes) for row in bank.batch(range(len(bank)))]


def same(ours: list[Prediction], theirs: list[Prediction]) -> bool:
    return [each.packed() for each in ours] == [each.packed() for each in theirs]


@pytest.mark.parametrize("kind", [Waves, Squares])
@pytest.mark.parametrize("votes", [False, True])
def test_the_second_time_nothing_is_run(
    predictor: Callable[..., Predictor], kind: type[Waves], votes: bool
) -> None:
    first, second = predictor(kind()), predictor(kind())
    made = predictions(first, votes)
    assert first.computed == len(made)
    assert same(predictions(first, votes), made)
    assert first.computed == len(made)
    for again in (second, predictor(kind())):
        assert same(predictions(again, votes), made)
        assert again.computed == 0


def test_a_prediction_with_votes_serves_those_who_want_none(predictor: Callable[..., Predictor]) -> None:
    predictions(predictor(), votes=True)
    without, again = predictor(), predictor()
    predictions(without)
    assert without.computed == 0
    predictions(again, votes=True)
    assert again.computed == 0


class Later(Waves):
    version = "2"


class Shifted(Waves):
    """Other test inputs."""

    def data(self, split: Split) -> tuple[Tensor, Tensor]:
        inputs, targets = super().data(split)
        return (inputs + 1e-6 if split == "test" else inputs), targets


@pytest.mark.parametrize(
    "other",
    [
        {"batch_size": 7},
        {"split": "validation"},
        {"reestimate": 20},
        {"task": Squares()},
        {"task": Later()},
        {"task": Shifted()},
    ],
    ids=["batch", "split", "statistics", "task", "version", "data"],
)
def test_nothing_is_taken_from_another_setting(
    predictor: Callable[..., Predictor], other: dict[str, Any]
) -> None:
    predictions(predictor())
    changed = predictor(**other)
    made = predictions(changed)
    assert changed.computed == len(made)


def test_statistics_depend_on_the_training_inputs_that_are_used(predictor: Callable[..., Predictor]) -> None:
    class Other(Waves):
        def data(self, split: Split) -> tuple[Tensor, Tensor]:
            inputs, targets = super().data(split)
            if split == "train":
                inputs = torch.cat([inputs[:20], 2 * inputs[20:]])
            return inputs, targets

    predictions(predictor(Other(), reestimate=20))
    same_ones, more = predictor(Other(), reestimate=20), predictor(Other(), reestimate=21)
    predictions(same_ones)
    predictions(more)
    assert (same_ones.computed, more.computed > 0) == (0, True)


def test_numbers_that_a_task_holds_count(predictor: Callable[..., Predictor]) -> None:
    predictions(predictor(Holds(0.1)))
    same_one, other = predictor(Holds(0.1)), predictor(Holds(0.2))
    tolerant = Holds(0.1)
    tolerant.tolerance = 0.5
    third = predictor(tolerant)
    for each in (same_one, other, third):
        predictions(each)
    assert same_one.computed == 0
    assert other.computed == third.computed == 6


def test_contents_count_not_places(
    predictor: Callable[..., Predictor], norm_bank: Bank, whole_bank: Bank, tmp_path: Path
) -> None:
    predictions(predictor())
    shutil.move(norm_bank.path, tmp_path / "elsewhere")
    moved = predictor(bank=Bank.open(tmp_path / "elsewhere"))
    predictions(moved)
    assert moved.computed == 0
    other = predictor(bank=whole_bank)
    assert len(predictions(other)) == other.computed


def test_another_base_under_the_same_rows_counts(
    predictor: Callable[..., Predictor], norm_bank: Bank, network: nn.Module, tmp_path: Path
) -> None:
    predictions(predictor())
    with torch.no_grad():
        network.get_parameter("conv1.weight").mul_(-1)
    other = predictor(bank=save_bank(tmp_path / "other", network, NORMS))
    assert torch.equal(other._bank.batch([0]), norm_bank.batch([0]))
    assert len(predictions(other)) == other.computed


TASK = """
from tests.unit.evaluation.waves import Waves

class Mine(Waves):
    def error(self, outputs, targets):
        return (outputs.argmax(dim=1) != targets) | (outputs.amax(dim=1) < 0.1)
"""


def test_a_changed_file_of_a_task_takes_nothing_from_before(
    predictor: Callable[..., Predictor], tmp_path: Path
) -> None:
    def evaluated() -> int:
        made = predictor(load_task(f"{tmp_path / 'task.py'}:Mine"))
        return made.computed if predictions(made) else 0

    (tmp_path / "task.py").write_text(TASK)
    assert evaluated() == 6
    assert evaluated() == 0
    (tmp_path / "task.py").write_text(TASK.replace("amax", "amin"))
    assert evaluated() == 6


def test_classes_of_one_file_and_name_take_nothing_from_each_other(
    predictor: Callable[..., Predictor], tmp_path: Path
) -> None:
    (tmp_path / "task.py").write_text(TASK + TASK.replace("Mine", "Other").replace("amax", "amin"))
    for name in ("Mine", "Other"):
        made = predictor(load_task(f"{tmp_path / 'task.py'}:{name}"))
        assert len(predictions(made)) == made.computed


def test_a_class_in_no_file_is_said_not_to_be_cached(norm_bank: Bank, tmp_path: Path) -> None:
    typed: dict[str, Any] = {"Waves": Waves, "__name__": "typed"}
    exec("class Typed(Waves): pass", typed)
    said: list[str] = []
    for _ in range(2):
        predictor = Predictor(
            norm_bank, typed["Typed"](), "residual", cache=tmp_path / "cache", say=said.append
        )
        predictor.predict(norm_bank.batch([0])[0])
        assert predictor.computed == 1
    assert said == 2 * ["predictions are not cached: the class of the task waves is in no file"]


def test_keys_are_of_the_row_and_the_votes() -> None:
    one, other = torch.zeros(3), torch.ones(3)
    found = [prediction_keys(context, row, False) for context in "ab" for row in (one, other)]
    assert len({key for each in found for key in each}) == 8
    assert prediction_keys("a", one, True) == found[0][1:]
