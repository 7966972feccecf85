"""Collecting: what is selected, what is skipped, what is refused, and that refusals leave nothing behind."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from pdiff.bank import Bank, TaskRef, collect
from pdiff.common.errors import InputError, UsageError
from tests.support import MEMBERS, Said, checkpoint


def names(bank: Bank) -> list[str]:
    return [segment.name for segment in bank.layout.segments]


def refusal(*arguments: Path, **options: object) -> str:
    """Collect, expect a refusal, check that nothing was written, and return the one-line message."""
    out = arguments[0].parent / "refused"
    before = sorted(out.parent.iterdir())
    with pytest.raises((InputError, UsageError)) as caught:
        collect(*arguments, out=out, **options)  # type: ignore[arg-type]
    assert sorted(out.parent.iterdir()) == before
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_varies_is_selected_and_counters_are_carried(bank: Bank) -> None:
    assert names(bank) == ["bn.running_mean", "bn.running_var", "layer.bias", "layer.weight"]
    assert (len(bank), bank.dim) == (MEMBERS, 3 + 3 + 3 + 12)


def test_members_are_in_natural_order_with_their_metrics(bank: Bank) -> None:
    assert [m.source for m in bank.members] == [f"step-{i}.safetensors" for i in range(MEMBERS)]
    assert bank.members[3].metrics == {"accuracy": 0.93}


def test_what_is_not_modelled_is_said_in_one_line(ckpts: Path, tmp_path: Path) -> None:
    for index, file in enumerate(sorted(ckpts.iterdir())):
        extra = {
            "wide": torch.full((2,), float(index), dtype=torch.float64),
            "flag": torch.tensor([True]),
            "scale": torch.tensor(1.0),
            "none": torch.zeros(0, 3),
            "f8": torch.ones(2).to(torch.float8_e5m2),
        }
        save_file(load_file(file) | extra, file)
    said = Said()
    bank = collect(ckpts, out=tmp_path / "b", progress=said)
    assert "wide" in names(bank)
    assert "F64 tensors are worked on in float32 (1 of 5)" in said
    (line,) = [line for line in said if line.startswith("carried unchanged")]
    assert all(part in line for part in ("1 BOOL", "1 empty", "1 F8_E5M2", "1 I64"))
    assert line.endswith(" tensors; 1 of them differs between checkpoints (bn.num_batches_tracked)")


def test_globs_select_and_exclude(ckpts: Path, tmp_path: Path) -> None:
    base = ckpts / "step-0.safetensors"
    bank = collect(ckpts, out=tmp_path / "b", select_globs=["layer.*"], exclude_globs=["*.bias"], base=base)
    assert names(bank) == ["layer.weight"]
    assert torch.equal(bank.base["layer.bias"], checkpoint(0)["layer.bias"])


def test_an_excluded_tensor_that_differs_needs_a_base(ckpts: Path) -> None:
    message = refusal(ckpts, exclude_globs=["layer.bias"])
    assert message.startswith("layer.bias outside the selection differs between checkpoints; select it too")
    assert "--base FILE" in message


def test_last_norms_takes_weight_and_bias_of_the_last_layers(tmp_path: Path) -> None:
    folder = tmp_path / "norms"
    folder.mkdir()
    for index in range(3):
        state = {}
        for number in (2, 9, 10):
            state |= {
                f"layers.{number}.bn.weight": torch.full((2,), float(index if number > 2 else 1)),
                f"layers.{number}.bn.bias": torch.zeros(2),
                f"layers.{number}.bn.running_mean": torch.zeros(2),
            }
        save_file(state, folder / f"{index}.safetensors")
    bank = collect(folder, out=tmp_path / "b", last_norms=2)
    assert names(bank) == [f"layers.{n}.bn.{leaf}" for n in (9, 10) for leaf in ("bias", "weight")]


def test_a_selection_that_matches_nothing_is_refused(ckpts: Path) -> None:
    assert "the selection matches none of 5 floating tensors" in refusal(ckpts, select_globs=["head.*"])


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "empty: no checkpoints that can be read (.safetensors, .pt" in refusal(tmp_path / "empty")


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / "nowhere").endswith("nowhere: no such file or folder")


def test_a_folder_with_one_foreign_file_is_refused_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "notes.txt").write_text("hello")
    assert refusal(tmp_path / "f").endswith("; other files: notes.txt")


def test_a_file_that_is_not_what_its_name_says_is_refused(tmp_path: Path) -> None:
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "model.safetensors").write_text("<html>not found</html>")
    assert "model.safetensors" in refusal(tmp_path / "f")
    (tmp_path / "f" / "model.safetensors").rename(tmp_path / "f" / "model.pth")
    assert "model.pth: an HTML or XML page" in refusal(tmp_path / "f")
    (tmp_path / "f" / "model.pth").write_text("just some text")
    message = refusal(tmp_path / "f")
    assert message == "model.pth: not a safetensors or torch file (it begins with b'just som')"


def test_one_bad_file_among_good_ones_is_left_out_unless_strict(ckpts: Path, tmp_path: Path) -> None:
    (ckpts / "broken.safetensors").write_bytes(b"\x00" * 4)
    (ckpts / "empty.safetensors").touch()
    said = Said()
    assert len(collect(ckpts, out=tmp_path / "b", progress=said)) == MEMBERS
    assert any(line.startswith("left out broken.safetensors: ") for line in said)
    assert "left out empty.safetensors: empty" in said
    message = refusal(ckpts, strict=True)
    assert message.endswith("; and 1 more is refused")


def test_mixed_shapes_are_refused_with_the_difference_or_the_majority_is_taken(
    ckpts: Path, tmp_path: Path
) -> None:
    save_file(checkpoint(50) | {"layer.bias": torch.zeros(4)}, ckpts / "other.safetensors")
    message = refusal(ckpts)
    assert f"2 kinds of checkpoint: {MEMBERS} like step-0.safetensors" in message
    assert "other.safetensors holds layer.bias as F32 [4], not F32 [3]" in message
    assert len(collect(ckpts, out=tmp_path / "b", majority=True)) == MEMBERS


def test_what_pdiff_wrote_is_not_learned_from_unless_asked_for(ckpts: Path, tmp_path: Path) -> None:
    inner = collect(ckpts, out=ckpts / "bank")
    assert len(collect(ckpts, out=tmp_path / "b")) == len(inner) == MEMBERS
    (ckpts / "generated").mkdir()
    (ckpts / "generated" / "generated.json").write_text("{}")
    for index in range(50, 53):
        save_file(checkpoint(index), ckpts / "generated" / f"{index}.safetensors")
    assert len(collect(ckpts, out=tmp_path / "c")) == MEMBERS
    assert len(collect(ckpts / "generated", out=tmp_path / "d")) == 3


def test_copies_and_links_count_once(ckpts: Path, tmp_path: Path) -> None:
    shutil.copy(ckpts / "step-1.safetensors", ckpts / "copy.safetensors")
    (ckpts / "link.safetensors").hardlink_to(ckpts / "step-2.safetensors")
    bank = collect(ckpts, out=tmp_path / "b")
    assert len(bank) == MEMBERS
    rows = torch.stack([torch.from_numpy(bank.row(i).copy()) for i in range(len(bank))])
    assert len(rows.unique(dim=0)) == MEMBERS


def test_too_few_or_identical_checkpoints_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "few"
    folder.mkdir()
    for index in range(2):
        save_file(checkpoint(index), folder / f"{index}.safetensors")
    assert refusal(folder) == "2 checkpoints found, at least 3 are needed"
    shutil.copy(folder / "1.safetensors", folder / "2.safetensors")
    assert refusal(folder) == "2 different checkpoints, at least 3 are needed"


def test_non_finite_values_are_refused_with_tensor_and_count(ckpts: Path) -> None:
    bad = checkpoint(3)
    bad["layer.weight"][0, :2] = torch.nan
    save_file(bad, ckpts / "step-3.safetensors")
    message = refusal(ckpts)
    assert "step-3.safetensors" in message
    assert "layer.weight" in message
    assert "2" in message


def test_a_full_directory_is_refused_and_a_foreign_one_never_replaced(ckpts: Path, tmp_path: Path) -> None:
    collect(ckpts, out=tmp_path / "bank")
    with pytest.raises(UsageError, match="not empty; replace it with --overwrite"):
        collect(ckpts, out=tmp_path / "bank")
    collect(ckpts, out=tmp_path / "bank", overwrite=True)
    with pytest.raises(UsageError, match="holds no bank.json, so --overwrite will not replace it"):
        collect(ckpts, out=ckpts, overwrite=True)


def test_the_task_is_remembered_from_the_folder_or_above(ckpts: Path, tmp_path: Path) -> None:
    (ckpts / "task.json").write_text('{"task": "digits", "arch": "mlp", "options": {"a": 1}}')
    expected = TaskRef("digits", "mlp", {"a": 1})
    assert collect(ckpts, out=tmp_path / "b").task == expected
    assert collect(*ckpts.glob("*.safetensors"), out=tmp_path / "c").task == expected


@pytest.mark.parametrize(
    "content", ["{}", "[]", '{"task": 5, "arch": []}', '{"task": "a", "arch": "b", "options": null}']
)
def test_a_damaged_task_file_is_refused(ckpts: Path, content: str) -> None:
    (ckpts / "task.json").write_text(content)
    assert "task.json: damaged" in refusal(ckpts)


def test_a_scalar_that_differs_is_taken_like_any_other_floating_tensor(ckpts: Path, tmp_path: Path) -> None:
    for index in range(MEMBERS):
        file = ckpts / f"step-{index}.safetensors"
        state = load_file(file) | {"logit_scale": torch.tensor(index / 8), "same": torch.tensor(2.5)}
        save_file(state, file)
    bank = collect(ckpts, out=tmp_path / "b")
    assert "logit_scale" in names(bank)
    assert "same" not in names(bank)
    rebuilt = [bank.subset(torch.from_numpy(bank.row(i).copy()))["logit_scale"] for i in range(MEMBERS)]
    assert [(tensor.shape, tensor.item()) for tensor in rebuilt] == [((), i / 8) for i in range(MEMBERS)]
    assert "logit_scale outside the selection differs" in refusal(ckpts, exclude_globs=["logit_scale"])


def test_what_differs_and_cannot_be_modelled_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "mixed"
    folder.mkdir()
    for index in range(3):
        state = {
            "weight": torch.full((2,), float(index)),
            "c": torch.full((2,), index, dtype=torch.complex64),
            "n": torch.tensor(index),
            "flag": torch.tensor([True]),
        }
        save_file(state, folder / f"{index}.safetensors")
    said = Said()
    collect(folder, out=tmp_path / "b", progress=said)
    (line,) = [line for line in said if line.startswith("carried unchanged")]
    assert line.endswith(" tensors; 2 of them differ between checkpoints (c, n)")
    said = Said()
    collect(folder, out=tmp_path / "c", base=folder / "0.safetensors", progress=said)
    assert not any("differ between" in line for line in said)  # the user said whose to take


def test_checkpoints_without_floating_tensors_are_refused_by_name(tmp_path: Path) -> None:
    folder = tmp_path / "ints"
    folder.mkdir()
    for index in range(3):
        save_file({"n": torch.tensor([index])}, folder / f"{index}.safetensors")
    assert refusal(folder).startswith("0.safetensors: no floating tensors, so nothing to learn")
    for index in range(3):
        save_file({"n": torch.tensor([index]), "weight": torch.ones(2)}, folder / f"{index}.safetensors")
    assert "identical but for n, which cannot be modelled" in refusal(folder)


def test_more_normalisation_layers_than_there_are_is_refused_with_their_number(tmp_path: Path) -> None:
    folder = tmp_path / "norms"
    folder.mkdir()
    for index in range(3):
        state = {f"norm.{leaf}": torch.full((2,), float(index)) for leaf in ("weight", "bias")}
        save_file(state, folder / f"{index}.safetensors")
    assert refusal(folder, last_norms=99).endswith("the network has 1 normalisation layer (norm)")
    save_file({"w": torch.ones(2)}, folder / "x.safetensors")
    for index in range(3):
        save_file({"w": torch.full((2,), float(index))}, folder / f"{index}.safetensors")
    assert refusal(folder, last_norms=1).endswith("of normalisation layers the network has none")


@pytest.mark.parametrize("name", ["LayerNorm", "ln_1", "gn2", "final_norm", "input_layernorm", "ln_f"])
def test_normalisation_layers_are_known_by_their_names(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "norms"
    folder.mkdir()
    for index in range(3):
        state = {f"a.{name}.{leaf}": torch.full((2,), float(index)) for leaf in ("weight", "bias")}
        save_file(
            state | {"a.linear.weight": torch.ones(2), "a.linear.bias": torch.ones(3)},
            folder / f"{index}.safetensors",
        )
    bank = collect(folder, out=tmp_path / "b", last_norms=1)
    assert names(bank) == [f"a.{name}.bias", f"a.{name}.weight"]
