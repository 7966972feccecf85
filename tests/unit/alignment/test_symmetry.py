"""Matching one group is the best of all permutations, and units move with all their numbers."""

from itertools import permutations as orders_of

import numpy as np
import pytest

from pdiff.alignment.groups import UnitAxis
from pdiff.alignment.symmetry import Symmetry

PLACES = {"first": (0, (5, 3)), "last": (15, (2, 10))}
"""Two layers, five hidden units whose outputs are flattened pairs."""
HIDDEN = (UnitAxis("first", 0), UnitAxis("last", 1))


def vector(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=35)


def test_one_group_is_matched_as_well_as_any_order_can() -> None:
    symmetry = Symmetry(PLACES, [(5, HIDDEN)])
    values, target = vector(0), vector(1)
    distances = [
        float(np.linalg.norm(symmetry.permuted(values, [np.array(order)]) - target))
        for order in orders_of(range(5))
    ]
    found = symmetry.permuted(values, symmetry.match(values, target))
    assert float(np.linalg.norm(found - target)) == pytest.approx(min(distances))
    assert len(set(distances)) == 120


def test_units_move_with_all_their_numbers() -> None:
    symmetry = Symmetry(PLACES, [(5, HIDDEN)])
    values, order = vector(0), [3, 1, 4, 0, 2]
    moved = symmetry.permuted(values, [np.array(order)])
    np.testing.assert_array_equal(moved[:15].reshape(5, 3), values[:15].reshape(5, 3)[order])
    last = values[15:].reshape(2, 5, 2)[:, order].reshape(2, 10)
    np.testing.assert_array_equal(moved[15:].reshape(2, 10), last)


def test_a_square_matrix_moves_on_both_sides() -> None:
    symmetry = Symmetry({"square": (0, (4, 4))}, [(4, (UnitAxis("square", 0), UnitAxis("square", 1)))])
    matrix, order = np.random.default_rng(0).normal(size=(4, 4)), np.array([2, 0, 3, 1])
    moved = symmetry.permuted(matrix.ravel(), [order])
    np.testing.assert_array_equal(moved.reshape(4, 4), matrix[np.ix_(order, order)])


def test_units_within_stretches_move_alike_in_each() -> None:
    symmetry = Symmetry({"packed": (0, (12,))}, [(2, (UnitAxis("packed", 0, outer=3),))])
    moved = symmetry.permuted(np.arange(12), [np.array([1, 0])])
    assert moved.tolist() == [2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9]


@pytest.mark.parametrize("seed", range(5))
def test_a_planted_permutation_of_several_groups_is_found(seed: int) -> None:
    places = {"a": (0, (6, 9)), "b": (54, (8, 6)), "c": (102, (3, 8))}
    groups = [(6, (UnitAxis("a", 0), UnitAxis("b", 1))), (8, (UnitAxis("b", 0), UnitAxis("c", 1)))]
    symmetry = Symmetry(places, groups)
    generator = np.random.default_rng(seed)
    target = generator.normal(size=126)
    copy = symmetry.permuted(target, [generator.permutation(6), generator.permutation(8)])
    np.testing.assert_array_equal(symmetry.permuted(copy, symmetry.match(copy, target)), target)


def test_matching_never_goes_away_from_the_target() -> None:
    both = (UnitAxis("square", 0), UnitAxis("square", 1))
    symmetry = Symmetry({"square": (0, (6, 6))}, [(6, both)])
    for seed in range(20):
        values, target = np.random.default_rng(seed).normal(size=(2, 36))
        found = symmetry.permuted(values, symmetry.match(values, target))
        assert float(found @ target) >= float(values @ target)
