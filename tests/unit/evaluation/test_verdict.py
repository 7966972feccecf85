"""The verdict: what it says for every position among the baselines, and what it never says."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pdiff.evaluation.verdict import Point, best_rival, covering, lead, sentences

N = 10_000


def point(name: str, accuracy: float, similarity: float, models: int = 50, samples: int = N) -> Point:
    """A family whose models all fail on the same samples, the last ones."""
    rates = (torch.arange(samples) < round(accuracy * samples)).double()
    return Point(name, models, similarity, rates)


ORIGINAL = point("original", 0.9713, 0.95, models=300)
AVERAGE = point("average of 16", 0.9726, 0.914)
GAUSSIAN = point("Gaussian ×1", 0.9715, 0.857)
WEAK = point("noise σ 0.01", 0.9700, 0.860)
STRONG = point("noise σ 0.02", 0.9678, 0.748)
BASELINES = [WEAK, STRONG, AVERAGE, GAUSSIAN]

FRACTIONS = st.floats(0, 1)
POINTS = st.lists(st.builds(point, st.just("b"), FRACTIONS, FRACTIONS, st.just(5), st.just(20)), max_size=6)


def verdict(accuracy: float, similarity: float, baselines: list[Point] | None = None) -> str:
    generated = point("p-diff", accuracy, similarity)
    return sentences(
        generated, ORIGINAL, BASELINES if baselines is None else baselines, "10,000 test samples"
    )


def test_the_facts_come_first() -> None:
    assert verdict(0.9710, 0.91).startswith(
        "50 generated models: 97.10% mean accuracy on 10,000 test samples (300 originals: 97.13%), "
        "max-similarity 0.910. "
    )


def test_one_model_is_not_several() -> None:
    generated, original = point("p-diff", 0.5, 0.5, models=1), point("original", 0.5, 0.5, models=1200)
    text = sentences(generated, original, [], "100 validation samples")
    assert text.startswith(
        "1 generated model: 50.00% mean accuracy on 100 validation samples (1,200 originals: 50.00%)"
    )


def test_a_baseline_that_is_as_good_and_as_new_covers() -> None:
    assert verdict(0.9710, 0.91).endswith(
        "At this or a lower max-similarity the Gaussian ×1 is at least as accurate (97.15% at 0.857): "
        "not above the baselines."
    )


def test_the_most_accurate_of_several_is_named() -> None:
    three, two = verdict(0.9695, 0.95), verdict(0.9695, 0.87)
    assert "the average of 16 is at least as accurate (97.26% at 0.914), and so are 2 others:" in three
    assert "the Gaussian ×1 is at least as accurate (97.15% at 0.857), and so is 1 other:" in two


def test_equal_counts_as_covered() -> None:
    assert "is at least as accurate (97.15% at 0.857): not above" in verdict(0.9715, 0.857)


def test_a_mixture_of_baselines_can_do_what_no_single_one_does() -> None:
    assert verdict(0.9716, 0.90).endswith(
        "At this or a lower max-similarity the baselines reach 97.23% at 0.900 "
        "(mixture of Gaussian ×1 and average of 16): not above the baselines."
    )


def test_above_says_by_how_much_and_under_which_reserve() -> None:
    share = (0.80 - 0.748) / (0.857 - 0.748)
    rival = 0.9678 + share * (0.9715 - 0.9678)
    text = verdict(0.9760, 0.80)
    assert (
        f"the baselines reach {100 * rival:.2f}% at 0.800 (mixture of noise σ 0.02 and Gaussian ×1): " in text
    )
    assert f": {100 * (0.9760 - rival):.2f} ± 0.1" in text
    assert text.endswith(
        "points above these baselines, in this plane and with the error of the samples alone."
    )


def test_a_lead_within_the_error_is_no_lead() -> None:
    """The same 24 more right answers: once on top of the rival's, once against 250 others that are wrong."""
    baselines = [AVERAGE, point("noise σ 0.001", 0.9713, 0.99)]
    on_top = point("p-diff", 0.9750, 0.92)
    swapped = Point("p-diff", 50, 0.92, (torch.arange(N) >= 250).double())
    texts = {}
    for name, generated, disagreements in (("on top", on_top, 24), ("swapped", swapped, 524)):
        gain, error = lead(generated, AVERAGE)
        assert gain == pytest.approx(0.0024)
        assert error == pytest.approx((disagreements / N - 0.0024**2) ** 0.5 / N**0.5)
        texts[name] = sentences(generated, ORIGINAL, baselines, "10,000 test samples")
    assert "(average of 16): 0.24 ± 0.10 points above these baselines" in texts["on top"]
    assert texts["swapped"].endswith(
        "(average of 16); 0.24 ± 0.46 points are too little to tell apart: not above the baselines."
    )


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
def test_above_is_claimed_only_between_baselines_and_over_all_of_them(
    baselines: list[Point], accuracy: float, similarity: float
) -> None:
    generated = point("p-diff", accuracy, similarity, samples=20)
    text = sentences(generated, ORIGINAL, baselines, "20 test samples")
    covered = [b for b in baselines if b.similarity <= similarity and b.accuracy >= generated.accuracy]
    assert sorted(map(str, covering(generated, baselines))) == sorted(map(str, covered))
    assert ("is at least as accurate" in text) == bool(covered)
    if "points above" in text:
        assert any(b.similarity <= similarity for b in baselines)
        assert any(b.similarity >= similarity for b in baselines)
        assert not covered


@given(POINTS, FRACTIONS)
def test_the_rival_is_the_best_that_baselines_and_mixtures_do(
    baselines: list[Point], similarity: float
) -> None:
    rival = best_rival(similarity, baselines)
    sides = [b.similarity for b in baselines]
    if not baselines or not min(sides) <= similarity <= max(sides):
        assert rival is None
        return
    assert rival is not None
    assert rival.similarity <= similarity
    assert rival.accuracy >= max(b.accuracy for b in baselines if b.similarity <= similarity)
    assert rival.accuracy <= max(b.accuracy for b in baselines) + 1e-12
