"""Similarity of errors: hand-made cases and a reference made of Python sets."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pdiff.evaluation.novelty import (
    containment,
    distinct_count,
    iou_matrix,
    max_similarity,
    mean_similarity,
    without_self,
)

SAMPLES = 12
MASKS = st.lists(st.sets(st.integers(0, SAMPLES - 1)), min_size=2, max_size=6)


def masks(*errors: set[int]) -> Tensor:
    """Bool [M, 12] with the given samples wrong."""
    return torch.tensor([[sample in wrong for sample in range(SAMPLES)] for wrong in errors])


def iou(a: set[int], b: set[int]) -> float:
    return len(a & b) / len(a | b) if a | b else 1.0


def test_hand_made_similarities() -> None:
    everything = set(range(SAMPLES))
    models = masks({0, 1, 2}, {0, 1, 2}, {3, 4}, {2, 3}, set(), everything)
    assert iou_matrix(models, models).tolist() == [
        [1, 1, 0, 0.25, 0, 0.25],
        [1, 1, 0, 0.25, 0, 0.25],
        [0, 0, 1, 1 / 3, 0, 2 / 12],
        [0.25, 0.25, 1 / 3, 1, 0, 2 / 12],
        [0, 0, 0, 0, 1, 0],  # no errors: like another without errors, unlike all the rest
        [0.25, 0.25, 2 / 12, 2 / 12, 0, 1],
    ]


@given(MASKS, MASKS)
def test_equals_the_definition(ours: list[set[int]], bank: list[set[int]]) -> None:
    similarity = iou_matrix(masks(*ours), masks(*bank))
    expected = [[iou(a, b) for b in bank] for a in ours]
    assert similarity.tolist() == expected
    assert max_similarity(similarity).tolist() == [max(row) for row in expected]


@given(MASKS)
def test_within_a_set_a_model_is_not_its_own_neighbour(ours: list[set[int]]) -> None:
    similarity = iou_matrix(masks(*ours), masks(*ours))
    pairs = [[iou(a, b) for j, b in enumerate(ours) if j != i] for i, a in enumerate(ours)]
    assert max_similarity(without_self(similarity)).tolist() == [max(row) for row in pairs]
    everyone = [value for row in pairs for value in row]
    assert mean_similarity(similarity) == pytest.approx(sum(everyone) / len(everyone), abs=1e-12)
    assert similarity.diagonal().tolist() == [1.0] * len(ours), "the argument is left alone"


def test_counts_are_exact_for_many_samples() -> None:
    wrong = torch.ones(2, 3_000_001, dtype=torch.bool)
    wrong[1, 0] = False
    assert iou_matrix(wrong, wrong)[0, 1].item() == 3_000_000 / 3_000_001
    with pytest.raises(ValueError, match="16777216 samples"):
        iou_matrix(torch.zeros(1, 2**24, dtype=torch.bool), torch.zeros(1, 2**24, dtype=torch.bool))


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
    models = masks(*errors)
    assert distinct_count(iou_matrix(models, models)) == count


def test_containment_sees_a_damaged_member() -> None:
    bank = masks({0, 1, 2}, {8, 9})
    damaged, new, subset = {0, 1, 2, 3, 4, 5, 6, 7}, {0, 8, 10}, {0}
    models = masks(damaged, new, subset)
    similarity = iou_matrix(models, bank)
    assert max_similarity(similarity).tolist() == [3 / 8, 1 / 4, 1 / 3]
    assert containment(models, bank, similarity).tolist() == [1.0, 1 / 2, 1 / 3]


def test_containment_without_errors_and_within_the_bank() -> None:
    bank = masks(set(), {1, 2}, {2, 3})
    similarity = iou_matrix(bank, bank)
    assert containment(bank, bank, similarity).tolist() == [1.0, 1.0, 1.0]
    assert containment(bank, bank, without_self(similarity)).tolist()[1:] == [0.5, 0.5]
