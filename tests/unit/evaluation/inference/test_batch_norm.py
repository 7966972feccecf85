"""Running statistics estimated anew: those of a plain pass, for the norms that the models reach."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from pdiff.bank import Bank
from pdiff.common.errors import UsageError
from pdiff.evaluation.inference.batch_norm import Statistics
from pdiff.evaluation.inference.predictor import Predictor
from pdiff.tasks.base import Data, Split
from tests.unit.evaluation.waves import Residual, Waves, save_bank

INPUTS = 30


class Functional(Residual):
    """Cannot be split symbolically, nor by its operations while its norms count."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x if float(x.sum()) > -1e9 else -x)


class Functionals(Waves):
    def build(self, arch: str) -> nn.Module:
        return Functional()


def estimated(bank: Bank, task: Waves, row: Tensor, norms: tuple[str, ...], batch_size: int) -> nn.Module:
    """The reference: load, reset, one pass in training mode with the average of all batches."""
    network = task.build("residual").eval()
    network.load_state_dict(bank.state_dict(row))
    for name in norms:
        norm = network.get_submodule(name)
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    inputs = task.data("train")[0][:INPUTS]
    with torch.no_grad():
        for batch in torch.tensor_split(inputs, -(-INPUTS // batch_size)):
            network(batch.clone())
    return network.eval()


@pytest.mark.parametrize("kind", [Waves, Functionals])
@pytest.mark.parametrize("batch_size", [7, 29, 100])
def test_predictions_are_those_of_a_plain_pass(
    norm_bank: Bank, whole_bank: Bank, kind: type[Waves], batch_size: int
) -> None:
    task = kind()
    inputs, targets = task.data("test")
    for bank, norms in ((norm_bank, ("norm2",)), (whole_bank, ("norm1", "norm2"))):
        predictor = Predictor(bank, task, "residual", batch_size=batch_size, reestimate=INPUTS)
        for row in bank.batch([0, 1, 2, 0]):
            network = estimated(bank, task, row, norms, batch_size)
            with torch.inference_mode():
                expected = [
                    network(b.clone()).argmax(1) != t for b, t in _batches(inputs, targets, batch_size)
                ]
            assert torch.equal(predictor.predict(row).wrong, torch.cat(expected))
            state = {name: tensor.clone() for name, tensor in predictor._network.state_dict().items()}
            for name, tensor in network.state_dict().items():
                assert torch.equal(state[name], tensor), name
            assert not torch.equal(state["norm2.running_var"], bank.subset(row)["norm2.running_var"])


def _batches(inputs: Tensor, targets: Tensor, size: int) -> list[tuple[Tensor, Tensor]]:
    return list(zip(inputs.split(size), targets.split(size), strict=True))


def test_a_norm_before_what_varies_is_left_alone(norm_bank: Bank) -> None:
    task = Waves()
    network = task.build("residual").eval()
    network.load_state_dict(norm_bank.state_dict(norm_bank.batch([0])[0]))
    state = network.state_dict()

    def put(index: int) -> None:
        for name, tensor in norm_bank.subset(norm_bank.batch([index])[0]).items():
            state[name].copy_(tensor)

    variants = [lambda: put(0), lambda: put(1)]
    inputs = [task.data("train")[0][:INPUTS]]
    statistics = Statistics(network, inputs, norm_bank.subset_names, variants, 2**20)
    assert statistics.names == {f"norm2.{p}" for p in ("running_mean", "running_var", "num_batches_tracked")}
    weights = {"norm2.weight", "norm2.bias"}
    assert Statistics(network, inputs, weights, variants, 2**20).names == set(), "its inputs are all alike"
    before = network.norm1.running_mean.clone()  # type: ignore[operator, union-attr]
    statistics.estimate()
    assert torch.equal(network.norm1.running_mean, before)  # type: ignore[arg-type, union-attr]
    assert network.norm2.momentum == 0.1  # type: ignore[union-attr]
    assert not network.norm2.training  # type: ignore[union-attr]


def test_without_norms_nothing_is_estimated(task: Waves) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(8, 3)).eval()
    statistics = Statistics(network, [task.data("train")[0]], {"1.weight"}, [lambda: None], 0)
    assert statistics.names == set()
    statistics.estimate()


@pytest.mark.parametrize(("inputs", "batch_size"), [(1, 10), (4, 1)])
def test_a_single_number_has_no_variance(tmp_path: Path, inputs: int, batch_size: int) -> None:
    class Dense(Waves):
        def build(self, arch: str) -> nn.Module:
            return nn.Sequential(nn.Flatten(), nn.Linear(8, 3), nn.BatchNorm1d(3))

    bank = save_bank(tmp_path, Dense().build("dense"), ["1.weight", "2.running_mean", "2.running_var"])
    with pytest.raises(
        UsageError, match=rf"statistics of {inputs} training inputs?, 1 at a time .*have to be 2 or more"
    ):
        assert Predictor(bank, Dense(), "dense", batch_size=batch_size, reestimate=inputs).estimates
    assert Predictor(bank, Dense(), "dense", batch_size=2, reestimate=2).estimates


class Mappings(Waves):
    """The same samples in a dataset, as dictionaries."""

    def build(self, arch: str) -> nn.Module:
        network = Residual()
        plain = network.forward
        network.forward = lambda x: plain(x["signal"])  # type: ignore[method-assign]
        return network

    def data(self, split: Split) -> Data:
        inputs, targets = super().data(split)
        return [({"signal": x}, t) for x, t in _batches(inputs, targets, 15)]


@pytest.mark.parametrize("data_bytes", [0, None])
def test_inputs_of_any_structure_are_estimated_on(
    norm_bank: Bank, task: Waves, data_bytes: int | None
) -> None:
    predictor = Predictor(
        norm_bank, Mappings(), "residual", reestimate=INPUTS, batch_size=15, data_bytes=data_bytes
    )
    assert predictor.estimates
    inputs, targets = task.data("test")
    for row in norm_bank.batch([0, 1]):
        network = estimated(norm_bank, task, row, ("norm2",), 15)
        with torch.inference_mode():
            expected = network(inputs.clone()).argmax(dim=1) != targets
        assert torch.equal(predictor.predict(row).wrong, expected)
