"""Opening what was found: kinds, metrics, refusals, and one checkpoint by its name."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from pdiff.checkpoints import Choice, Opened, difference, find_checkpoints, open_checkpoints, open_one
from pdiff.common.errors import InputError
from tests.support import MEMBERS, checkpoint


def opened(*paths: Path, choice: Choice | None = None) -> Opened:
    found = find_checkpoints(paths)
    assert found.refused == ()
    return open_checkpoints(found, choice or Choice())


def sharded(folder: Path, parts: list[dict[str, Tensor]], index: dict[str, int] | None = None) -> Path:
    """Write `parts` as shards with an index, which is that of the parts unless `index` says otherwise."""
    folder.mkdir(exist_ok=True)
    files = [f"model-{i + 1:05d}-of-{len(parts):05d}.safetensors" for i in range(len(parts))]
    for file, part in zip(files, parts, strict=True):
        save_file(part, folder / file)
    whole = {name: number for number, part in enumerate(parts) for name in part}
    weight_map = {name: files[number] for name, number in (index or whole).items()}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return folder


def adapter(folder: Path, weights: int = 2, **settings: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    save_file({"lora_A.weight": torch.ones(weights, 3)}, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q", "v"], **settings}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


def test_checkpoints_of_one_network_are_one_kind_with_the_first_as_example(ckpts: Path) -> None:
    (ckpts / "other.safetensors").unlink(missing_ok=True)
    save_file({"a": torch.ones(2)}, ckpts / "other.safetensors")
    result = opened(ckpts)
    one, two = result.groups()
    assert (len(one.checkpoints), len(two.checkpoints)) == (MEMBERS, 1)
    assert one.example.candidate.source == "step-0.safetensors"
    assert two.example.candidate.source == "other.safetensors"
    assert [c.source for c in result.checkpoints][-1] == f"step-{MEMBERS - 1}.safetensors"
    assert result.checkpoints[1].origin.files == [ckpts / "step-0.safetensors"]


def test_more_than_a_batch_of_files_keep_their_order(tmp_path: Path) -> None:
    for index in range(300):
        save_file({"a": torch.ones(1)}, tmp_path / f"{index}.safetensors")
    assert [c.source for c in opened(tmp_path).checkpoints] == [f"{i}.safetensors" for i in range(300)]


def test_metrics_are_the_finite_numbers_of_the_metadata(tmp_path: Path) -> None:
    metadata = {"accuracy": "0.9", "step": "10", "lr": "1e-3", "huge": "1e999", "nan": "nan", "note": "v2"}
    save_file({"a": torch.ones(1)}, tmp_path / "x.safetensors", metadata)
    (only,) = opened(tmp_path).checkpoints
    assert only.metrics == {"accuracy": 0.9, "step": 10.0, "lr": 0.001}


def test_damaged_files_are_refused_by_name_and_the_others_go_on(ckpts: Path) -> None:
    (ckpts / "page.safetensors").write_text("<html>not found</html>")
    (ckpts / "cut.safetensors").write_bytes((ckpts / "step-0.safetensors").read_bytes()[:-1])
    result = opened(ckpts)
    assert len(result.checkpoints) == MEMBERS
    assert [source for source, _ in result.refused] == ["cut.safetensors", "page.safetensors"]
    for _, why in result.refused:
        assert str(ckpts) not in why
        assert "\n" not in why


def test_a_file_that_is_gone_since_it_was_found_is_refused(ckpts: Path) -> None:
    found = find_checkpoints([ckpts])
    (ckpts / "step-3.safetensors").unlink()
    result = open_checkpoints(found, Choice())
    assert result.refused == [("step-3.safetensors", "cannot be read (No such file or directory)")]


def test_shards_are_opened_as_one_and_agree_with_a_whole_file(tmp_path: Path) -> None:
    whole = checkpoint(1)
    names = list(whole)
    folder = sharded(tmp_path / "s", [{n: whole[n] for n in names[:2]}, {n: whole[n] for n in names[2:]}])
    save_file(whole, tmp_path / "whole.safetensors")
    result = opened(tmp_path)
    assert len(result.groups()) == 1
    assert len(result.checkpoints[0].origin.files) == 2
    header = open_one(folder, Choice()).header
    assert header.read("layer.weight") == whole["layer.weight"].numpy().tobytes()


@pytest.mark.parametrize(
    ("index", "why"),
    [
        ({"a": 0}, "model-00002-of-00002.safetensors holds b, which the index does not name"),
        ({"a": 0, "b": 1, "c": 1}, "c is missing in model-00002-of-00002.safetensors"),
        ({"a": 1, "b": 0}, "a is in model-00001-of-00002.safetensors, but its index says model-00002"),
    ],
)
def test_an_index_that_contradicts_its_shards_is_refused(
    tmp_path: Path, index: dict[str, int], why: str
) -> None:
    parts = [{"a": torch.ones(1)}, {"b": torch.ones(1)}]
    if index == {"a": 0}:
        parts = [parts[0] | parts[1]]
        why = why.replace("2-of-00002", "1-of-00001")
    folder = sharded(tmp_path / "s", parts, index)
    ((source, said),) = opened(folder).refused
    assert source == "model.safetensors"
    assert said.startswith(why)


def test_a_damaged_shard_is_named(tmp_path: Path) -> None:
    folder = sharded(tmp_path / "s", [{"a": torch.ones(1)}, {"b": torch.ones(1)}])
    (folder / "model-00002-of-00002.safetensors").write_text("<html>")
    ((_, why),) = opened(folder).refused
    assert why.startswith("model-00002-of-00002.safetensors: ")


def test_adapters_of_other_settings_are_another_kind_though_their_tensors_agree(tmp_path: Path) -> None:
    for number, settings in enumerate([{}, {}, {"lora_alpha": 8}, {"target_modules": ["v", "q"]}]):
        adapter(tmp_path / f"checkpoint-{number}", **settings)
    result = opened(tmp_path)
    assert [len(group.checkpoints) for group in result.groups()] == [3, 1]
    ours, odd = (group.example for group in result.groups())
    assert difference(ours, odd) == "has lora_alpha = 8, not 4"
    assert difference(odd, ours) == "has lora_alpha = 4, not 8"


def test_an_adapter_is_another_kind_than_the_same_tensors_alone(tmp_path: Path) -> None:
    adapter(tmp_path / "a")
    adapter(tmp_path / "b")
    (tmp_path / "b" / "adapter_config.json").unlink()
    result = opened(tmp_path)
    assert len(result.groups()) == 2
    with_settings, without = (result.examples[c.kind] for c in result.checkpoints)
    assert difference(with_settings, without) == "is no adapter"
    assert difference(without, with_settings) == "is an adapter"


def test_settings_are_compared_before_the_shapes_that_follow_from_them(tmp_path: Path) -> None:
    ours, odd = (open_one(adapter(tmp_path / str(r), r, r=r), Choice()) for r in (16, 8))
    assert difference(ours, odd) == "has r = 8, not 16"
    odd = open_one(adapter(tmp_path / "dora", 16, r=16, use_dora=True), Choice())
    assert difference(ours, odd) == "has use_dora = true, not unset"


@pytest.mark.parametrize(
    ("odd", "said"),
    [
        ({"a": torch.ones(2)}, "lacks b"),
        ({"a": torch.ones(2), "b": torch.ones(3)}, "holds b as F32 [3], not F32 [2]"),
        ({"a": torch.ones(2), "b": torch.ones(2).half()}, "holds b as F16 [2], not F32 [2]"),
        ({"a": torch.ones(2), "b": torch.ones(2), "c": torch.ones(1)}, "has c besides"),
    ],
)
def test_the_difference_is_the_first_one_in_a_few_words(
    tmp_path: Path, odd: dict[str, Tensor], said: str
) -> None:
    save_file({"a": torch.ones(2), "b": torch.ones(2)}, tmp_path / "x.safetensors")
    save_file(odd, tmp_path / "y.safetensors")
    ours, theirs = (open_one(tmp_path / f"{name}.safetensors", Choice()) for name in "xy")
    assert difference(ours, theirs) == said


def test_one_checkpoint_may_have_any_name_or_be_a_folder(ckpts: Path, tmp_path: Path) -> None:
    file = ckpts / "step-0.safetensors"
    odd = file.rename(ckpts / "optimizer.weights")
    assert open_one(odd, Choice()).candidate.files == (odd,)
    assert open_one(adapter(tmp_path / "a"), Choice()).candidate.shape == "adapter"


def test_what_is_not_one_checkpoint_is_refused_by_its_path(ckpts: Path, tmp_path: Path) -> None:
    def refusal(path: Path) -> str:
        with pytest.raises(InputError) as caught:
            open_one(path, Choice())
        assert str(caught.value).startswith(f"{path}: ")
        return str(caught.value).removeprefix(f"{path}: ")

    assert refusal(ckpts) == (
        "holds 12 checkpoints (step-0.safetensors, step-1.safetensors, step-2.safetensors, …); "
        "give one of them"
    )
    assert refusal(tmp_path / "nowhere") == "no such file or folder"
    (tmp_path / "empty").mkdir()
    assert refusal(tmp_path / "empty") == "no checkpoint (.safetensors, .pt, .pth, .bin, .ckpt)"
    (tmp_path / "empty" / "x.pt").touch()
    assert refusal(tmp_path / "empty" / "x.pt") == "empty"
    assert refusal(tmp_path / "empty") == "x.pt: empty"
    (tmp_path / "page.safetensors").write_text("<html>")
    assert "page.safetensors" not in refusal(tmp_path / "page.safetensors")


def test_averaged_weights_are_taken_unless_refused(tmp_path: Path) -> None:
    file = tmp_path / "x.pth"
    torch.save({"state_dict": checkpoint(0), "model_ema": checkpoint(1), "epoch": 3, "best": 0.5}, file)
    for choice, key in (
        (Choice(), "model_ema"),
        (Choice(ema=False), "state_dict"),
        (Choice(key="state_dict"), "state_dict"),
    ):
        result = opened(file, choice=choice)
        assert [c.origin.key for c in result.checkpoints] == [key]
        assert result.checkpoints[0].metrics == {"epoch": 3.0, "best": 0.5}


def test_a_key_that_is_not_there_is_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": checkpoint(0)}, tmp_path / "x.pth")
    with pytest.raises(InputError, match="nonsense"):
        open_one(tmp_path / "x.pth", Choice(key="nonsense"))
