"""Predictions: equal to loading each checkpoint strictly and running the network."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from pdiff.bank import Bank
from pdiff.errors import InputError, UsageError
from pdiff.evaluation.predict import Predictor
from tests.unit.evaluation.waves import SAMPLES, Waves, save_bank


def plainly(bank: Bank, task: Waves, row: Tensor) -> Tensor:
    """The reference: build, load, run at once."""
    network = task.build("residual")
    network.load_state_dict(bank.state_dict(row), strict=True)
    inputs, targets = task.data("test")
    with torch.inference_mode():
        return network.eval()(inputs).argmax(dim=1) == targets


@pytest.mark.parametrize("batch_size", [7, SAMPLES, 1000])
@pytest.mark.parametrize("cache_bytes", [0, 4000, 2**30])
def test_equals_loading_each_checkpoint(
    norm_bank: Bank, whole_bank: Bank, task: Waves, batch_size: int, cache_bytes: int
) -> None:
    for bank in (norm_bank, whole_bank):
        predictor = Predictor(bank, task, "residual", batch_size=batch_size, cache_bytes=cache_bytes)
        rows = bank.batch(range(len(bank)))
        correct = predictor.correctness([*rows, rows[0]])
        assert predictor.samples == SAMPLES
        assert torch.equal(correct, torch.stack([plainly(bank, task, row) for row in (*rows, rows[0])]))
        assert len(correct.unique(dim=0)) > 1, "the members have to differ for this to mean anything"


def test_keeps_what_members_share(norm_bank: Bank, whole_bank: Bank, task: Waves) -> None:
    assert Predictor(norm_bank, task, "residual", batch_size=20).cached_batches == 3
    assert Predictor(norm_bank, task, "residual", batch_size=20, cache_bytes=0).cached_batches == 0
    assert Predictor(whole_bank, task, "residual", batch_size=20).cached_batches == 0


def test_judges_the_split_that_is_asked_for(norm_bank: Bank, task: Waves) -> None:
    row = norm_bank.batch([0])[0]
    test, validation = (Predictor(norm_bank, task, "residual", split=s) for s in ("test", "validation"))
    assert not torch.equal(test.predict(row).correct, validation.predict(row).correct)


def test_half_precision_is_rounded_as_the_file_will_be(
    tmp_path: Path, network: nn.Module, task: Waves
) -> None:
    bank = save_bank(tmp_path, network.to(torch.bfloat16), ("head.weight", "head.bias"))
    row = bank.batch([0])[0] * 1.001
    assert torch.equal(Predictor(bank, task, "residual").predict(row).correct, plainly(bank, task, row))


def test_another_network_is_refused_in_one_line(norm_bank: Bank, task: Waves) -> None:
    with pytest.raises(
        InputError, match=r"the network 'waves linear' does not take .*Missing key.*1.weight"
    ) as error:
        Predictor(norm_bank, task, "linear")
    assert "\n" not in str(error.value)


def test_a_task_that_judges_wrongly_is_named(norm_bank: Bank) -> None:
    class Probabilities(Waves):
        def correct(self, outputs: Tensor, targets: Tensor) -> Tensor:
            return outputs.softmax(dim=1)

    with pytest.raises(UsageError, match=r"correct\(\) returned torch.float32 \[50, 3\]; torch.bool \[50\]"):
        Predictor(norm_bank, Probabilities(), "residual").predict(norm_bank.batch([0])[0])


def test_an_empty_batch_is_refused(norm_bank: Bank, task: Waves) -> None:
    with pytest.raises(UsageError, match="batch size 0"):
        Predictor(norm_bank, task, "residual", batch_size=0)
