"""Rivals with gradients: what they spend, what moves, and that everything is a function of the seed."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from pdiff.bank import Bank
from pdiff.common.errors import UsageError
from pdiff.evaluation.baselines import gaussian
from pdiff.evaluation.families import Population, label
from pdiff.evaluation.rivals import rival_populations
from pdiff.evaluation.tuning import Tuner
from tests.unit.evaluation.waves import Waves, save_bank

G = 50
SIZE = 3


class Watched(Waves):
    """Counts the losses and keeps the network."""

    def __init__(self) -> None:
        self.losses = 0
        self.network: nn.Module | None = None

    def build(self, arch: str) -> nn.Module:
        self.network = super().build(arch)
        return self.network

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        self.losses += 1
        return super().loss(outputs, targets)


def rivals(
    bank: Bank, task: Waves, *, size: int = SIZE, seed: int = 0, gradients: int = G
) -> list[Population]:
    return rival_populations(bank, task, "residual", size=size, seed=seed, gradients=gradients)


def train_loss(bank: Bank, row: Tensor) -> float:
    task = Waves()
    network = task.build("residual").eval()
    network.load_state_dict(bank.state_dict(row))
    inputs, targets = task.data("train")
    with torch.no_grad():
        return float(task.loss(network(inputs), targets))


def test_every_point_spends_what_it_says_and_never_more(whole_bank: Bank) -> None:
    task = Watched()
    points: dict[str, list[int]] = {}
    for population in rivals(whole_bank, task):
        before = task.losses
        rows = population.rows(range(population.size))
        assert rows.shape == (SIZE, whole_bank.dim)
        assert bool(rows.isfinite().all())
        assert population.league == "gradients"
        points.setdefault(population.family, []).append(task.losses - before)
        if population.family != "tuned-mean":
            assert task.losses - before == population.gradient_evaluations
        assert population.rows([1]).equal(rows[1:2])
        assert task.losses - before == points[population.family][-1], "rows are made once"
    assert points == {"tuned-mean": [G, 0, 0, 0, 0, 0], "cyclic": [48] * 3, "tuned-gaussian": [48] * 4}


def test_the_mean_is_tuned_once_for_all_scales(whole_bank: Bank) -> None:
    assert {p.gradient_evaluations for p in rivals(whole_bank, Waves()) if p.family == "tuned-mean"} == {G}


@pytest.mark.parametrize(("gradients", "sizes"), [(0, {}), (1, (3, 0, 1)), (9, (3, 2, 3)), (12, (3, 3, 3))])
def test_few_gradients_pay_for_few_models(
    whole_bank: Bank, gradients: int, sizes: tuple[int, int, int]
) -> None:
    found = {p.family: p.size for p in rivals(whole_bank, Waves(), gradients=gradients)}
    expected = dict(zip(("tuned-mean", "cyclic", "tuned-gaussian"), sizes, strict=False))
    assert found == {family: size for family, size in expected.items() if size}


def test_row_i_depends_on_the_seed_and_i_alone(whole_bank: Bank) -> None:
    first, again, other = (rivals(whole_bank, Waves(), seed=seed) for seed in (0, 0, 1))
    state = torch.random.get_rng_state()
    for a, b, c in zip(first, again, other, strict=True):
        rows = a.rows(range(SIZE))
        assert torch.equal(b.rows([2, 0]), rows[[2, 0]])
        assert not torch.equal(c.rows([0]), rows[:1])
        assert len(rows.unique(dim=0)) == SIZE
        rows.fill_(0)
        assert bool((a.rows([0]) != 0).any()), "rows are the caller's"
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("names", [("norm2.weight", "norm2.bias"), ("head.weight", "norm1.running_mean")])
def test_only_the_subset_moves(names: tuple[str, ...], network: nn.Module, tmp_path: Path) -> None:
    bank = save_bank(tmp_path / "part", network, names)
    task = Watched()
    start = bank.batch([0])[0]
    (tuned,) = Tuner(bank, task, "residual", seed=0).tune(start, 5, rate=1e-2, purpose="test")
    assert task.network is not None
    state = task.network.state_dict()
    for name, tensor in bank.base.items():
        moved = not torch.equal(state[name], tensor)
        assert moved == (name in names), name
    assert torch.equal(bank.flatten(state), tuned)
    for name, tensor in bank.subset(tuned).items():
        assert not torch.equal(tensor, bank.subset(start)[name]), name


def test_tuning_lowers_the_loss_and_cycles_go_on(whole_bank: Bank) -> None:
    start = whole_bank.batch([0])[0]
    cycles = list(Tuner(whole_bank, Waves(), "residual", 0).tune(start, 40, rate=1e-2, purpose="t", cycles=3))
    losses = [train_loss(whole_bank, row) for row in (start, *cycles)]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.8 * losses[0]


def test_tuned_draws_are_the_baselines_draws_but_better(whole_bank: Bank) -> None:
    for population in rivals(whole_bank, Waves(), gradients=150):
        if population.family == "tuned-gaussian":
            assert population.strength is not None
            drawn = gaussian(whole_bank, range(SIZE), scale=population.strength, seed=0)
            for row, before in zip(population.rows(range(SIZE)), drawn, strict=True):
                assert train_loss(whole_bank, row) < train_loss(whole_bank, before)


def test_noise_around_the_tuned_mean_has_the_banks_deviations(whole_bank: Bank) -> None:
    points = {p.strength: p.rows for p in rivals(whole_bank, Waves(), size=400) if p.family == "tuned-mean"}
    rows = [points[scale](range(400)) for scale in (0.5, 1.0, 2.0)]
    for each in rows:
        whole_bank.normalizer("element").apply(each.numpy())
    std = rows[1].std(dim=0).median()
    assert float(std) == pytest.approx(1, abs=0.03)
    middle = whole_bank.layout.segments[0]
    columns = slice(middle.begin, middle.end)
    steps = [(rows[k + 1] - rows[k])[:, columns] for k in (0, 1)]
    torch.testing.assert_close(steps[1], 2 * steps[0], rtol=0, atol=1e-3)


def test_what_diverges_stays_where_it_was(whole_bank: Bank) -> None:
    class Diverging(Waves):
        def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
            return super().loss(outputs, targets) * math.nan

    start = whole_bank.batch([0])[0]
    (tuned,) = Tuner(whole_bank, Diverging(), "residual", 0).tune(start, 5, rate=1e-2, purpose="t")
    parameters = {name for name, _ in Waves().build("residual").named_parameters()}
    for name, tensor in whole_bank.subset(tuned).items():
        if name in parameters:
            assert torch.equal(tensor, whole_bank.subset(start)[name])


def test_statistics_alone_cannot_be_tuned(network: nn.Module, tmp_path: Path) -> None:
    bank = save_bank(tmp_path / "statistics", network, ["norm1.running_mean", "norm2.running_mean"])
    with pytest.raises(UsageError, match="holds no parameters, only statistics"):
        rivals(bank, Waves())
    assert rivals(bank, Waves(), gradients=0) == []


def test_rivals_have_names(whole_bank: Bank) -> None:
    names = [label(p.family, p.strength) for p in rivals(whole_bank, Waves())]
    assert len(set(names)) == len(names)
    assert {"tuned mean + Gaussian ×0.5", "cyclic, rate 0.01", "tuned Gaussian ×8"} <= set(names)
