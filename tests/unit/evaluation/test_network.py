"""Which network is judged, and what is refused before anything is."""

from collections.abc import Callable

import pytest

from pdiff.bank import Bank
from pdiff.common.errors import UsageError
from pdiff.evaluation import evaluate
from pdiff.evaluation.network import arch_of, groups_of
from pdiff.generation import Generated
from pdiff.tasks.base import Permutations
from tests.unit.evaluation.waves import Waves


class Declared(Waves):
    """Says which hidden units of the residual network have no order."""

    def permutations(self, arch: str) -> Permutations:
        second = [("norm2.weight", 0), ("norm2.bias", 0), ("norm2.running_mean", 0), ("norm2.running_var", 0)]
        first = [("conv1.weight", 0), ("conv1.bias", 0), ("conv2.weight", 1)]
        return [second, first] if arch == "residual" else []


def test_an_architecture_that_the_task_has_not_is_refused(
    norm_bank: Bank, task: Waves, save_generated: Callable[..., Generated]
) -> None:
    generated = save_generated(norm_bank, norm_bank.batch([0, 1]))
    with pytest.raises(UsageError) as refusal:
        evaluate(generated, task=task, arch="residul")
    assert str(refusal.value) == (
        "unknown architecture of waves 'residul'; did you mean 'residual'? accepted: residual, linear"
    )
    assert arch_of(norm_bank, task, "linear") == "linear"
    assert arch_of(norm_bank, task, None) == "residual"


def test_only_whole_groups_of_units_are_aligned(norm_bank: Bank, whole_bank: Bank) -> None:
    task = Declared()
    assert groups_of(norm_bank, task, "residual") == task.permutations("residual")
    for bank, arch in ((norm_bank, "linear"), (whole_bank, "linear")):
        with pytest.raises(UsageError, match="^--align: waves declares no hidden units of 'linear' whose"):
            groups_of(bank, task, arch)


def test_units_that_are_not_generated_whole_cannot_be_aligned(norm_bank: Bank) -> None:
    task = Declared()
    task.permutations = lambda _: [[("conv1.weight", 0), ("norm2.bias", 0)]]  # type: ignore[method-assign]
    with pytest.raises(
        UsageError, match="^--align: .* whose weights the bank holds whole; leave --align out"
    ):
        groups_of(norm_bank, task, "residual")


def test_align_without_declared_units_is_refused(
    norm_bank: Bank, task: Waves, save_generated: Callable[..., Generated]
) -> None:
    generated = save_generated(norm_bank, norm_bank.batch([0, 1]))
    with pytest.raises(UsageError, match="^--align: waves declares no hidden units of 'residual'"):
        evaluate(generated, task=task, align=True)
