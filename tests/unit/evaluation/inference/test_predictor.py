"""Predictions: equal to loading each checkpoint and running the network, for data of any structure."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.data import Dataset

from pdiff.bank import Bank
from pdiff.common.errors import InputError, UsageError
from pdiff.evaluation.inference import Predictor
from pdiff.tasks import load_task
from pdiff.tasks.base import Data, Split
from tests.unit.evaluation.waves import SAMPLES, Residual, Waves, save_bank


def plainly(bank: Bank, task: Waves, row: Tensor) -> Tensor:
    """The reference: build, load, run at once."""
    network = task.build("residual")
    network.load_state_dict(bank.state_dict(row), strict=True)
    inputs, targets = Waves().data("test")
    with torch.inference_mode():
        return network.eval()(inputs.clone()).argmax(dim=1) != targets


@pytest.mark.parametrize("batch_size", [7, SAMPLES, 1000])
@pytest.mark.parametrize("trunk_bytes", [0, 4000, 2**30])
def test_equals_loading_each_checkpoint(
    norm_bank: Bank, whole_bank: Bank, task: Waves, batch_size: int, trunk_bytes: int
) -> None:
    for bank in (norm_bank, whole_bank):
        predictor = Predictor(bank, task, "residual", batch_size=batch_size, trunk_bytes=trunk_bytes)
        rows = bank.batch(range(len(bank)))
        wrong = predictor.wrong([*rows, rows[0]])
        assert predictor.samples == SAMPLES
        assert torch.equal(wrong, torch.stack([plainly(bank, task, row) for row in (*rows, rows[0])]))
        assert len(wrong.unique(dim=0)) > 1, "the members have to differ for this to mean anything"


@given(
    seed=st.integers(0, 2**31),
    scale=st.floats(0, 3),
    batch_size=st.integers(1, 60),
    trunk_bytes=st.sampled_from([0, 3000, 2**30]),
)
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)  # the bank does not change
def test_any_row_is_predicted_with_as_by_a_plain_loop(
    norm_bank: Bank, seed: int, scale: float, batch_size: int, trunk_bytes: int
) -> None:
    row = norm_bank.batch([0])[0]
    row *= 1 + scale * torch.rand(row.shape, generator=torch.Generator().manual_seed(seed))
    predictor = Predictor(norm_bank, Waves(), "residual", batch_size=batch_size, trunk_bytes=trunk_bytes)
    found = predictor.predict(row, votes=True)
    assert torch.equal(found.wrong, plainly(norm_bank, Waves(), row))
    assert found.probabilities is not None
    assert found.probabilities.shape == (SAMPLES, 3)


def test_holds_what_members_share(norm_bank: Bank, whole_bank: Bank, task: Waves) -> None:
    assert Predictor(norm_bank, task, "residual", batch_size=20).trunk_batches == 3
    assert Predictor(norm_bank, task, "residual", batch_size=20, trunk_bytes=0).trunk_batches == 0
    assert Predictor(whole_bank, task, "residual", batch_size=20).trunk_batches == 0


def test_predicts_on_the_split_that_is_asked_for(norm_bank: Bank, task: Waves) -> None:
    row = norm_bank.batch([0])[0]
    test, validation = (Predictor(norm_bank, task, "residual", split=s) for s in ("test", "validation"))
    assert not torch.equal(test.predict(row).wrong, validation.predict(row).wrong)


def test_half_precision_is_rounded_as_the_file_will_be(
    tmp_path: Path, network: nn.Module, task: Waves
) -> None:
    bank = save_bank(tmp_path, network.to(torch.bfloat16), ("head.weight", "head.bias"))
    row = bank.batch([0])[0] * 1.001
    assert torch.equal(Predictor(bank, task, "residual").predict(row).wrong, plainly(bank, task, row))


class Pair(Residual):
    """Takes a mapping of two halves of a signal, and writes to both."""

    def forward(self, x: Any) -> Tensor:
        assert isinstance(x, dict)
        left, right = x["left"].mul_(2), x["rest"][0].mul_(2)
        return super().forward(torch.cat([left, right], dim=2) / 2)


def halved(x: Tensor) -> dict[str, Any]:
    return {"left": x[..., :3], "rest": [x[..., 3:]]}


class Signals(Dataset[Any]):
    """Samples one by one; counts how often they are read."""

    def __init__(self, inputs: Tensor, targets: Tensor) -> None:
        self.inputs, self.targets, self.reads = inputs, targets, 0

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> Any:
        self.reads += 1
        return halved(self.inputs[index]), self.targets[index]


class Batches:
    """Batches that the task makes itself."""

    def __init__(self, inputs: Tensor, targets: Tensor) -> None:
        self.inputs, self.targets, self.reads = inputs, targets, 0

    def __iter__(self) -> Iterator[Any]:
        for x, y in zip(self.inputs.split(12), self.targets.split(12), strict=True):
            self.reads += len(y)
            yield halved(x), y


class Structured(Waves):
    """The waves as nested mappings."""

    def __init__(self, kind: type[Signals] | type[Batches]) -> None:
        self.test = kind(*Waves().data("test"))

    def build(self, arch: str) -> nn.Module:
        return Pair()

    def data(self, split: Split) -> Data:
        return self.test


@pytest.mark.parametrize("data_bytes", [None, 0, 700])
@pytest.mark.parametrize("kind", [Signals, Batches])
def test_batches_of_any_structure(
    norm_bank: Bank, kind: type[Signals] | type[Batches], data_bytes: int | None
) -> None:
    task = Structured(kind)
    predictor = Predictor(norm_bank, task, "residual", batch_size=12, data_bytes=data_bytes)
    assert predictor.samples == SAMPLES
    assert predictor.vote_classes == 3
    task.test.reads = 0
    for row in norm_bank.batch(range(3)):
        assert torch.equal(predictor.predict(row).wrong, plainly(norm_bank, Waves(), row))
    assert task.test.reads == (0 if data_bytes is None else 3 * SAMPLES)


def test_a_dataset_of_tensors_shares_its_trunk(norm_bank: Bank) -> None:
    class Plain(Waves):
        def data(self, split: Split) -> Data:
            return torch.utils.data.TensorDataset(*super().data(split))  # type: ignore[arg-type, misc]

    rows = norm_bank.batch(range(3))
    for data_bytes, held in ((None, 3), (0, 0)):
        predictor = Predictor(norm_bank, Plain(), "residual", batch_size=20, data_bytes=data_bytes)
        assert predictor.trunk_batches == held
        expected = [plainly(norm_bank, Waves(), row) for row in rows]
        assert torch.equal(predictor.wrong(rows), torch.stack(expected))


OWN = """
import torch
from pdiff.tasks import Classification

