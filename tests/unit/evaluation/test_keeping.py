"""Predictions from one run to the next: none is made twice, and none that could be another is taken."""

import importlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pdiff.bank import Bank
from pdiff.evaluation.fingerprint import task_digest
from pdiff.evaluation.predict import Prediction, Predictor
from pdiff.evaluation.sources import Opaque
from pdiff.tasks import load_task
from pdiff.tasks.base import Metric
from tests.unit.evaluation.waves import Waves

TASK = """
import torch
from tests.unit.evaluation.waves import Waves
import helper_of_the_task

class Mine(Waves):
    def correct(self, outputs, targets):
        return (outputs.argmax(dim=1) == targets) & (outputs.amax(dim=1) > helper_of_the_task.LEAST)

def factory():
    return Mine()
"""


class Squares(Waves):
    """Has a metric of its own, with a number in a closure."""

    def __init__(self, power: float = 2.0) -> None:
        self.metric = Metric(
            "error",
            False,
            False,
            lambda o, t: (o[:, :1] - t[:, None]).abs() ** power,
            lambda m: float(m.mean()),
        )


@pytest.fixture
def predictor(norm_bank: Bank, tmp_path: Path) -> Callable[..., Predictor]:
    """Make a predictor that keeps its predictions: `predictor(task, **options)`."""

    def make(task: Waves | None = None, bank: Bank = norm_bank, **options: Any) -> Predictor:
        return Predictor(bank, task or Waves(), "residual", store=tmp_path / "cache", **options)

    return make


def predictions(predictor: Predictor, votes: bool = False) -> list[Prediction]:
    bank = predictor._bank
    return [predictor.predict(row, votes=votes) for row in bank.batch(range(len(bank)))]


def same(ours: list[Prediction], theirs: list[Prediction]) -> bool:
    def equal(a: Tensor | None, b: Tensor | None) -> bool:
        return (a is None and b is None) or (a is not None and b is not None and torch.equal(a, b))

    return all(
        equal(a.correct, b.correct)
        and equal(a.measured, b.measured)
        and equal(a.probabilities, b.probabilities)
        for a, b in zip(ours, theirs, strict=True)
    )


@pytest.mark.parametrize("kind", [Waves, Squares])
@pytest.mark.parametrize("votes", [False, True])
def test_the_second_time_nothing_is_run(
    predictor: Callable[..., Predictor], kind: type[Waves], votes: bool
) -> None:
    first, second = predictor(kind()), predictor(kind())
    made = predictions(first, votes)
    assert first.computed == len(made)
    again = predictor(kind())
    assert same(predictions(again, votes), made)
    assert again.computed == 0
    assert same(predictions(second, votes), made)
    assert second.computed == len(made), "what was kept after it began is not seen"


def test_a_prediction_with_votes_serves_those_who_want_none(predictor: Callable[..., Predictor]) -> None:
    predictions(predictor(), votes=True)
    without, again = predictor(), predictor()
    predictions(without)
    assert without.computed == 0
    predictions(again, votes=True)
    assert again.computed == 0


@pytest.mark.parametrize(
    "other",
    [{"batch_size": 7}, {"split": "validation"}, {"reestimate": 20}, {"task": Squares()}],
    ids=["batch", "split", "statistics", "task"],
)
def test_nothing_is_taken_from_another_context(
    predictor: Callable[..., Predictor], other: dict[str, Any]
) -> None:
    predictions(predictor())
    changed = predictor(**other)
    made = predictions(changed)
    assert changed.computed == len(made)


def test_a_number_in_a_closure_is_another_task(predictor: Callable[..., Predictor]) -> None:
    predictions(predictor(Squares(2.0)))
    same_one, other = predictor(Squares(2.0)), predictor(Squares(3.0))
    predictions(same_one)
    made = predictions(other)
    assert (same_one.computed, other.computed) == (0, len(made))


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


