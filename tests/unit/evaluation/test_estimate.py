"""The estimate of an evaluation: as many predictions as it then makes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from torch import Tensor

from pdiff.bank import Bank
from pdiff.common.progress import Tracker
from pdiff.evaluation.estimate import estimate
from pdiff.evaluation.evaluate import evaluate
from pdiff.generation.generated import Generated
from tests.unit.evaluation.waves import Waves


class Counts:
    """Counts the units of every step by its title."""

    def __init__(self) -> None:
        self.totals: dict[str, int] = {}

    @contextmanager
    def track(
        self, title: str, total: int, unit: str = "it", *, done: int = 0, cheaper: str = ""
    ) -> Iterator[Tracker]:
        self.totals[title] = total
        yield self

    def advance(self, amount: int = 1, **info: float) -> None: ...

    def message(self, text: str) -> None: ...


@pytest.mark.parametrize("split", ["test", "validation"])
def test_it_counts_what_is_predicted(
    norm_bank: Bank, task: Waves, save_generated: Callable[[Bank, Tensor], Generated], split: str
) -> None:
    models, counts = save_generated(norm_bank, norm_bank.batch(range(3))), Counts()
    found = estimate(models, task=task, split=split, baselines_n=2, device="cpu")
    evaluate(models, task=task, split=split, baselines_n=2, replicates=1, device="cpu", progress=counts)
    assert found.predictions == counts.totals["Evaluating"]
    assert found.samples == len(task.data(split)[1])
    assert found.seconds > 0
