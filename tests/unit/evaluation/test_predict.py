"""Predictions: equal to loading each checkpoint strictly and running the network."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from pdiff.bank import Bank
from pdiff.common.errors import InputError, UsageError
from pdiff.evaluation import predict
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
        InputError, match=r"the network 'waves linear' does not take .*only it has 1.weight, 1.bias; only"
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


class Plain(Waves):
    """The same signals and a network that has a fast way."""

    def build(self, arch: str) -> nn.Module:
        layers = [nn.Conv1d(1, 4, 3, padding=1), nn.BatchNorm1d(4), nn.ReLU(), nn.Flatten(), nn.Linear(32, 3)]
        return nn.Sequential(*layers)


@pytest.fixture
def many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bank:
    """More models than are judged together; the fast way counts as faster."""
    monkeypatch.setattr(predict, "_seconds", lambda way: way.__name__ == "plainly")
    torch.manual_seed(0)
    network = Plain().build("residual").train()
    network(Plain().data("train")[0])
    names = [name for name, tensor in network.state_dict().items() if tensor.is_floating_point()]
    return save_bank(tmp_path, network, names, members=predict._TOGETHER + 5)


@pytest.mark.parametrize("reestimate", [0, 20])
def test_models_judged_together_are_judged_as_alone(many: Bank, reestimate: int) -> None:
    rows = many.batch(range(len(many)))
    together, alone = (Predictor(many, Plain(), "residual", reestimate=reestimate) for _ in range(2))
    wanted = [(row, index % 3 == 0) for index, row in enumerate(rows)]
    found = list(together.predictions(wanted))
    assert together.computed == len(many)
    assert together._decisions is not None
    for (row, votes), prediction in zip(wanted, found, strict=True):
        expected = alone.predict(row, votes=votes)
        assert torch.equal(prediction.correct, expected.correct)
        assert (prediction.probabilities is None) == (not votes)
        if expected.probabilities is not None:
            assert prediction.probabilities is not None
            assert torch.equal(prediction.probabilities, expected.probabilities)
        if not reestimate:
            assert torch.equal(prediction.correct, plainly(many, Plain(), row))
    assert len({tuple(each.correct.tolist()) for each in found}) > predict._TOGETHER


def test_a_model_that_comes_twice_is_judged_once(many: Bank, tmp_path: Path) -> None:
    one, other = many.batch([0, 1])
    predictor = Predictor(many, Plain(), "residual", store=tmp_path / "cache")
    correct = predictor.correctness([one, other, one, one])
    assert predictor.computed == 2
    assert torch.equal(correct, torch.stack([plainly(many, Plain(), row) for row in (one, other, one, one)]))
