"""Similarity of errors: hand-made cases and a reference made of Python sets."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import jaccard, pdist
from torch import Tensor

from pdiff.evaluation.metrics import errors as metrics
from pdiff.evaluation.metrics.errors import Resemblance, containment, distinct_count, iou, resemblance

SAMPLES = 12
MASKS = st.lists(st.sets(st.integers(0, SAMPLES - 1)), min_size=2, max_size=6)


def masks(*errors: set[int]) -> Tensor:
    """Bool [M, 12] with the given samples wrong."""
    return torch.tensor([[sample in wrong for sample in range(SAMPLES)] for wrong in errors])


def slow(a: set[int], b: set[int]) -> float:
    return len(a & b) / len(a | b) if a | b else 1.0


def gg(found: Resemblance) -> float:
    """Mean similarity of two different models."""
    assert found.to_others is not None
    return float(found.to_others.mean())


def test_hand_made_similarities() -> None:
    everything = set(range(SAMPLES))
    models = masks({0, 1, 2}, {0, 1, 2}, {3, 4}, {2, 3}, set(), everything)
    assert iou(models, models).tolist() == [
        [1, 1, 0, 0.25, 0, 0.25],
        [1, 1, 0, 0.25, 0, 0.25],
        [0, 0, 1, 1 / 3, 0, 2 / 12],
        [0.25, 0.25, 1 / 3, 1, 0, 2 / 12],
        [0, 0, 0, 0, 1, 0],  # no errors: like another without errors, unlike all the rest
        [0.25, 0.25, 2 / 12, 2 / 12, 0, 1],
    ]


@given(MASKS, MASKS)
def test_equals_the_definition(ours: list[set[int]], bank: list[set[int]]) -> None:
    expected = [[slow(a, b) for b in bank] for a in ours]
    assert iou(masks(*ours), masks(*bank)).tolist() == expected
    found = resemblance(masks(*ours), masks(*bank))
    assert found.max_similarity.tolist() == [max(row) for row in expected]
    assert found.to_members.tolist() == pytest.approx([sum(row) / len(row) for row in expected], abs=1e-12)


@given(MASKS)
def test_within_a_set_a_model_is_not_its_own_neighbour(ours: list[set[int]]) -> None:
    models = masks(*ours)
    found = resemblance(models, models)
    pairs = [[slow(a, b) for j, b in enumerate(ours) if j != i] for i, a in enumerate(ours)]
    assert found.max_similarity.tolist() == [max(row) for row in pairs]
    everyone = [value for row in pairs for value in row]
    assert gg(found) == pytest.approx(sum(everyone) / len(everyone), abs=1e-12)
    assert found.to_others is not None and found.to_nearest is not None
    assert found.to_others.tolist() == pytest.approx([sum(row) / len(row) for row in pairs], abs=1e-12)
    assert found.to_nearest.tolist() == found.max_similarity.tolist()


def test_one_model_has_nobody_to_be_like() -> None:
    found = resemblance(masks({1}), masks({1}, {2}))
    assert (found.to_others, found.to_nearest) == (None, None)


@pytest.mark.parametrize(
    ("errors", "alike", "distinct"),
    [
        ([{1, 2, 3}] * 4, 1, 1),  # identical models
        ([{0, 1}, {2, 3}, {4, 5}, {6}], 0, 4),  # disjoint errors
        ([set()] * 4, 1, 1),  # empty error sets
        ([set(range(SAMPLES))] * 4, 1, 1),  # all wrong
        ([set(), set(range(SAMPLES)), {0}, {1}], (0 + 0 + 0 + 1 / 12 + 1 / 12 + 0) / 6, 4),
    ],
)
def test_hand_made_populations(errors: list[set[int]], alike: float, distinct: int) -> None:
    models = masks(*errors)
    found = resemblance(models, models)
    assert gg(found) == pytest.approx(alike, abs=1e-12)
    assert distinct_count(models) == distinct
    if alike == 1:
        assert found.max_similarity.tolist() == [1] * 4
        assert found.containment.tolist() == [1] * 4


@given(MASKS, MASKS)
def test_containment_equals_the_definition(ours: list[set[int]], bank: list[set[int]]) -> None:
    models, members = masks(*ours), masks(*bank)
    expected = []
    for errors in ours:
        nearest = max(bank, key=lambda member: slow(errors, member))  # the first of several
        expected.append(len(errors & nearest) / len(nearest) if nearest else 1.0)
    found = containment(models, members, iou(models, members))
    assert found.tolist() == pytest.approx(expected, abs=1e-12)


def test_torchmetrics_and_scipy_agree() -> None:
    """Jaccard of binary masks is the IoU where both err at all; scipy's distance is one minus it."""
    from torchmetrics.functional.classification import binary_jaccard_index

    generator = torch.Generator().manual_seed(0)
    ours, bank = (torch.rand(5, 200, generator=generator) < 0.3 for _ in range(2))
    similarity = iou(ours, bank)
    for i, a in enumerate(ours):
        for j, b in enumerate(bank):
            assert similarity[i, j].item() == pytest.approx(float(binary_jaccard_index(a, b.int())), abs=1e-6)
            assert similarity[i, j].item() == pytest.approx(1 - jaccard(a.numpy(), b.numpy()), abs=1e-12)
    within = 1 - torch.from_numpy(pdist(ours.numpy(), "jaccard"))
    assert gg(resemblance(ours, ours)) == pytest.approx(float(within.mean()), abs=1e-12)


def test_counts_are_exact_for_many_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = torch.ones(2, 3_000_001, dtype=torch.bool)
    wrong[1, 0] = False
    assert iou(wrong, wrong)[0, 1].item() == 3_000_000 / 3_000_001
    few = torch.rand(4, 50, generator=torch.Generator().manual_seed(0)) < 0.3
    whole = iou(few, few)
    monkeypatch.setattr(metrics, "_COLUMNS", 7)
    assert torch.equal(iou(few, few), whole)


@pytest.mark.parametrize(
    ("errors", "count"),
    [
        ([{1, 2}] * 5, 1),
        ([{0}, {1}, {2}], 3),
        ([set(), set()], 1),
        ([{0, 1, 2, 3}, {0, 1}, {4, 5}], 2),  # the second shares half of the first: not below 0.5
        ([{0, 1, 2}, {2, 3, 4}, {4, 5, 0}], 3),
    ],
)
def test_distinct_models(errors: list[set[int]], count: int) -> None:
    assert distinct_count(masks(*errors)) == count


def test_containment_sees_a_damaged_member() -> None:
    bank = masks({0, 1, 2}, {8, 9})
    damaged, new, subset = {0, 1, 2, 3, 4, 5, 6, 7}, {0, 8, 10}, {0}
    models = masks(damaged, new, subset)
    found = resemblance(models, bank)
    assert found.max_similarity.tolist() == [3 / 8, 1 / 4, 1 / 3]
    assert found.containment.tolist() == [1.0, 1 / 2, 1 / 3]


def test_containment_without_errors_and_within_the_bank() -> None:
    bank = masks(set(), {1, 2}, {2, 3})
    assert containment(bank, bank, iou(bank, bank)).tolist() == [1.0, 1.0, 1.0]
    assert resemblance(bank, bank).containment.tolist()[1:] == [0.5, 0.5]
