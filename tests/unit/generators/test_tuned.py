"""Fine-tuned baselines: what they spend, what moves, and that everything is a function of the seed."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pdiff.bank import Bank
from pdiff.common.errors import PreemptedError, UsageError
from pdiff.common.provenance import DataAccess
from pdiff.generators import family, fit
from pdiff.generators.base import Context
from pdiff.generators.sweeps import family_name, gradient_sweeps
from pdiff.generators.tuned import Tuned
from pdiff.generators.tuner import Tuner
from pdiff.training.interruption import Interruption
from tests.unit.evaluation.waves import Waves, save_bank
from tests.unit.generators.rows import everyone, made, rows, waves

G = 50
SIZE = 3


class Watched(Waves):
    """Counts the losses and holds the network."""

    def __init__(self) -> None:
        self.losses = 0
        self.network: nn.Module | None = None

    def build(self, arch: str) -> nn.Module:
        self.network = super().build(arch)
        return self.network

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        self.losses += 1
        return super().loss(outputs, targets)


def swept(bank: Bank, task: Waves, *, seed: int = 0, gradients: int = G) -> list[Tuned]:
    """The sweep, fitted with one context."""
    context = waves(task)
    generators = [fit(each, everyone(bank), context) for each in gradient_sweeps(gradients, SIZE, seed)]
    return [generator for generator in generators if isinstance(generator, Tuned)]


def tuned(bank: Bank, task: Waves | None = None, **values: Any) -> Tuned:
    generator = made(bank, "tuned", waves(task), **{"gradient_evaluations": G, "models": SIZE} | values)
    assert isinstance(generator, Tuned)
    return generator


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
    for generator in swept(whole_bank, task):
        before = task.losses
        found = generator.rows(range(SIZE), 0)
        assert found.shape == (SIZE, whole_bank.dim)
        assert bool(found.isfinite().all())
        points.setdefault(family_name(generator.config), []).append(task.losses - before)
        if generator.config.start != "mean":
            assert task.losses - before == generator.gradient_evaluations
        spent = task.losses
        assert torch.equal(generator.rows([1], 0), found[1:2])
        assert task.losses == spent, "rows are made once"
        assert generator.data_access == DataAccess("gradients", generator.gradient_evaluations)
    assert points == {"tuned-mean": [0] * 6, "cyclic": [48] * 3, "tuned-gaussian": [48] * 4}


def test_the_mean_is_tuned_once_for_all_scales_of_a_context(whole_bank: Bank) -> None:
    task = Watched()
    means = [each for each in swept(whole_bank, task) if each.config.start == "mean"]
    assert task.losses == G
    assert {each.gradient_evaluations for each in means} == {G}
    assert len({each.seconds["tuning"] for each in means}) == 1
    for other in ({"seed": 1}, {"rate": 0.02}, {"gradient_evaluations": 10}):
        before = task.losses
        generator = tuned(whole_bank, task, **other)
        assert task.losses - before == generator.gradient_evaluations


@pytest.mark.parametrize(("gradients", "sizes"), [(0, {}), (1, (3, 0, 1)), (9, (3, 2, 3)), (12, (3, 3, 3))])
def test_few_gradients_pay_for_few_models(
    whole_bank: Bank, gradients: int, sizes: tuple[int, int, int]
) -> None:
    found = {
        family_name(each.config): each.models for each in swept(whole_bank, Waves(), gradients=gradients)
    }
    expected = dict(zip(("tuned-mean", "cyclic", "tuned-gaussian"), sizes, strict=False))
    assert found == {name: size for name, size in expected.items() if size}


def test_gradients_that_pay_for_no_model_are_refused(whole_bank: Bank) -> None:
    with pytest.raises(UsageError, match="gradient_evaluations=3 pay for no model; accepted for cyclic: 4"):
        tuned(whole_bank, start="cyclic", gradient_evaluations=3)


@pytest.mark.parametrize("start", ["mean", "cyclic", "gaussian"])
def test_a_task_is_needed(whole_bank: Bank, start: str) -> None:
    with pytest.raises(UsageError, match="the generator tuned looks at data"):
        made(whole_bank, "tuned", start=start)


def test_further_models_cost_further_gradients(whole_bank: Bank) -> None:
    task = Watched()
    generator = tuned(whole_bank, task, start="gaussian")
    assert (generator.gradient_evaluations, task.losses) == (48, 0)
    generator.rows(range(5), 0)
    assert generator.gradient_evaluations == task.losses == 5 * 16
    generator.rows(range(2), 1)
    assert (generator.gradient_evaluations, task.losses) == (5 * 16, 7 * 16)


def test_row_i_depends_on_the_seed_and_i_alone(whole_bank: Bank) -> None:
    state = torch.random.get_rng_state()
    first, again = (swept(whole_bank, Waves()) for _ in range(2))
    for a, b in zip(first, again, strict=True):
        found = a.rows(range(SIZE), 0)
        assert torch.equal(b.rows([0, 2], 0), found[[0, 2]])
        assert not torch.equal(a.rows([0], 1), found[:1])
        assert len(found.unique(dim=0)) == SIZE
        found.fill_(0)
        assert bool((a.rows([0], 0) != 0).any()), "rows are the caller's"
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("start", ["cyclic", "gaussian"])
def test_a_saved_generator_holds_the_rows_of_its_seed(whole_bank: Bank, tmp_path: Path, start: str) -> None:
    generator = tuned(whole_bank, start=start, seed=4)
    generator.save(tmp_path)
    task = Watched()
    again = family(generator.config).load(generator.config, generator.members, tmp_path, waves(task))
    assert torch.equal(again.rows(range(SIZE), 4), generator.rows(range(SIZE), 4))
    assert task.network is None, "nothing is built for what is there"
    assert torch.equal(again.rows([0, SIZE], 4), generator.rows([0, SIZE], 4))
    assert torch.equal(again.rows([1], 0), generator.rows([1], 0))
    without = family(generator.config).load(generator.config, generator.members, tmp_path, Context())
    with pytest.raises(UsageError, match="looks at data"):
        without.rows([SIZE], 4)


@pytest.mark.parametrize("names", [("norm2.weight", "norm2.bias"), ("head.weight", "norm1.running_mean")])
def test_only_the_subset_moves(names: tuple[str, ...], network: nn.Module, tmp_path: Path) -> None:
    bank = save_bank(tmp_path / "part", network, names)
    task = Watched()
    start = bank.batch([0])[0]
    (found,) = Tuner(bank, waves(task), 0).tune(start, 5, rate=1e-2, seed=0, purpose="test")
    assert task.network is not None
    state = task.network.state_dict()
    for name, tensor in bank.base.items():
        moved = not torch.equal(state[name], tensor)
        assert moved == (name in names), name
    assert torch.equal(bank.flatten(state), found)
    for name, tensor in bank.subset(found).items():
        assert not torch.equal(tensor, bank.subset(start)[name]), name


def test_tuning_lowers_the_loss_and_cycles_go_on(whole_bank: Bank) -> None:
    start = whole_bank.batch([0])[0]
    cycles = Tuner(whole_bank, waves(), 0).tune(start, 40, rate=1e-2, seed=0, purpose="t", cycles=3)
    losses = [train_loss(whole_bank, row) for row in (start, *cycles)]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.8 * losses[0]


def test_tuned_draws_are_the_gaussians_but_better(whole_bank: Bank) -> None:
    for scale in (2.0, 16.0):
        drawn = rows(whole_bank, "gaussian", SIZE, scale=scale)
        found = tuned(whole_bank, start="gaussian", scale=scale, gradient_evaluations=150)
        for row, before in zip(found.rows(range(SIZE), 0), drawn, strict=True):
            assert train_loss(whole_bank, row) < train_loss(whole_bank, before)


def test_noise_around_the_tuned_mean_has_the_members_deviations(whole_bank: Bank) -> None:
    context = waves()
    found = []
    for scale in (0.5, 1.0, 2.0):
        config = {"start": "mean", "scale": scale, "gradient_evaluations": G}
        found.append(made(whole_bank, "tuned", context, **config).rows(range(400), 0))
    for each in found:
        whole_bank.normalizer("element").apply(each.numpy())
    assert float(found[1].std(dim=0).median()) == pytest.approx(1, abs=0.03)
    middle = whole_bank.layout.segments[0]
    columns = slice(middle.begin, middle.end)
    steps = [(found[k + 1] - found[k])[:, columns] for k in (0, 1)]
    torch.testing.assert_close(steps[1], 2 * steps[0], rtol=0, atol=1e-3)


def test_the_mean_of_a_view_is_the_views(whole_bank: Bank) -> None:
    """Hardly any step is taken, so that what comes out is where it began."""
    view = whole_bank.view([1, 4])
    generator = made(view, "tuned", waves(), gradient_evaluations=1, rate=1e-9, scale=0.0)
    found = whole_bank.subset(generator.rows([0], 0)[0])["head.weight"]
    expected = whole_bank.subset(view.batch([0, 1]).mean(dim=0))["head.weight"]
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_what_diverges_stays_where_it_was(whole_bank: Bank) -> None:
    class Diverging(Waves):
        def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
            return super().loss(outputs, targets) * math.nan

    start = whole_bank.batch([0])[0]
    (found,) = Tuner(whole_bank, waves(Diverging()), 0).tune(start, 5, rate=1e-2, seed=0, purpose="t")
    parameters = {name for name, _ in Waves().build("residual").named_parameters()}
    for name, tensor in whole_bank.subset(found).items():
        if name in parameters:
            assert torch.equal(tensor, whole_bank.subset(start)[name])


def test_tuning_stops_at_a_signal(whole_bank: Bank) -> None:
    context = replace(waves(), interruption=Interruption())
    context.interruption.signal = 15
    with pytest.raises(PreemptedError):
        made(whole_bank, "tuned", context)


def test_statistics_alone_cannot_be_tuned(network: nn.Module, tmp_path: Path) -> None:
    bank = save_bank(tmp_path / "statistics", network, ["norm1.running_mean", "norm2.running_mean"])
    for start in ("mean", "cyclic", "gaussian"):
        with pytest.raises(UsageError, match="holds no parameters, only statistics"):
            tuned(bank, start=start)
