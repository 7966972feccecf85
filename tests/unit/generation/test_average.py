"""Averages of checkpoints against a plain loop and torch's own, and what they say about safety."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn

from pdiff import _core
from pdiff.bank import collect
from pdiff.bank.safety import judge_weights
from pdiff.common.errors import InputError, UsageError
from pdiff.generation.averaging import average
from tests.unit.evaluation.waves import Residual, Waves

COUNT = 9


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return Residual()


def trajectory(seed: int = 0, count: int = COUNT) -> list[nn.Module]:
    """Networks along a random walk from one initialisation."""
    generator = torch.Generator().manual_seed(seed)
    found = [network(seed)]
    while len(found) < count:
        following = network(seed)
        following.load_state_dict(found[-1].state_dict())
        with torch.no_grad():
            for parameter in following.parameters():
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
            following.norm1.running_mean.add_(0.1)
            following.norm1.num_batches_tracked.add_(1)
        found.append(following)
    return found


def save(folder: Path, networks: Sequence[nn.Module]) -> Path:
    folder.mkdir()
    for index, each in enumerate(networks):
        save_file(each.state_dict(), folder / f"step-{index}.safetensors")
    return folder


def plain_loop(networks: Sequence[nn.Module]) -> dict[str, Tensor]:
    """The obvious average, in f64; what is no float is the last one's."""
    states = [each.state_dict() for each in networks]
    return {
        name: torch.stack([state[name].double() for state in states]).mean(dim=0).to(tensor.dtype)
        if tensor.is_floating_point()
        else tensor
        for name, tensor in states[-1].items()
    }


def assert_equal(found: dict[str, Tensor], wanted: dict[str, Tensor], rtol: float = 0.0) -> None:
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        torch.testing.assert_close(found[name], tensor, rtol=rtol, atol=rtol, msg=name)


def test_equals_a_plain_loop_bit_for_bit_and_torchs_averaged_model(tmp_path: Path) -> None:
    networks = trajectory()
    done = average(save(tmp_path / "ckpts", networks), out=tmp_path / "average")
    found = load_file(tmp_path / "average" / "average.safetensors")
    assert_equal(found, plain_loop(networks))
    averaged = AveragedModel(networks[0], use_buffers=True)
    for each in networks:
        averaged.update_parameters(each)
    floats = {n: t for n, t in averaged.module.state_dict().items() if t.is_floating_point()}
    assert_equal({name: found[name] for name in floats}, floats, rtol=1e-6)
    assert done.record.members == [f"step-{index}.safetensors" for index in range(COUNT)]
    assert done.record.safety.verdict == "one run"


def test_moving_averages_are_torchs(tmp_path: Path) -> None:
    networks = trajectory()
    average(save(tmp_path / "ckpts", networks), out=tmp_path / "average", weights="ema:0.8")
    averaged = AveragedModel(networks[0], multi_avg_fn=get_ema_multi_avg_fn(0.8), use_buffers=True)
    for each in networks:
        averaged.update_parameters(each)
    floats = {n: t for n, t in averaged.module.state_dict().items() if t.is_floating_point()}
    found = load_file(tmp_path / "average" / "average.safetensors")
    assert_equal({name: found[name] for name in floats}, floats, rtol=1e-6)


@pytest.mark.parametrize(
    ("last", "every", "chosen"), [(4, 1, [5, 6, 7, 8]), (None, 3, [2, 5, 8]), (5, 2, [4, 6, 8])]
)
def test_last_and_every_choose_from_the_end(
    tmp_path: Path, last: int | None, every: int, chosen: list[int]
) -> None:
    networks = trajectory()
    folder = save(tmp_path / "ckpts", networks)
    done = average(folder, out=tmp_path / "average", last=last, every=every)
    assert done.record.members == [f"step-{index}.safetensors" for index in chosen]
    found = load_file(tmp_path / "average" / "average.safetensors")
    assert_equal(found, plain_loop([networks[index] for index in chosen]))


def test_dtypes_ties_and_counters_stay(tmp_path: Path) -> None:
    folder = tmp_path / "ckpts"
    folder.mkdir()
    for index in range(3):
        shared = torch.full((2, 3), float(index))
        state = {"a": shared, "b": shared, "half": torch.tensor([index / 3]).half(), "n": torch.tensor(index)}
        torch.save({"state_dict": state, "epoch": index}, folder / f"{index}.pth")
    average(folder, out=tmp_path / "average", format="source")
    found = torch.load(tmp_path / "average" / "average.pth", weights_only=True)["state_dict"]
    assert found["a"].data_ptr() == found["b"].data_ptr()
    assert found["a"].tolist() == [[1.0] * 3] * 2
    assert found["half"].dtype == torch.float16
    assert found["half"].item() == pytest.approx(1 / 3, abs=1e-3)
    assert found["n"].item() == 2


