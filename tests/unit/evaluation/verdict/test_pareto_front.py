"""The Pareto front of the baselines against what brute force over mixtures finds."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdiff.evaluation.verdict.pareto_front import (
    Values,
    best_at_gg,
    best_at_similarity,
    gg_front,
    vertices,
)

FRACTIONS = st.floats(0, 1).map(lambda value: round(value, 4))
PLACES = st.lists(st.tuples(FRACTIONS, FRACTIONS), min_size=1, max_size=7)
SHARES = np.linspace(0, 1, 201)


def reached(limit: float, x: Values, score: Values) -> float:
    """The best of all families and chords at `limit` or left of it; else the best of the leftmost."""
    if limit < x.min():
        return float(score[x == x.min()].max())
    best = float(score[x <= limit].max())
    for i, j in itertools.permutations(range(len(x)), 2):
        if x[i] <= limit < x[j]:
            share = (limit - x[i]) / (x[j] - x[i])
            best = max(best, float((1 - share) * score[i] + share * score[j]))
    return best


@given(PLACES, FRACTIONS)
def test_equals_the_best_of_all_chords(places: list[tuple[float, float]], limit: float) -> None:
    x, score = np.array(places).T
    best = best_at_similarity(limit, x, score)
    assert best.score == pytest.approx(reached(limit, x, score), abs=1e-12)
    mixture = (1 - best.share) * score[best.first] + best.share * score[best.second]
    assert best.score == pytest.approx(float(mixture), abs=1e-12)
    drawn = np.interp(limit, x[vertices(x, score)], score[vertices(x, score)])
    assert best.score == pytest.approx(float(drawn), abs=1e-12)


@given(PLACES)
def test_the_vertices_rise_and_bend_down(places: list[tuple[float, float]]) -> None:
    x, score = np.array(places).T
    front = vertices(x, score)
    assert score[front[-1]] == score.max()
    assert x[front[0]] == x.min()
    assert (np.diff(x[front]) > 0).all()
    assert (np.diff(score[front]) > 0).all()


def test_by_hand() -> None:
    x, score = np.array([0.2, 0.4, 0.6, 0.9]), np.array([0.5, 0.6, 0.9, 0.8])
    assert vertices(x, score).tolist() == [0, 2]
    assert best_at_similarity(0.1, x, score) == (0.5, 0, 0, 0.0)
    assert best_at_similarity(0.4, x, score) == (pytest.approx(0.7), 0, 2, pytest.approx(0.5))
    assert best_at_similarity(0.95, x, score) == (0.9, 2, 2, 0.0)


def kernel(seed: int, families: int) -> tuple[Values, Values]:
    """Similarities of families like those of an IoU: a positive definite matrix [F, F] in [0, 1]; scores."""
    generator = np.random.default_rng(seed)
    features = generator.random((families, 5)) / np.sqrt(5)
    return features @ features.T, generator.random(families)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("families", [1, 2, 5])
def test_gg_equals_the_best_of_all_mixtures(seed: int, families: int) -> None:
    similarity, score = kernel(seed, families)
    pairs = list(itertools.product(range(families), repeat=2))
    mixtures = [
        (
            (1 - p) ** 2 * similarity[i, i] + 2 * p * (1 - p) * similarity[i, j] + p * p * similarity[j, j],
            (1 - p) * score[i] + p * score[j],
        )
        for i, j in pairs
        for p in SHARES
    ]
    for limit in (0.2, 0.35, 0.5, 1.0):
        best = best_at_gg(limit, similarity, score)
        leftmost = similarity.diagonal().min()
        there = [s for gg, s in mixtures if gg <= max(limit, leftmost)]
        assert max(there) <= best.score + 1e-9
        assert best.score <= max(there) + 0.03, "the grid is coarse, the roots are exact"


def test_gg_of_two_families_by_hand() -> None:
    similarity, score = np.array([[0.4, 0.2], [0.2, 0.8]]), np.array([0.5, 0.9])
    # a mixture has 0.4 - 0.4 p + 0.8 p²: as novel as the first family at p = 0.5, and better
    assert best_at_gg(0.1, similarity, score) == (pytest.approx(0.7), 0, 1, pytest.approx(0.5))
    assert best_at_gg(0.4, similarity, score) == (pytest.approx(0.7), 0, 1, pytest.approx(0.5))
    assert best_at_gg(0.8, similarity, score).score == pytest.approx(0.9)
    assert best_at_gg(0.9, similarity, score).score == pytest.approx(0.9)
    points = gg_front(similarity, score)
    assert points[0] == pytest.approx((0.4, 0.7))
    assert points[-1] == pytest.approx((0.8, 0.9))


@pytest.mark.parametrize("seed", range(10))
def test_mixtures_are_never_behind_the_chords(seed: int) -> None:
    """Which is why chords would not do for GG: they would favour the generated models."""
    similarity, score = kernel(seed, 6)
    for limit in np.linspace(0.1, 1, 15):  # left of all of them too
        chords = best_at_similarity(float(limit), similarity.diagonal(), score)
        assert best_at_gg(float(limit), similarity, score).score >= chords.score - 1e-12


@pytest.mark.parametrize("seed", range(10))
def test_the_drawn_front_of_gg_rises(seed: int) -> None:
    similarity, score = kernel(seed, 6)
    x, y = np.array(gg_front(similarity, score)).T
    assert (np.diff(x) > 0).all()
    assert (np.diff(y) >= -1e-12).all()
    assert y[-1] == score.max()
