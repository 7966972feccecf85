"""Several files of one step: averaged and plain weights, ranks of a model, networks trained together."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.utils import prune

from pdiff.bank import Bank, collect
from pdiff.checkpoints.roles import averaged_by_name, sorts_of_one_step
from pdiff.common.errors import InputError
from tests.support import Said

STEPS = range(1, 6)


def state(seed: float) -> dict[str, Tensor]:
    return {"w": torch.full((2, 3), seed), "b": torch.full((3,), -seed)}


def save(folder: Path, paths: Sequence[str]) -> Path:
    """Save a network of its own at each of these paths."""
    for number, path in enumerate(paths):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        write = save_file if path.endswith(".safetensors") else torch.save
        write(state(1.0 + number), folder / path)
    return folder


def sources(bank: Bank) -> list[str]:
    return [member.source for member in bank.members]


@pytest.mark.parametrize(
    ("plain", "averaged"),
    [
        ("model{:06d}.pt", "ema_0.9999_{:06d}.pt"),
        ("unet/step-{}.pt", "unet_ema/step-{}.pt"),
        ("step-{}.pt", "step-{}-ema.pt"),
        ("last/{}.pth", "swa/{}.pth"),
        ("run/model_{}.bin", "run/averaged_{}.bin"),
    ],
)
@pytest.mark.parametrize("ema", [None, True, False])
def test_of_averaged_and_plain_weights_of_one_step_one_is_taken(
    tmp_path: Path, plain: str, averaged: str, ema: bool | None
) -> None:
    folder = save(tmp_path / "ckpts", [name.format(step) for name in (plain, averaged) for step in STEPS])
    said = Said()
    bank = collect(folder, out=tmp_path / "bank", ema=ema, progress=said)
    wanted = plain if ema is False else averaged
    assert sources(bank) == [wanted.format(step) for step in STEPS]
    assert bank.manifest.source.averaged is (ema is not False)
    (note,) = (line for line in said if "weights are taken, like" in line)
    assert note.startswith("plain" if ema is False else "averaged")
    assert ("choose with --ema or --no-ema" in note) is (ema is None)


def test_a_single_average_among_plain_checkpoints_is_asked_about(tmp_path: Path) -> None:
    folder = save(tmp_path / "ckpts", [*(f"step-{step}.pt" for step in STEPS), "ema.pt"])
    with pytest.raises(InputError, match=r"1 hold averaged \(EMA\) weights \(like ema.pt\), 5 do not"):
        collect(folder, out=tmp_path / "bank")
    assert len(collect(folder, out=tmp_path / "bank", ema=False)) == len(STEPS)


def test_a_folder_of_averages_alone_needs_no_choice(tmp_path: Path) -> None:
    folder = save(tmp_path / "ckpts", [f"ema/step-{step}.pt" for step in STEPS])
    assert len(collect(folder, out=tmp_path / "bank")) == len(STEPS)
    assert len(collect(folder, out=tmp_path / "asked", ema=True)) == len(STEPS)


@pytest.mark.parametrize(
    ("names", "listed"),
    [
        (
            [f"iter_{{:07d}}/mp_rank_0{rank}/model_optim_rng.pt" for rank in range(2)],
            "mp_rank_00, mp_rank_01",
        ),
        (
            [f"iter_{{}}/tp_rank_00_pp_rank_00{rank}/model.pt" for rank in range(2)],
            "tp_rank_00_pp_rank_000, tp_rank_00_pp_rank_001",
        ),
        ([f"step_{{}}/rank{rank}.pt" for rank in range(3)], "rank0, rank1, rank2"),
        ([f"step_{{}}/consolidated.0{rank}.pth" for rank in range(2)], "00, 01"),
        (["{}_net_G_A.pth", "{}_net_G_B.pth"], "net_G_A, net_G_B"),
        (["actor_{}.pt", "critic_{}.pt"], "actor, critic"),
        (["G_{}.pth", "D_{}.pth"], "D, G"),
        (["qf1_{}.pt", "qf2_{}.pt"], "qf1, qf2"),
        (["step_{}/critic1.pt", "step_{}/critic2.pt"], "critic1, critic2"),
        ([f"global_step{{}}/layer_0{layer}-model_states.pt" for layer in range(2)], "layer_00, layer_01"),
        (["step_{}/shard_0.pt", "step_{}/shard_1.pt"], "shard_0, shard_1"),
    ],
)
def test_parts_of_one_step_are_no_members(tmp_path: Path, names: Sequence[str], listed: str) -> None:
    folder = save(tmp_path / "ckpts", [name.format(step) for name in names for step in STEPS])
    with pytest.raises(InputError, match=rf"5 steps in several files each \({listed}\): ") as refusal:
        collect(folder, out=tmp_path / "bank")
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "bank").exists()
    one = save(tmp_path / "one", [names[0].format(step) for step in STEPS])
    assert len(collect(one, out=tmp_path / "bank")) == len(STEPS)


@pytest.mark.parametrize(
    "names",
    [
        ["step{}_rank0.pt", "step{}_rank1.pt", "step{}_rank2.pt"],
        ["checkpoint-{}/rank_0/model.pt", "checkpoint-{}/rank_1/model.pt"],
        ["adam/{}/rank0.pt", "adam/{}/rank1.pt", "sgd/{}/rank0.pt", "sgd/{}/rank1.pt"],
    ],
)
def test_of_ranks_that_saved_the_same_network_one_is_taken(tmp_path: Path, names: Sequence[str]) -> None:
    for number, name in enumerate(names):
        for step in STEPS:
            path = tmp_path / "ckpts" / name.format(step)
            path.parent.mkdir(parents=True, exist_ok=True)
            run = 10.0 * ord(name[0])
            torch.save({"model": state(run + step), "rank": number, "pad": "-" * number}, path)
    said = Said()
    bank = collect(tmp_path / "ckpts", out=tmp_path / "bank", progress=said)
    first = [name for name in names if "0" in name]
    assert sources(bank) == [name.format(step) for name in first for step in STEPS]
    (note,) = (line for line in said if "several files each" in line)
    left = names[1].format(1)
    assert note.endswith(
        f"the same network in each rank: one is taken, like {names[0].format(1)}, not {left}"
    )
    assert len(collect(tmp_path / "ckpts", out=tmp_path / "bank", extend=True)) == len(bank)


def test_ranks_whose_networks_differ_are_refused_for_that_reason(tmp_path: Path) -> None:
    for step in STEPS:
        (tmp_path / f"ckpts/{step}").mkdir(parents=True)
        for rank in range(2):
            content = state(float(step)) | ({"b": torch.ones(3)} if rank and step == STEPS[-1] else {})
            torch.save(content, tmp_path / f"ckpts/{step}/rank{rank}.pt")
    with pytest.raises(
        InputError, match=r"whose weights differ \(b of 5/rank0.pt and of 5/rank1.pt\); merge"
    ):
        collect(tmp_path / "ckpts", out=tmp_path / "bank")


@pytest.mark.parametrize(
    "names",
    [
        ["adam/step-{}.pt", "sgd/step-{}.pt"],
        ["run-0/step-{}.pt", "run-1/step-{}.pt"],
        ["run_C/step-{}.pt", "run_D/step-{}.pt"],
        ["theme/step-{}.pt", "schema/step-{}.pt"],
        ["ranking/step-{}.pt", "frank2/step-{}.pt"],
        ["teacher/step-{}.pt", "other/step-{}.pt"],
        ["critic{}.pt", "layer_{}.pt"],
    ],
)
def test_several_trainings_are_members_together(tmp_path: Path, names: Sequence[str]) -> None:
    folder = save(tmp_path / "ckpts", [name.format(step) for name in names for step in STEPS])
    assert len(collect(folder, out=tmp_path / "bank")) == len(names) * len(STEPS)


def test_names_of_averaged_weights() -> None:
    said = (
        "ema.pt",
        "model_ema.pt",
        "EMA-3.pt",
        "ema_0.9999_5.pt",
        "ema0.999/1.pt",
        "a/swa/1.pt",
        "avg_ema_1.pt",
        "avg_5.pt",
        "valid.acc.ave_10best.pth",
    )
    assert all(map(averaged_by_name, said))
    others = ("schema.pt", "emanuel_1.pt", "cinema-2.pt", "swallow.pt", "avgpool.pt", "acc_avg_0.9.pt")
    assert not any(map(averaged_by_name, others))


@pytest.mark.parametrize(
    "names",
    [
        ["step_{}/model.safetensors", "step_{}/model_1.safetensors"],
        ["grads_{}.pt", "model_{}.pt"],
        ["step-{}.pt", "step-{}.safetensors"],
        ["checkpoint-{}/text_encoder/model.safetensors", "checkpoint-{}/text_encoder_2/model.safetensors"],
    ],
)
def test_sorts_of_files_of_the_same_steps_are_named(tmp_path: Path, names: Sequence[str]) -> None:
    """accelerate's second model, gradients, two endings with different weights, two networks of diffusers."""
    folder = save(tmp_path / "ckpts", [name.format(step) for name in names for step in STEPS])
    said = Said()
    assert len(collect(folder, out=tmp_path / "bank", progress=said)) == 2 * len(STEPS)
    assert (
        f"5 checkpoints like {names[0].format(1)} and 5 like {names[1].format(1)} are of the same steps: if "
        "a sort holds another network, averages or gradients, collect without it"
    ) in said


