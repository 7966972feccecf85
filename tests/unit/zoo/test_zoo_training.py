from itertools import islice

import pytest
import torch

from pdiff.common.errors import InputError
from pdiff.common.progress import SILENT
from pdiff.tasks import SplitData
from pdiff.tasks.scoring import score
from pdiff.training.frozen import FrozenRest
from pdiff.zoo.recipes import Phase
from pdiff.zoo.start import initialise
from pdiff.zoo.train import converge, one_cycle


def everything(model):
    """Nothing of the network stays still."""
    return FrozenRest(model, list(model.state_dict()), whole=True)


def batches(task, size, seed=0):
    return SplitData(task, "train").shuffled(size, seed=seed, purpose="test")


def test_one_cycle_rises_then_falls():
    factors = [one_cycle(step, 100) for step in range(100)]
    assert factors[14] == 1.0
    assert factors[0] == pytest.approx(1 / 15)
    assert factors[-1] == pytest.approx(0, abs=1e-3)
    assert factors[:15] == sorted(factors[:15])
    assert factors[15:] == sorted(factors[15:], reverse=True)
    assert one_cycle(0, 1) == 1.0


def test_batches_cover_an_epoch_and_change_order(task):
    inputs, _ = task.data("train")
    source = batches(task, 50)
    first, second = ([x for x, _ in islice(source, 4)] for _ in range(2))
    rows = {tuple(row.tolist()) for row in torch.cat(first)}
    assert len(rows) == 200  # 210 samples, the short last batch is left out
    assert rows <= {tuple(row.tolist()) for row in inputs}
    assert not torch.equal(first[0], second[0])


def test_batches_hold_inputs_with_their_targets(task):
    inputs, targets = task.data("train")
    label = {tuple(row.tolist()): int(target) for row, target in zip(inputs, targets, strict=True)}
    for x, y in islice(batches(task, 64, seed=1), 3):
        assert [label[tuple(row.tolist())] for row in x] == y.tolist()


def test_a_batch_larger_than_the_data_is_the_data(task):
    x, _ = next(batches(task, 1_000))
    assert len(x) == 210


def test_initialisation_is_a_function_of_seed_and_run_and_leaves_torchs_generator_alone(task):
    before = torch.get_rng_state()
    one, same, other_run, other_seed = (
        initialise(task, "batchnorm", seed, run)[0].weight for seed, run in ((0, 0), (0, 0), (0, 1), (1, 0))
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one, same)
    assert not torch.equal(one, other_run)
    assert not torch.equal(one, other_seed)


def test_training_converges_on_separable_data(task):
    model = initialise(task, "batchnorm", 0, 0)
    phase = Phase("adamw", lr=1e-2, batch_size=32)
    source = batches(task, 32)
    untrained = score(task, model.eval(), SplitData(task, "test"))
    converge(task, model, phase, source, steps=120, rest=everything(model), progress=SILENT)
    assert not model.training
    assert untrained < 0.6
    assert score(task, model, SplitData(task, "test")) > 0.8


def test_the_score_does_not_depend_on_the_batch_size(task):
    model = initialise(task, "batchnorm", 0, 0).eval()
    inputs, targets = task.data("test")
    by_hand = (model(inputs).argmax(1) == targets).float().mean().item()
    for size in (1, 64, 1_000):
        assert score(task, model, SplitData(task, "test"), batch_size=size) == pytest.approx(by_hand)


def test_divergence_is_an_error_that_names_the_rate(task):
    model = initialise(task, "layernorm", 0, 0)
    source = batches(task, 32)
    with pytest.raises(InputError, match=r"training diverged: the loss is .* choose a lower one"):
        phase = Phase("sgd", lr=1e30, batch_size=32)
        converge(task, model, phase, source, steps=20, rest=everything(model), progress=SILENT)
