"""Files that belong together: shards under an index, adapters with their settings, the same weights twice."""

import json
from pathlib import Path

import pytest

from tests.unit.checkpoints.files import find, put, sources


def test_safetensors_are_preferred_to_the_same_weights_as_a_pickle(tmp_path: Path) -> None:
    put(tmp_path, "model.safetensors", "pytorch_model.bin", "other/pytorch_model.bin")
    found = find(tmp_path)
    assert sources(found) == ["model.safetensors", "other/pytorch_model.bin"]
    assert found.skipped == (("pytorch_model.bin", "model.safetensors is taken instead"),)


def test_an_unusable_safetensors_file_is_no_reason_to_skip_the_pickle(tmp_path: Path) -> None:
    put(tmp_path, "pytorch_model.bin")
    put(tmp_path, "model.safetensors", content=b"")
    assert sources(find(tmp_path)) == ["pytorch_model.bin"]


def shards(folder: Path, name: str = "model", suffix: str = "safetensors", count: int = 2) -> dict[str, str]:
    """Write `count` shards and their index."""
    files = [f"{name}-{i:05d}-of-{count:05d}.{suffix}" for i in range(1, count + 1)]
    put(folder, *files)
    index = {f"layer.{i}": file for i, file in enumerate(files)}
    (folder / f"{name}.{suffix}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    return index


def test_a_sharded_folder_is_one_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "checkpoint-5").mkdir()
    index = shards(tmp_path / "checkpoint-5", count=11)
    (candidate,) = find(tmp_path).candidates
    assert candidate.source == "checkpoint-5/model.safetensors"
    assert (candidate.shape, candidate.index) == ("sharded", index)
    assert candidate.folder == tmp_path / "checkpoint-5"
    assert [file.name for file in candidate.files] == list(index.values())
    assert find(tmp_path).skipped == find(tmp_path).refused == ()


def test_an_index_given_itself_stands_for_its_folder(tmp_path: Path) -> None:
    shards(tmp_path)
    everything = find(*tmp_path.iterdir())
    assert sources(everything) == sources(find(tmp_path / "model.safetensors.index.json"))
    assert sources(everything) == ["model.safetensors"]


def test_sharded_pickles_are_taken_unless_there_are_safetensors(tmp_path: Path) -> None:
    shards(tmp_path, "pytorch_model", "bin")
    assert sources(find(tmp_path)) == ["pytorch_model.bin"]
    shards(tmp_path)
    found = find(tmp_path)
    assert sources(found) == ["model.safetensors"]
    assert found.skipped == (("pytorch_model.bin", "model.safetensors is taken instead"),)


def test_a_whole_file_is_taken_instead_of_its_shards(tmp_path: Path) -> None:
    shards(tmp_path)
    put(tmp_path, "model.safetensors")
    found = find(tmp_path)
    assert [candidate.shape for candidate in found.candidates] == ["file"]
    assert found.skipped == (("model.safetensors.index.json", "model.safetensors is taken instead"),)
    assert found.refused == ()


def test_pieces_without_their_index_are_refused(tmp_path: Path) -> None:
    shards(tmp_path)
    put(tmp_path, "model-00003-of-00003.safetensors")
    found = find(tmp_path)
    assert sources(found) == ["model.safetensors"]
    why = "a piece of a sharded checkpoint without an index that names it"
    assert found.refused == (("model-00003-of-00003.safetensors", why),)


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda shard: shard.unlink(), "is missing"),
        (lambda shard: shard.write_bytes(b""), "is empty"),
        (lambda shard: (shard.unlink(), shard.mkdir()), "is a folder, not a file"),
    ],
)
def test_an_index_with_an_unusable_shard_is_refused_by_its_name(
    tmp_path: Path, spoil: object, why: str
) -> None:
    shards(tmp_path)
    spoil(tmp_path / "model-00002-of-00002.safetensors")  # type: ignore[operator]
    found = find(tmp_path)
    assert found.candidates == ()
    expected = f"its shard model-00002-of-00002.safetensors {why}"
    assert ("model.safetensors.index.json", expected) in found.refused


def test_one_adapter_folder_is_one_checkpoint_with_its_settings(tmp_path: Path) -> None:
    for step, suffix in ((1, "safetensors"), (2, "bin")):
        put(tmp_path, f"checkpoint-{step}/adapter_model.{suffix}", f"checkpoint-{step}/optimizer.pt")
        config = {"peft_type": "LORA", "r": 8, "lora_alpha": 16.0, "target_modules": ["v", "q"]}
        (tmp_path / f"checkpoint-{step}" / "adapter_config.json").write_text(json.dumps(config))
    found = find(tmp_path)
    assert sources(found) == ["checkpoint-1/adapter_model.safetensors", "checkpoint-2/adapter_model.bin"]
    for candidate in found.candidates:
        assert candidate.shape == "adapter"
        assert candidate.adapter == {
            "peft_type": "LORA",
            "r": 8,
            "lora_alpha": 16,
            "target_modules": ["q", "v"],
        }


def test_an_adapter_with_damaged_settings_is_refused(tmp_path: Path) -> None:
    put(tmp_path, "adapter_model.safetensors")
    (tmp_path / "adapter_config.json").write_text("{")
    ((name, why),) = find(tmp_path).refused
    assert name == "adapter_model.safetensors"
    assert why.startswith("its adapter_config.json: not valid JSON")


def test_the_same_shards_by_links_count_once(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    index = shards(tmp_path / "a")
    for name in [*index.values(), "model.safetensors.index.json"]:
        (tmp_path / "b" / name).symlink_to(tmp_path / "a" / name)
    found = find(tmp_path)
    assert sources(found) == ["a/model.safetensors"]
    assert found.skipped == (("b/model.safetensors", "the same file as a/model.safetensors"),)


@pytest.mark.parametrize(
    "name",
    ["model.safetensors", "pytorch_model.bin", "pytorch_model_fsdp.bin", "pytorch_lora_weights.safetensors"],
)
def test_weights_with_a_folder_to_themselves_are_the_folder(tmp_path: Path, name: str) -> None:
    """As accelerate leaves them, beside the state of a training; not where there are other weights beside."""
    put(tmp_path, f"1/{name}", "1/optimizer.bin", "1/random_states_0.pkl", f"2/{name}", "2/other.pt")
    shapes = {candidate.source: candidate.shape for candidate in find(tmp_path).candidates}
    assert shapes == {f"1/{name}": "folder", f"2/{name}": "file", "2/other.pt": "file"}
    [asked] = find(tmp_path / f"1/{name}").candidates
    assert asked.shape == "folder"