@pytest.mark.parametrize(
    "names",
    [
        [f"step-{step}.pt" for step in STEPS],
        [f"fold{fold}/epoch-{step}.pt" for fold in range(2) for step in STEPS],
        [*(f"epoch={step}.ckpt" for step in STEPS), "last.ckpt", "best.ckpt"],
        [*(f"warm-{step}.pt" for step in STEPS), *(f"main-{10 + step}.pt" for step in STEPS)],
    ],
)
def test_files_of_one_sort_need_no_word(names: Sequence[str]) -> None:
    assert sorts_of_one_step(names) == ""


def test_placeholders_are_no_weights(tmp_path: Path) -> None:
    empty = torch.tensor([], dtype=torch.float16)
    for number in STEPS:
        statistics = {"bn.running_mean": torch.full((3,), 1.0 * number), "bn.running_var": torch.ones(3)}
        content = {
            "module": {"w": empty, "v": empty, **statistics},
            "param_shapes": [{"w": (8, 3), "v": (3,)}],
        }
        path = tmp_path / f"ckpts/global_step{number}/zero_pp_rank_0_mp_rank_00_model_states.pt"
        path.parent.mkdir(parents=True)
        torch.save(content, path)
    with pytest.raises(InputError, match="w, v hold no numbers: placeholders .* zero_to_fp32.py"):
        collect(tmp_path / "ckpts", out=tmp_path / "bank")


