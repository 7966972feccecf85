"""Averages of random, last and all members, and greedy soups."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from pdiff.bank import Bank
from pdiff.common.errors import UsageError
from pdiff.common.provenance import DataAccess
from pdiff.generators import family
from pdiff.generators.average import Average
from pdiff.generators.base import Context
from pdiff.tasks.base import Metric, Split
from tests.unit.evaluation.waves import Waves
from tests.unit.generators.rows import K, made, rows, waves


class Distance(Waves):
    """Scores a network by the distance of its head's bias to a target: smaller is better."""

    metric = Metric("distance", False, False, lambda outputs, _: outputs, lambda found: float(found.mean()))

    def __init__(self, target: Tensor) -> None:
        self.target = target

    def build(self, arch: str) -> nn.Module:
        network = super().build(arch)
        network.register_forward_hook(
            lambda module, _, outputs: (module.head.bias - self.target).norm().repeat(len(outputs), 1)
        )
        return network


class Unvalidated(Waves):
    def data(self, split: Split) -> tuple[Tensor, Tensor]:
        inputs, targets = super().data(split)
        return (inputs[:0], targets[:0]) if split == "validation" else (inputs, targets)


def test_averages_are_of_different_members(bank: Bank) -> None:
    members = bank.batch(range(K)).double()
    for row in rows(bank, "average", 30, members=2):
        pairs = [
            (i, j)
            for i in range(K)
            for j in range(i)
            if torch.equal(members[[i, j]].mean(dim=0).float(), row)
        ]
        assert len(pairs) == 1


def test_larger_averages_take_the_same_members_and_more(bank: Bank) -> None:
    few, more, all_of_them = (made(bank, "average", members=k).rows([3], 0)[0].double() for k in (2, 3, K))
    third = 3 * more - 2 * few
    members = bank.batch(range(K)).double()
    scale = members.std(dim=0).clamp(min=1e-6)
    assert float(((third - members) / scale).abs().mean(dim=1).min()) < 1e-4
    torch.testing.assert_close(all_of_them.float(), rows(bank, "average", 1)[0])


def test_the_average_of_all_and_of_the_last(bank: Bank) -> None:
    members = bank.batch(range(K)).double()
    assert torch.equal(rows(bank, "average", 1)[0], members.mean(dim=0).float())
    last = made(bank, "average", members=3, choice="last")
    assert torch.equal(last.rows([7], 5)[0], members[-3:].mean(dim=0).float())
    assert (made(bank, "average").strength, last.strength) == (None, 3)
    assert last.data_access == DataAccess("weights", 0)
    with pytest.raises(UsageError, match="an average needs 21 members or more, not 20"):
        made(bank, "average", members=21)


def slow_soup(bank: Bank, candidates: list[int], target: Tensor) -> list[int]:
    """A greedy soup by the definition: every average is made and scored by itself."""
    (place,) = [each for each in bank.layout.segments if each.name == "head.bias"]

    def distance(soup: list[int]) -> float:
        average = bank.batch(soup).double().mean(dim=0).float()
        return float((average[place.begin : place.end] - target).norm())

    soup: list[int] = []
    for member in sorted(candidates, key=lambda each: distance([each])):
        if not soup or distance([*soup, member]) <= distance(soup):
            soup.append(member)
    return soup


@pytest.mark.parametrize("last", [0, 4])
def test_a_greedy_soup_takes_what_helps(
    whole_bank: Bank, network: nn.Module, tmp_path: Path, last: int
) -> None:
    target = network.state_dict()["head.bias"]
    values = {"soup": "greedy"} | ({"members": last, "choice": "last"} if last else {})
    soup = made(whole_bank, "average", waves(Distance(target)), **values)
    assert isinstance(soup, Average)
    expected = slow_soup(whole_bank, list(range(len(whole_bank)))[-last:], target)
    assert soup.chosen == expected
    assert last or 1 < len(expected) < len(whole_bank), "some help and some do not"
    average = whole_bank.batch(expected).double().mean(dim=0).float()
    torch.testing.assert_close(soup.rows([0, 9], 3), average.repeat(2, 1))
    assert soup.data_access == DataAccess("inputs", 0)
    assert soup.facts() == {"soup_members": len(expected)}
    assert soup.strength is None
    assert soup.seconds["soup"] > 0
    assert soup.save(tmp_path) == ["generator.safetensors"]
    again = family(soup.config).load(soup.config, soup.members, tmp_path, Context())
    assert torch.equal(again.rows([0], 0), soup.rows([0], 0))
    assert again.facts() == soup.facts()


def test_a_greedy_soup_is_never_worse_than_its_best_member(whole_bank: Bank) -> None:
    task = Waves()
    soup = made(whole_bank, "average", waves(task), soup="greedy")
    inputs, targets = task.data("validation")

    def correct(row: Tensor) -> int:
        network = task.build("residual").eval()
        network.load_state_dict(whole_bank.state_dict(row))
        with torch.no_grad():
            return int((~task.error(network(inputs), targets)).sum())

    assert correct(soup.rows([0], 0)[0]) >= max(map(correct, whole_bank.batch(range(len(whole_bank)))))


def test_what_a_greedy_soup_cannot_be_of(whole_bank: Bank) -> None:
    with pytest.raises(UsageError, match="average, soup greedy, looks at data: name a task with --task"):
        made(whole_bank, "average", soup="greedy")
    with pytest.raises(UsageError, match="waves has no validation data"):
        made(whole_bank, "average", waves(Unvalidated()), soup="greedy")
    with pytest.raises(UsageError, match="a greedy soup of 3 random members"):
        made(whole_bank, "average", waves(), soup="greedy", members=3)