RUN = """
import os, sys
from pathlib import Path
from pdiff.bank import Bank
from pdiff.evaluation.predict import Predictor
from pdiff.tasks import load_task

folder, bank = Path(sys.argv[1]), Bank.open(sys.argv[2])
for _ in sys.stdin:
    if not os.fork():
        task = load_task(f"{folder / 'task.py'}:factory")
        predictor = Predictor(bank, task, "residual", store=folder / "cache")
        for row in bank.batch(range(len(bank))):
            predictor.predict(row)
        print(predictor.computed, flush=True)
        os._exit(0)
    assert os.wait()[1] == 0
"""
"""Evaluates with the task in a file for each line, in a fork that has not imported it, and says how many
models were run."""


@pytest.fixture
def evaluated(norm_bank: Bank, tmp_path: Path) -> Iterator[Callable[[], int]]:
    """Evaluate with the task in `tmp_path`, as a process that has just begun would."""
    paths = os.pathsep.join([str(tmp_path), *filter(None, sys.path), str(Path(__file__).parents[3])])
    with subprocess.Popen(
        [sys.executable, "-c", RUN, str(tmp_path), str(norm_bank.path)],
        text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"},
    ) as process:  # fmt: skip
        assert process.stdin
        assert process.stdout
        stdin, stdout = process.stdin, process.stdout

        def run() -> int:
            stdin.write("again\n")
            stdin.flush()
            return int(stdout.readline())

        yield run
        stdin.close()


def test_changed_code_takes_nothing_from_before(
    norm_bank: Bank, tmp_path: Path, evaluated: Callable[[], int]
) -> None:
    (tmp_path / "task.py").write_text(TASK)
    (tmp_path / "helper_of_the_task.py").write_text("LEAST = 0.1\n")
    assert evaluated() == len(norm_bank)
    assert evaluated() == 0
    (tmp_path / "helper_of_the_task.py").write_text("LEAST = 0.2\n")
    assert evaluated() == len(norm_bank)
    (tmp_path / "task.py").write_text(TASK.replace("amax", "amin"))
    assert evaluated() == len(norm_bank)


def test_values_that_functions_read_are_part_of_the_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "reads_a_global.py").write_text("K = 1\nclass Task:\n    def correct(self): return K\n")
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("reads_a_global")
    before = task_digest(module.Task())
    assert task_digest(module.Task()) == before
    monkeypatch.setattr(module, "K", 2)
    assert task_digest(module.Task()) != before


def test_a_task_of_unknown_content_is_not_kept(norm_bank: Bank, tmp_path: Path) -> None:
    class Holds(Waves):
        def __init__(self) -> None:
            self.held = iter([1, 2])

    with pytest.raises(Opaque, match="list_iterator"):
        task_digest(Holds())
    said: list[str] = []
    predictor = Predictor(norm_bank, Holds(), "residual", store=tmp_path / "cache", say=said.append)
    predictor.predict(norm_bank.batch([0])[0])
    assert said == ["predictions are not kept: the task waves holds builtins.list_iterator, "
                    "whose content cannot be told"]  # fmt: skip
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("name", ["mnist1d", "digits", "fashion"])
def test_built_in_tasks_have_a_digest_that_reading_data_does_not_change(name: str) -> None:
    task = load_task(name)
    before = task_digest(task)
    if name != "fashion":
        task.data("test")
    assert task_digest(task) == before == task_digest(load_task(name))


def test_identical_objects_have_one_digest_and_others_another() -> None:
    def holding(value: Any) -> str:
        task = Waves()
        task.held = value  # type: ignore[attr-defined]
        return task_digest(task)

    again: list[Any] = []
    again.append(again)
    values = [1, 1.0, "1", [1], (1,), {"a": 1}, {1}, torch.ones(1), torch.ones(1).double(), torch.zeros(1)]
    values += [lambda x: x, lambda x: x + 1, lambda x: x + 2, torch.relu, Waves, Waves(), Squares(), again]
    digests = [holding(value) for value in values]
    assert digests == [holding(value) for value in values]
    assert len(set(digests)) == len(values)