def test_placeholders_beside_whole_biases_and_norms_are_no_weights(tmp_path: Path) -> None:
    """ZeRO-3 keeps small parameters whole."""
    for number in STEPS:
        names = ("a.bias", "b.bias", "norm.weight", "norm.bias")
        whole = {name: torch.full((3,), 1.0 * number) for name in names}
        (tmp_path / "ckpts").mkdir(exist_ok=True)
        content = {"a.weight": torch.zeros(0), "b.weight": torch.zeros(0), **whole}
        torch.save(content, tmp_path / f"ckpts/{number}.pt")
    with pytest.raises(InputError, match="a.weight, b.weight hold no numbers: placeholders"):
        collect(tmp_path / "ckpts", out=tmp_path / "bank")


def test_one_empty_tensor_among_weights_is_carried(tmp_path: Path) -> None:
    for number in STEPS:
        (tmp_path / "ckpts").mkdir(exist_ok=True)
        torch.save(state(float(number)) | {"none": torch.zeros(0, 3)}, tmp_path / f"ckpts/{number}.pt")
    assert len(collect(tmp_path / "ckpts", out=tmp_path / "bank")) == len(STEPS)


@pytest.mark.parametrize(
    ("key", "beside"),
    [("weights", "grads"), ("params", "momentum"), ("params", "masks"), ("mean", "sq_mean"), ("a", "prev")],
)
def test_what_has_the_shapes_of_the_weights_beside_them_is_asked_about(
    tmp_path: Path, key: str, beside: str
) -> None:
    (tmp_path / "ckpts").mkdir()
    for number in STEPS:
        torch.save({key: state(1.0 * number), beside: state(0.5)}, tmp_path / f"ckpts/{number}.pt")
    with pytest.raises(InputError, match="several weights of one size, .*--key"):
        collect(tmp_path / "ckpts", out=tmp_path / "bank")
    assert len(collect(tmp_path / "ckpts", out=tmp_path / "bank", key=key)) == len(STEPS)


def test_the_state_of_an_optimiser_among_the_names_of_weights_is_said(tmp_path: Path) -> None:
    """As a flattened tree of flax has it, or a script that puts all into one safetensors file."""
    (tmp_path / "ckpts").mkdir()
    for number in STEPS:
        flat = {f"params.{name}": tensor for name, tensor in state(1.0 * number).items()}
        flat |= {f"opt_state.0.mu.{name}": tensor for name, tensor in state(0.1 * number).items()}
        save_file(flat, tmp_path / f"ckpts/{number}.safetensors")
    said = Said()
    collect(tmp_path / "ckpts", out=tmp_path / "bank", progress=said)
    line = "1.safetensors: opt_state.0.mu.b, opt_state.0.mu.w look like the state of an optimiser"
    assert any(each.startswith(line) for each in said)
    base = tmp_path / "ckpts/1.safetensors"
    bank = collect(tmp_path / "ckpts", out=tmp_path / "other", select_globs=["params.*"], base=base)
    assert bank.subset_names == {"params.w", "params.b"}


def test_masks_among_the_weights_are_said(tmp_path: Path) -> None:
    """torch's pruning leaves `weight_orig` and `weight_mask`, which differ where each network is pruned."""
    (tmp_path / "ckpts").mkdir()
    for number in STEPS:
        torch.manual_seed(number)
        network = torch.nn.Linear(8, 8)
        prune.l1_unstructured(network, "weight", amount=0.5)
        torch.save(network.state_dict(), tmp_path / f"ckpts/{number}.pt")
    said = Said()
    collect(tmp_path / "ckpts", out=tmp_path / "bank", progress=said)
    assert any(line.startswith("weight_mask: 0 and 1 alone, and generated numbers lie ") for line in said)
