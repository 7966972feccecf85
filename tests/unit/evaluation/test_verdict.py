"""The verdict: what it says for every position among the baselines, and what it never says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdiff.evaluation.verdict import Point, covering, mixture_bound, sentence

ORIGINAL = Point("original", 300, 0.9713, 0.95)
AVERAGE = Point("average of 16", 50, 0.9726, 0.914)
GAUSSIAN = Point("Gaussian ×1", 50, 0.9715, 0.857)
WEAK = Point("noise σ 0.01", 50, 0.9700, 0.860)
STRONG = Point("noise σ 0.02", 50, 0.9678, 0.748)
BASELINES = [WEAK, STRONG, AVERAGE, GAUSSIAN]

FRACTIONS = st.floats(0, 1)
POINTS = st.lists(st.builds(Point, st.just("b"), st.just(5), FRACTIONS, FRACTIONS), max_size=6)


def verdict(accuracy: float, similarity: float, baselines: list[Point] | None = None) -> str:
    generated = Point("p-diff", 50, accuracy, similarity)
    return sentence(generated, ORIGINAL, BASELINES if baselines is None else baselines, "10,000 test samples")


def test_the_facts_come_first() -> None:
    assert verdict(0.9710, 0.91).startswith(
        "50 generated models: 97.10% mean accuracy on 10,000 test samples (300 originals: 97.13%), "
        "max-similarity 0.910. "
    )


def test_one_model_is_not_several() -> None:
    text = sentence(
        Point("p-diff", 1, 0.5, 0.5), Point("original", 1200, 0.5, 0.5), [], "100 validation samples"
    )
    assert text.startswith(
        "1 generated model: 50.00% mean accuracy on 100 validation samples (1,200 originals: "
    )


def test_a_baseline_that_is_as_good_and_as_new_covers() -> None:
    assert verdict(0.9710, 0.91).endswith(
        "At this or a lower max-similarity the Gaussian ×1 is at least as accurate (97.15% at 0.857): "
        "not above the baselines."
    )


def test_the_most_accurate_of_several_is_named() -> None:
    assert "the average of 16 is at least as accurate (97.26% at 0.914), and so are 2 others:" in verdict(
        0.9695, 0.95
    )
    assert "the Gaussian ×1 is at least as accurate (97.15% at 0.857), and so is 1 other:" in verdict(
        0.9695, 0.87
    )


def test_equal_counts_as_covered() -> None:
    assert "not above the baselines" in verdict(GAUSSIAN.accuracy, GAUSSIAN.similarity)


def test_a_mixture_of_baselines_can_do_what_no_single_one_does() -> None:
    text = verdict(0.9716, 0.90)
    assert text.endswith(
        "At this max-similarity a mixture of Gaussian ×1 (97.15% at 0.857) and average of 16 "
        "(97.26% at 0.914) has 97.23%: not above the baselines."
    )


def test_above_says_by_how_much_and_under_which_reserve() -> None:
    text = verdict(0.9750, 0.80)
    assert "No baseline is as accurate at this or a lower max-similarity" in text
    accuracy = 0.9678 + (0.80 - 0.748) / (0.857 - 0.748) * (0.9715 - 0.9678)
    assert (
        f"{100 * accuracy:.2f}% at this one: {100 * (0.9750 - accuracy):.2f} points above these baselines"
        in text
    )
    assert text.endswith("in this plane and without an interval.")


@pytest.mark.parametrize(
    ("similarity", "words"),
    [
        (0.5, "No baseline has a max-similarity as low (the nearest is the noise σ 0.02, 96.78% at 0.748)"),
        (
            0.97,
            "No baseline has a max-similarity as high (the nearest is the average of 16, 97.26% at 0.914)",
        ),
    ],
)
def test_nothing_is_claimed_beyond_the_baselines(similarity: float, words: str) -> None:
    text = verdict(0.99, similarity)
    assert words in text
    assert text.endswith("so these numbers do not say whether the generated models are above the baselines.")


def test_without_baselines_nothing_is_claimed() -> None:
    assert verdict(0.99, 0.5, []).endswith(
        "No baselines were evaluated, so nothing is said about how hard this is."
    )


@given(POINTS, FRACTIONS, FRACTIONS)
def test_points_above_are_claimed_only_between_baselines_and_over_all_of_them(
    baselines: list[Point], accuracy: float, similarity: float
) -> None:
    generated = Point("p-diff", 50, accuracy, similarity)
    text = sentence(generated, ORIGINAL, baselines, "10 test samples")
    if "points above" in text:
        assert any(b.similarity <= similarity for b in baselines)
        assert any(b.similarity >= similarity for b in baselines)
        assert not any(b.similarity <= similarity and b.accuracy >= accuracy for b in baselines)
    covered = [b for b in baselines if b.similarity <= similarity and b.accuracy >= accuracy]
    assert sorted(map(str, covering(generated, baselines))) == sorted(map(str, covered))
    assert ("is at least as accurate" in text) == bool(covered)


@given(POINTS, FRACTIONS)
def test_the_bound_is_the_highest_chord(baselines: list[Point], similarity: float) -> None:
    bound = mixture_bound(similarity, baselines)
    sides = [b.similarity for b in baselines]
    if not baselines or not min(sides) <= similarity <= max(sides):
        assert bound is None
        return
    assert bound is not None
    accuracy, low, high = bound
    assert low.similarity <= similarity <= high.similarity
    assert min(low.accuracy, high.accuracy) - 1e-9 <= accuracy <= max(low.accuracy, high.accuracy) + 1e-9
    assert all(accuracy >= b.accuracy for b in baselines if b.similarity == similarity)