def test_independent_runs_are_told_from_one(tmp_path: Path) -> None:
    networks = [*trajectory(1, 4), *trajectory(2, 3)]
    done = average(save(tmp_path / "ckpts", networks), out=tmp_path / "average")
    safety = done.record.safety
    assert (safety.verdict, safety.runs, safety.safe) == ("several runs", [4, 3], False)
    assert "2 independent runs (4, 3;" in safety.sentence


def test_frozen_matrices_are_one_network(tmp_path: Path) -> None:
    networks = []
    for index in range(3):
        networks.append(network(0))
        with torch.no_grad():
            networks[-1].norm2.weight.add_(index)
    bank = collect(save(tmp_path / "ckpts", networks), out=tmp_path / "bank")
    done = average(bank.path, out=tmp_path / "average")
    assert done.record.safety.verdict == "same network"
    assert_equal(load_file(tmp_path / "average" / "average.safetensors"), plain_loop(networks))


def test_cosines_of_neighbours_join_a_run_that_drifts() -> None:
    angles = np.linspace(0, 3, 20)
    samples = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    safety = judge_weights(samples, np.ones(2, dtype=np.bool_))
    assert safety.runs == [20]
    assert safety.neighbours < 0.5


def test_with_a_task_statistics_are_estimated_anew_and_scores_have_intervals(tmp_path: Path) -> None:
    networks = trajectory()
    folder = save(tmp_path / "ckpts", networks)
    done = average(folder, out=tmp_path / "average", task=Waves(), arch="residual", reestimate=50)
    wanted = network(0)
    wanted.load_state_dict(plain_loop(networks))
    update_bn([Waves().data("train")[0]], wanted)
    assert_equal(load_file(tmp_path / "average" / "average.safetensors"), wanted.state_dict(), rtol=1e-6)
    scores = done.record.scores
    assert scores is not None
    inputs, targets = Waves().data("test")
    with torch.inference_mode():
        right = [
            float((each.eval()(inputs).argmax(1) == targets).double().mean()) for each in (wanted, *networks)
        ]
    assert scores.average.value == pytest.approx(right[0])
    assert scores.last.value == pytest.approx(right[-1])
    assert scores.mean.value == pytest.approx(np.mean(right[1:]))
    assert scores.gain.value == pytest.approx(scores.average.value - scores.best.value)
    assert scores.average.interval[0] <= scores.average.value <= scores.average.interval[1]


@pytest.mark.parametrize("stride", [1, 3, 7, 1000])
def test_the_core_adds_in_order_and_samples_every_nth_number(tmp_path: Path, stride: int) -> None:
    generator = np.random.default_rng(0)
    layout = _core.Layout([("a", "F32", (5, 40_000)), ("b", "F32", (3,)), ("c", "BF16", (11,))])
    rows = []
    for index in range(11):
        state = {
            "a": torch.from_numpy(generator.standard_normal((5, 40_000), dtype=np.float32)),
            "b": torch.from_numpy(generator.standard_normal(3, dtype=np.float32)),
            "c": torch.from_numpy(generator.standard_normal(11, dtype=np.float32)).bfloat16(),
        }
        save_file(state, tmp_path / f"{index}.safetensors")
        rows.append(np.concatenate([state[name].float().flatten().numpy() for name in "abc"]))
    origins = [_core.Checkpoint([tmp_path / f"{index}.safetensors"]).origin for index in range(11)]
    weights = generator.standard_normal(11)
    wanted = np.zeros(layout.dim)
    for weight, row in zip(weights, rows, strict=True):
        wanted += weight * row.astype(np.float64)
    sums, samples = np.zeros(layout.dim), np.empty((11, -(-layout.dim // stride)), dtype=np.float32)
    _core.add_rows(layout, origins, weights.tolist(), sums, samples, stride)
    np.testing.assert_allclose(sums, wanted, rtol=1e-15, atol=1e-15)
    np.testing.assert_array_equal(samples, np.stack(rows)[:, ::stride])


def test_refusals_name_file_and_tensor(tmp_path: Path) -> None:
    networks = trajectory(count=3)
    with torch.no_grad():
        networks[1].head.bias[0] = torch.nan
    folder = save(tmp_path / "ckpts", networks)
    with pytest.raises(InputError, match=r"step-1.safetensors: tensor \"head.bias\" holds NaN"):
        average(folder, out=tmp_path / "average")
    assert not (tmp_path / "average").exists()
    with pytest.raises(UsageError, match="--last 4: there are 3 checkpoints"):
        average(folder, out=tmp_path / "average", last=4)
    with pytest.raises(UsageError, match="--weights ema:2: uniform or ema:DECAY"):
        average(folder, out=tmp_path / "average", weights="ema:2")
    with pytest.raises(UsageError, match="at least 2"):
        average(folder, out=tmp_path / "average", last=1)
