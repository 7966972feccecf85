"""LoRA adapters of equal effect get equal numbers, and each keeps its effect."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from scipy.linalg import orthogonal_procrustes
from torch import Tensor

from pdiff.alignment.align import align
from pdiff.bank import Bank, collect
from pdiff.common.errors import InputError, UsageError
from pdiff.common.torch_rng import seeded
from tests.support import Said

IN, OUT, RANK = 12, 9, 4
PEFT = ("layer.0.query.lora_A.weight", "layer.0.query.lora_B.weight")
NAMES = [
    PEFT,
    ("q.lora_A.default.weight", "q.lora_B.default.weight"),
    ("words.lora_embedding_A", "words.lora_embedding_B"),
    ("unet.to_q.lora.down.weight", "unet.to_q.lora.up.weight"),
    ("lora_unet_to_q.lora_down.weight", "lora_unet_to_q.lora_up.weight"),
]

Factors = tuple[Tensor, Tensor]


def factors(seed: int, rank: int = RANK) -> Factors:
    """A [RANK, IN] and B [OUT, RANK] of a product of this rank."""
    with seeded(seed, "lora"):
        first, second = torch.randn(RANK, IN), torch.randn(OUT, RANK)
        second[:, rank:] = 0
    return first, second


def equal_in_effect(first: Tensor, second: Tensor, seed: int) -> Factors:
    with seeded(seed, "gauge"):
        gauge = torch.randn(RANK, RANK).double() + 3 * torch.eye(RANK).double()
    return (
        (torch.linalg.inv(gauge) @ first.double()).float(),
        (second.double() @ gauge).float(),
    )


def bank_of_adapters(
    folder: Path, adapters: Sequence[Factors], names: tuple[str, str] = PEFT, dtype: str = "F32"
) -> Bank:
    (folder / "ckpts").mkdir()
    for index, each in enumerate(adapters):
        tensors = {name: tensor.contiguous() for name, tensor in zip(names, each, strict=True)}
        save_file(
            tensors | {"head.bias": torch.tensor([float(index)])}, folder / f"ckpts/{index}.safetensors"
        )
    return collect(folder / "ckpts", out=folder / "bank", store_dtype=dtype, warn=False)


def products(bank: Bank, names: tuple[str, str] = PEFT) -> list[NDArray[np.float64]]:
    found = []
    for index in range(len(bank)):
        tensors = bank.state_dict(torch.from_numpy(bank.gathered([index])[0]))
        first, second = (tensors[name].double().numpy() for name in names)
        found.append(second.reshape(len(second), -1) @ first.reshape(len(first), -1))
    return found


@pytest.mark.parametrize("names", NAMES, ids=[first for first, _ in NAMES])
@pytest.mark.parametrize("rank", [RANK, RANK - 2])
def test_adapters_of_equal_effect_become_equal(rank: int, names: tuple[str, str], tmp_path: Path) -> None:
    one = factors(0, rank)
    adapters = [one, *(equal_in_effect(*one, seed) for seed in range(4))]
    bank = bank_of_adapters(tmp_path, adapters, names)
    before = bank.gathered(range(len(bank)))[:, 1:]
    assert np.abs(before - before[0]).max() > 0.5
    after = align(bank, out=tmp_path / "aligned", method="lora").gathered(range(len(bank)))[:, 1:]
    np.testing.assert_allclose(after, np.broadcast_to(after[0], after.shape), atol=2e-5)


def test_each_adapter_keeps_its_effect_and_all_else(tmp_path: Path) -> None:
    adapters = [factors(seed, rank) for seed, rank in enumerate([4, 4, 3, 0, 4])]
    bank = bank_of_adapters(tmp_path, adapters)
    aligned = align(bank, out=tmp_path / "aligned", method="lora")
    for ours, theirs in zip(products(aligned), products(bank), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    rows = [each.gathered(range(len(bank))) for each in (aligned, bank)]
    np.testing.assert_array_equal(rows[0][:, 0], rows[1][:, 0])
    assert aligned.manifest.aligned == "lora"


def test_it_is_the_turn_of_the_balanced_factors_closest_to_the_mean(tmp_path: Path) -> None:
    """The slow way: the whole product's decomposition, and Procrustes by SciPy."""
    bank = bank_of_adapters(tmp_path, [factors(seed) for seed in range(5)])
    balanced = []
    for product in products(bank):
        left, sizes, right = np.linalg.svd(product)
        root = np.sqrt(sizes[:RANK])
        balanced.append(np.concatenate([left[:, :RANK] * root, right[:RANK].T * root]))

    def turned(each: NDArray[np.float64], reference: NDArray[np.float64]) -> NDArray[np.float64]:
        found: NDArray[np.float64] = each @ orthogonal_procrustes(each, reference)[0]
        return found

    largest = max(balanced, key=lambda each: float(np.linalg.norm(each)))
    mean = np.mean([turned(each, largest) for each in balanced], axis=0)
    wanted = [turned(each, mean) for each in balanced]
    aligned = align(bank, out=tmp_path / "aligned", method="lora")
    found = []
    for index in range(len(bank)):
        tensors = aligned.state_dict(torch.from_numpy(aligned.gathered([index])[0]))
        found.append(
            np.concatenate([tensors[PEFT[1]].numpy(), tensors[PEFT[0]].numpy().T]).astype(np.float64)
        )
    turn = orthogonal_procrustes(found[0], wanted[0])[0]  # all may be turned together
    for ours, theirs in zip(found, wanted, strict=True):
        np.testing.assert_allclose(ours @ turn, theirs, atol=1e-4)


