"""Tensors that are not plain float32: restored exactly, said to be carried over, or refused by name."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from pdiff import _core
from pdiff.bank import Bank, collect
from pdiff.common.config import Config
from pdiff.common.errors import InputError
from pdiff.generation.generated import Generated
from pdiff.generation.sample import generate
from pdiff.generators.train import train
from tests.hostile.notes import Notes
from tests.hostile.refusals import read_all, refusal
from tests.support import TINY, checkpoint, content

MEMBERS = 5
Make = Callable[[int], dict[str, Any]]


def collected(tmp_path: Path, make: Make, *, suffix: str = ".pt") -> tuple[Bank, Notes]:
    """Return the bank of `MEMBERS` checkpoints, and what was said while it was collected."""
    folder = tmp_path / "ckpts"
    folder.mkdir()
    for index in range(MEMBERS):
        if suffix == ".pt":
            torch.save(make(index), folder / f"{index}{suffix}")
        else:
            save_file(make(index), folder / f"{index}{suffix}")
    notes = Notes()
    return collect(folder, out=tmp_path / "bank", progress=notes), notes


def generated(tmp_path: Path, bank: Bank, *settings: str, n: int = 3) -> Generated:
    config = Config.build("default", settings=[*TINY, *settings])
    return generate(train(bank, out=tmp_path / "run", config=config), n=n, out=tmp_path / "out", device="cpu")


def varying(index: int, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(index)).to(dtype)


def test_each_dtype_comes_back_as_itself(tmp_path: Path) -> None:
    dtypes = {
        "half": torch.float16,
        "brain": torch.bfloat16,
        "single": torch.float32,
        "double": torch.float64,
    }
    bank, notes = collected(tmp_path, lambda i: {n: varying(i, 2, 3, dtype=d) for n, d in dtypes.items()})
    assert notes.said("F64", "float32", "1 of 4")
    states = list(generated(tmp_path, bank))
    assert len(states) == 3
    for state in states:
        assert {name: tensor.dtype for name, tensor in state.items()} == dtypes
        assert all(bool(tensor.isfinite().all()) for tensor in state.values())


def test_what_does_not_fit_the_dtype_on_the_way_back_is_an_error(tmp_path: Path) -> None:
    bank, _ = collected(tmp_path, lambda i: {"half": varying(i, 4, dtype=torch.float16)})
    with pytest.raises(InputError, match="tensor half: 1.* does not fit F16"):
        bank.state_dict(torch.full((4,), 1e5))
    assert bank.state_dict(torch.full((4,), 6e4))["half"].dtype == torch.float16


CARRIED = {
    "I64": torch.arange(3), "I8": torch.ones(2, dtype=torch.int8), "U8": torch.ones(2, dtype=torch.uint8),
    "BOOL": torch.tensor([True, False]), "C64": torch.ones(2, dtype=torch.complex64),
    "F8_E4M3": torch.ones(2).to(torch.float8_e4m3fn), "F8_E5M2": torch.ones(2).to(torch.float8_e5m2),
}  # fmt: skip


@pytest.mark.parametrize("dtype", CARRIED)
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_other_dtypes_are_carried_over_and_said_to_be(tmp_path: Path, dtype: str, suffix: str) -> None:
    other = CARRIED[dtype]
    bank, notes = collected(
        tmp_path, lambda i: {"weight": varying(i, 4), "other": other.clone()}, suffix=suffix
    )
    assert bank.subset_names == {"weight"}
    assert notes.said("carried unchanged", dtype)
    state = generated(tmp_path, bank)[0]
    assert state["other"].dtype == other.dtype
    assert content(state["other"]) == content(other)


def test_counters_and_scalars_are_carried_over_and_said_to_be(tmp_path: Path) -> None:
    bank, notes = collected(
        tmp_path, lambda i: {"w": varying(i, 4), "steps": torch.tensor(i), "scale": torch.tensor(2.5)}
    )
    assert notes.said("carried unchanged", "1 I64 tensor; 1 of them differs between checkpoints (steps)")
    state = generated(tmp_path, bank)[0]
    assert (state["scale"].item(), state["scale"].shape) == (2.5, ())
    assert state["steps"].item() in range(MEMBERS)


def quantised() -> Tensor:
    tensor: Tensor = torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)
    return tensor


UNREADABLE: dict[str, Callable[[], Tensor]] = {
    "quantised": quantised,
    "sparse": lambda: torch.ones(2, 2).to_sparse(),
    "on the meta device": lambda: torch.ones(2, device="meta"),
    "complex128": lambda: torch.ones(2, dtype=torch.complex128),
    "conjugated": lambda: torch.ones(2, dtype=torch.complex64).conj(),
}


@pytest.mark.filterwarnings("ignore")  # torch has several for types that it will drop
@pytest.mark.parametrize("what", UNREADABLE)
def test_tensors_without_plain_bytes_are_refused_by_name(tmp_path: Path, what: str) -> None:
    torch.save({"layer.weight": torch.ones(2), "layer.odd": UNREADABLE[what]()}, tmp_path / "odd.pt")
    message = refusal(tmp_path / "odd.pt")
    assert 'the tensor "layer.odd" is ' in message
    assert what in message
    assert "accepted: " in message


def test_ties_views_and_empty_tensors_are_restored_exactly(tmp_path: Path) -> None:
    def make(index: int) -> dict[str, Tensor]:
        base = varying(index, 3, 4)
        frozen = torch.arange(24.0).reshape(2, 3, 4)
        return {
            "embed.weight": base,
            "head.weight": base,
            "transposed": varying(index + 100, 4, 3).T,
            "sliced": varying(index + 200, 6, 6)[1:5:2, ::3],
            "frozen": frozen.permute(2, 0, 1),
            "expanded": torch.ones(1, 2).expand(3, 2),
            "empty": torch.empty(0, 4),
        }

    bank, _ = collected(tmp_path, make)
    for index in range(MEMBERS):
        state = bank.state_dict(torch.from_numpy(bank.row(index).copy()))
        expected = make(index)
        assert state.keys() == expected.keys()
        for name, tensor in expected.items():
            assert state[name].shape == tensor.shape
            assert content(state[name]) == content(tensor), name
    states = list(generated(tmp_path, bank))
    for state in states:
        assert torch.equal(state["embed.weight"], state["head.weight"])
        assert torch.equal(state["frozen"], make(0)["frozen"])
        assert state["empty"].shape == (0, 4)
    assert not torch.equal(states[0]["embed.weight"], states[1]["embed.weight"])


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_values_that_are_not_finite_are_refused_with_tensor_and_count(
    tmp_path: Path, bad: float, suffix: str
) -> None:
    def make(index: int) -> dict[str, Tensor]:
        weight = varying(index, 3, 4)
        if index == 3:
            weight[1, :2] = bad
        return {"layer.weight": weight}

    with pytest.raises(InputError) as info:
        collected(tmp_path, make, suffix=suffix)
    message = str(info.value)
    assert f"3{suffix}" in message
    assert "layer.weight" in message
    assert "2" in message.rsplit(f"3{suffix}", maxsplit=1)[1]
    assert "\n" not in message
    assert not (tmp_path / "bank").exists()


def test_constant_tensors_do_not_divide_by_zero(tmp_path: Path) -> None:
    """Each row constant, and a column that never changes: every std is 0 somewhere."""
    bank, _ = collected(
        tmp_path,
        lambda i: {
            "constant": torch.full((4,), float(i)),
            "zero": torch.zeros(3),
            "half": torch.tensor([0.5, i]),
        },
    )
    for kind in ("tensor", "element"):
        for state in generated(tmp_path / kind, bank, f"normalize={kind}"):
            assert all(bool(tensor.isfinite().all()) for tensor in state.values())
            assert torch.equal(state["zero"], torch.zeros(3))


def test_a_running_variance_is_never_negative(tmp_path: Path) -> None:
    bank, _ = collected(tmp_path, lambda i: checkpoint(i) | {"bn.running_var": torch.rand(3) ** 8})
    for kind in ("tensor", "element"):
        states = list(generated(tmp_path / kind, bank, f"normalize={kind}", n=40))
        variances = torch.stack([state["bn.running_var"] for state in states])
        assert bool((variances >= 0).all())
        assert bool(variances.isfinite().all())
        assert not torch.equal(variances[0], variances[1])


@pytest.mark.parametrize("name", ["", "a\0b"])
def test_names_that_nothing_can_have_are_refused(tmp_path: Path, name: str) -> None:
    torch.save({"weight": torch.ones(2), name: torch.ones(2)}, tmp_path / "odd.pt")
    save_file({"weight": torch.ones(2), name: torch.ones(2)}, tmp_path / "odd.safetensors")
    for file, but in (("odd.pt", ' but "__metadata__"'), ("odd.safetensors", "")):
        message = refusal(tmp_path / file)
        shown = name.replace("\0", "\\0")
        accepted = f"accepted: text{but} that is not empty and has no NUL"
        assert f'tensor name "{shown}" is refused; {accepted}' in message


def test_two_names_that_become_one_are_refused(tmp_path: Path) -> None:
    torch.save({"_orig_mod.a": torch.ones(2), "a": torch.ones(2)}, tmp_path / "odd.pt")
    assert '"a" is there twice, with and without a wrapper' in refusal(tmp_path / "odd.pt")


@pytest.mark.parametrize("name", ["module.", "_orig_mod.", "_orig_mod", "module", "module._orig_mod."])
def test_a_name_of_nothing_but_wrappers_does_not_become_empty(tmp_path: Path, name: str) -> None:
    torch.save({name: torch.ones(2)}, tmp_path / "odd.pt")
    try:
        tensors = read_all(tmp_path / "odd.pt")
    except InputError as error:
        assert "accepted: " in str(error)
        return
    assert "" not in tensors
    _core.write_checkpoint(tmp_path / "copy", _core.Checkpoint([tmp_path / "odd.pt"]).origin)
    assert read_all(tmp_path / "copy") == tensors


def test_names_that_look_like_paths_stay_names(tmp_path: Path) -> None:
    names = ["../../x", "/etc/passwd", "a b", "C:\\x", "\N{SNOWMAN}.weight", "..", "a\nb"]
    state = {name: torch.full((2,), float(i)) for i, name in enumerate(names)}
    torch.save(state, tmp_path / "odd.pt")
    assert read_all(tmp_path / "odd.pt") == {name: content(tensor) for name, tensor in state.items()}
    _core.write_checkpoint(tmp_path / "copy", _core.Checkpoint([tmp_path / "odd.pt"]).origin)
    assert load_file(tmp_path / "copy").keys() == set(names)
    assert {path.name for path in tmp_path.iterdir()} == {"odd.pt", "copy"}


def test_a_negative_running_variance_is_refused_with_its_file(tmp_path: Path) -> None:
    def make(index: int) -> dict[str, Tensor]:
        return {"bn.running_var": torch.tensor([1.0 + index, -3.0 if index == 2 else 3.0])}

    with pytest.raises(InputError, match=r'2\.pt: tensor "bn\.running_var" has the running variance -3; acc'):
        collected(tmp_path, make)
    assert [path.name for path in tmp_path.iterdir()] == ["ckpts"]


def test_a_name_that_no_safetensors_file_can_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match='tensor name "__metadata__" is refused'):
        collected(tmp_path, lambda index: {"w": varying(index, 3), "__metadata__": varying(index, 2)})


def test_numbers_that_stand_alone_are_scaled_by_their_spread(tmp_path: Path) -> None:
    bank, _ = collected(tmp_path, lambda i: {"w": varying(i, 50), "scale": 1000 + 100 * varying(i)})
    values = bank.batch(range(MEMBERS), bank.normalizer("tensor"))
    [place] = [segment.begin for segment in bank.layout.segments if segment.name == "scale"]
    torch.testing.assert_close(float(values[:, place].std(correction=0)), 1.0, atol=1e-4, rtol=0)
