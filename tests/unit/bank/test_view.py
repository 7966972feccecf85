"""Views: members chosen without a copy."""

from pathlib import Path

import numpy as np
import pytest
import torch

from pdiff.bank import Bank, View
from tests.support import MEMBERS


def accuracy(view: Bank | View) -> list[float]:
    return [member.metrics["accuracy"] for member in view.members]


def test_a_view_reads_the_bank(bank: Bank) -> None:
    view, normalizer = bank.view([5, 0, 5]), bank.normalizer("tensor")
    assert (len(view), view.dim, view.layout) == (3, bank.dim, bank.layout)
    assert view.members == (bank.members[5], bank.members[0], bank.members[5])
    assert torch.equal(view.batch([2, 1]), bank.batch([5, 0]))
    out = torch.empty(1, 3, dtype=torch.bfloat16)
    assert view.batch([1], normalizer, columns=(1, 4), out=out) is out
    assert torch.equal(out, bank.batch([0], normalizer, dtype=torch.bfloat16)[:, 1:4])
    assert view.statistics is bank.statistics
    assert torch.equal(view.batch([0], view.normalizer("tensor")), bank.batch([5], normalizer))


def test_no_row_is_copied(bank: Bank) -> None:
    view = bank.every(2).view([3, 1])
    first, second = view.row(0), view.row(1)
    assert first.ctypes.data == bank.row(6).ctypes.data
    assert second.ctypes.data == bank.row(2).ctypes.data
    assert not first.flags.writeable
    maps = [line for line in Path("/proc/self/maps").read_text().splitlines() if str(bank.path) in line]
    assert len(maps) == len(bank.manifest.shards)


def test_members_are_chosen_by_what_is_known_of_them(bank: Bank) -> None:
    best = bank.where(lambda member: member.metrics["accuracy"] >= 0.94)
    assert accuracy(best) == [found for found in accuracy(bank) if found >= 0.94]
    assert 0 < len(best) < MEMBERS
    assert list(bank.view(lambda member: member.metrics["accuracy"] >= 0.94).indices) == list(best.indices)
    assert len(bank.where(lambda member: False)) == 0


def test_views_compose(bank: Bank) -> None:
    view = bank.view(range(MEMBERS - 1, -1, -1)).every(3).where(lambda m: m is not bank.members[5])
    assert list(view.indices) == [11, 8, 2]
    assert view.bank is bank
    train, held_out = view.split(0.4)
    assert sorted([*train.indices, *held_out.indices]) == [2, 8, 11]


@pytest.mark.parametrize(("held_out", "count"), [(0.1, 1), (0.25, 3), (0.5, 6), (0.99, 11), (0.001, 1)])
def test_a_split_is_a_partition_that_the_seed_decides(bank: Bank, held_out: float, count: int) -> None:
    train, held = bank.split(held_out, seed=3)
    assert len(held) == count
    assert sorted([*train.indices, *held.indices]) == list(range(MEMBERS))
    assert list(train.indices) == sorted(train.indices)
    again, _ = bank.split(held_out, seed=3)
    assert list(again.indices) == list(train.indices)
    others = [list(bank.split(held_out, seed=seed)[1].indices) for seed in range(8)]
    assert any(other != list(held.indices) for other in others)


def test_what_is_no_choice_is_refused(bank: Bank) -> None:
    view = bank.every(4)
    for call in (view.row, lambda index: view.batch([index]), lambda index: view.view([index])):
        for index in (-1, 3):
            with pytest.raises(IndexError, match=f"member {index}; accepted: 0 to 2"):
                call(index)
    with pytest.raises(ValueError, match="indices of dtype bool; accepted: integers"):
        bank.view(np.array([True] * MEMBERS))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="indices of dtype float64; accepted: integers"):
        bank.batch([0.5])  # type: ignore[list-item]
    with pytest.raises(ValueError, match=r"indices of shape \(1, 2\); accepted: one axis"):
        bank.view([[1, 2]])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="every 0; accepted: 1 or more"):
        bank.every(0)
    for held_out in (0.0, 1.0, float("nan")):
        with pytest.raises(ValueError, match="of 12 members; accepted: 0 < held_out < 1"):
            bank.split(held_out)
    with pytest.raises(ValueError, match="of 1 members"):
        bank.view([0]).split()


def test_indices_of_a_view_are_its_own(bank: Bank) -> None:
    chosen = np.array([1, 2])
    view = bank.view(chosen)
    chosen[0] = 9
    assert list(view.indices) == [1, 2]
    assert chosen.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        view.indices[0] = 3