def test_the_average_of_aligned_adapters_has_nearly_the_average_effect(tmp_path: Path) -> None:
    first, second = factors(0)
    adapters = []
    for seed in range(10):
        with seeded(seed, "near"):
            near = first + 0.1 * torch.randn_like(first), second + 0.1 * torch.randn_like(second)
        adapters.append(equal_in_effect(*near, seed))
    bank = bank_of_adapters(tmp_path, adapters)
    wanted = np.mean(products(bank), axis=0)

    def error(bank: Bank) -> float:
        average = bank.gathered(range(len(bank))).mean(axis=0, keepdims=True)
        tensors = bank.state_dict(torch.from_numpy(average[0]))
        found = (tensors[PEFT[1]].double() @ tensors[PEFT[0]].double()).numpy()
        return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))

    aligned = align(bank, out=tmp_path / "aligned", method="lora")
    assert error(bank) > 0.1
    assert error(aligned) < 0.02


def test_convolutions_are_matrices_too(tmp_path: Path) -> None:
    def as_convolution(first: Tensor, second: Tensor) -> Factors:
        return first.reshape(RANK, 3, 2, 2), second.reshape(OUT, RANK, 1, 1)

    one = factors(0)
    adapters = [as_convolution(*each) for each in (one, equal_in_effect(*one, 1), equal_in_effect(*one, 2))]
    bank = bank_of_adapters(tmp_path, adapters)
    rows = align(bank, out=tmp_path / "aligned", method="lora").gathered([0, 1, 2])[:, 1:]
    np.testing.assert_allclose(rows, np.broadcast_to(rows[0], rows.shape), atol=2e-5)


def _of_half_precision(folder: Path) -> Bank:
    return bank_of_adapters(folder, [factors(0), factors(1), factors(2)], dtype="F16")


def _without_factors(folder: Path) -> Bank:
    return bank_of_adapters(folder, [factors(0), factors(1), factors(2)], ("a.weight", "b.weight"))


def _that_do_not_fit(folder: Path) -> Bank:
    return bank_of_adapters(folder, [(each[0], each[1][:, :-1]) for each in map(factors, range(3))])


@pytest.mark.parametrize(
    ("bank", "error", "message"),
    [
        (_of_half_precision, UsageError, "collect with --store-dtype f32"),
        (_without_factors, InputError, "hold no two LoRA factors of one layer"),
        (
            _that_do_not_fit,
            InputError,
            r"lora_A.weight \(4, 12\) and .*lora_B.weight \(9, 3\) are not the factors",
        ),
    ],
)
def test_what_cannot_be_aligned_is_refused(
    bank: Callable[[Path], Bank], error: type[Exception], message: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        align(bank(tmp_path), out=tmp_path / "aligned", method="lora")
    assert not (tmp_path / "aligned").exists()


def test_no_task_is_needed_or_taken(tmp_path: Path) -> None:
    bank = bank_of_adapters(tmp_path, [factors(0), factors(1), factors(2)])
    with pytest.raises(UsageError, match="task and arch are not for aligning by lora"):
        align(bank, out=tmp_path / "aligned", method="lora", task="digits")
    said = Said()
    align(bank, out=tmp_path / "aligned", method="lora", progress=said)
    assert "1 pair of LoRA factors is aligned" in said