class Images(torch.utils.data.Dataset):
    def __len__(self):
        return 30
    def __getitem__(self, i):
        image = torch.randn(1, 4, 4, generator=torch.Generator().manual_seed(i))
        return image, int(image.sum() > 0)

class Own(Classification):
    name = "own"
    build = lambda self, arch: torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))
    data = lambda self, split: Images()
"""


def test_a_task_of_ones_own_is_a_few_lines(tmp_path: Path) -> None:
    assert len([line for line in OWN.splitlines() if line.strip()]) < 15
    (tmp_path / "own.py").write_text(OWN)
    task = load_task(f"{tmp_path / 'own.py'}:Own")
    network = task.build("network")
    bank = save_bank(tmp_path, network, [name for name, _ in network.named_parameters()])
    predictor = Predictor(bank, task, "network", batch_size=8)
    data = task.data("test")
    samples = [data[index] for index in range(30)]
    rows = bank.batch(range(len(bank)))
    for row, found in zip(rows, predictor.wrong(rows), strict=True):
        network.load_state_dict(bank.state_dict(row))
        with torch.inference_mode():
            outputs = torch.cat([network(batch) for batch in torch.stack([x for x, _ in samples]).split(8)])
        assert found.tolist() == (outputs.argmax(1) != torch.tensor([y for _, y in samples])).tolist()


def test_another_network_is_refused_in_one_line(norm_bank: Bank, task: Waves) -> None:
    with pytest.raises(
        InputError, match=r"the network 'waves linear' does not take .*only it has 1.weight, 1.bias; only"
    ) as error:
        Predictor(norm_bank, task, "linear")
    assert "\n" not in str(error.value)


def test_a_task_that_judges_wrongly_is_named(norm_bank: Bank) -> None:
    class Mean(Waves):
        def error(self, outputs: Tensor, targets: Tensor) -> Tensor:
            return (outputs.argmax(dim=1) != targets).float().mean()

    class Uneven(Waves):
        def error(self, outputs: Tensor, targets: Tensor) -> Tensor:
            return torch.ones(len(outputs), len(outputs))

    row = norm_bank.batch([0])[0]
    with pytest.raises(UsageError, match=r"task waves: error\(\) returned \[\]; \[50\] or \[50, S\] is wan"):
        Predictor(norm_bank, Mean(), "residual").predict(row)
    with pytest.raises(UsageError, match=r"task waves: error\(\) returned \[B, S\] with S 10 and 20"):
        Predictor(norm_bank, Uneven(), "residual", batch_size=20).predict(row)


def test_what_cannot_be_predicted_with_is_refused(norm_bank: Bank, task: Waves) -> None:
    class Empty(Waves):
        def data(self, split: Split) -> tuple[Tensor, Tensor]:
            return torch.zeros(0, 1, 8), torch.zeros(0, dtype=torch.int64)

    with pytest.raises(UsageError, match="batch size 0"):
        Predictor(norm_bank, task, "residual", batch_size=0)
    with pytest.raises(UsageError, match="task waves: the test split has no samples"):
        Predictor(norm_bank, Empty(), "residual")


def test_votes_need_classes_and_probabilities(norm_bank: Bank, task: Waves) -> None:
    class Silent(Waves):
        def probabilities(self, outputs: Tensor) -> None:
            return None

    row = norm_bank.batch([0])[0]
    for kind, classes in ((Waves, 3), (Silent, 0)):
        predictor = Predictor(norm_bank, kind(), "residual")
        assert predictor.vote_classes == classes
        assert (predictor.predict(row, votes=True).probabilities is not None) == bool(classes)
        assert predictor.predict(row).probabilities is None
        assert predictor.classes is not None
        assert torch.equal(predictor.classes, task.data("test")[1])
