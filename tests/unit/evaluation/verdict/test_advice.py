"""What a practitioner is told of five planted cases: first what matters, in words that are right."""

import shlex

import pytest
from msgspec.structs import replace

from pdiff.evaluation.schema import Scale
from pdiff.evaluation.verdict.advice import advice, judgement
from pdiff.evaluation.verdict.support import supported
from tests.unit.evaluation.planted import AVERAGES, CONCENTRATED, COPIES, DAMAGED, answered, case, family
from tests.unit.report.sample import RMSE
from tests.unit.report.sample import lean_results as sample


def test_good_and_new() -> None:
    found = advice(case(position="above", margin=0.004), more_errors=1.0)
    assert found.quality == "as good"
    assert found.sentences == [
        "The generated models are as accurate as your checkpoints (96.00% and 96.00% on average; "
        "+0.00 points, −0.10 to +0.10), and new.",
        "Their errors overlap with those of the nearest checkpoint by 0.800 (1: the same errors); a "
        "checkpoint's own do so by 0.850.",
        "Nothing simpler does as well: noise σ 0.1, at this overlap with the nearest checkpoint or less, "
        "is worse by 0.40 points (0.30 to 0.50).",
        "Use the generated models.",
    ]
    assert found.command == ""


@pytest.mark.parametrize(
    ("generated", "headline"), [(0.97, "more accurate than"), (0.95, "less accurate than")]
)
def test_better_and_worse(generated: float, headline: str) -> None:
    assert (
        f"The generated models are {headline} your checkpoints"
        in advice(case(generated=generated), 1.2).headline
    )


def test_other_metrics_are_better_or_worse() -> None:
    results = case(generated=0.95)
    rmse = replace(results.task, metric=RMSE)
    assert "are worse than your checkpoints" in advice(replace(results, task=rmse), 1.2).headline


def test_copies() -> None:
    found = advice(case(similarity=1.0, finding=COPIES), 1.0)
    assert found.headline.endswith("but copies of them.")
    assert found.novelty == COPIES.sentence
    assert found.next == "Use your checkpoints."


@pytest.mark.parametrize(("similarity", "new"), [(0.87, False), (0.855, True), (0.8, True)])
def test_models_closer_to_checkpoints_than_those_to_each_other_are_not_new(
    similarity: float, new: bool
) -> None:
    """Whether they are more alike than checkpoints comes after that."""
    found = advice(case(similarity=similarity, finding=CONCENTRATED), 1.0)
    closer = "but closer to them than they are to each other."
    assert found.headline.endswith("and new, but more alike than those are." if new else closer)
    assert new or found.novelty.startswith(
        "Their errors overlap with those of the nearest checkpoint by 0.87"
    )


def test_ruined_models_are_called_ruined_with_the_finding_that_says_why() -> None:
    results = case(generated=0.85, similarity=0.27, finding=DAMAGED, half=0.02)
    found = advice(results, more_errors=4.0)
    assert found.quality == "ruined"
    assert found.sentences[:3] == [
        "The generated models are ruined: 85.00% on average, your checkpoints 96.00% (−11.00 points, "
        "−13.00 to −9.00).",
        DAMAGED.sentence,
        "Something simpler does better: any of your checkpoints (96.00%).",
    ]
    assert found.next.startswith("Use your checkpoints")
    runs = [replace(results.runs[0], preset="paper, train.steps=10")]
    again = advice(replace(results, runs=runs), more_errors=4.0)
    assert again.command == "pdiff train '/data/my bank' --preset default --out run-default"


@pytest.mark.parametrize(("generated", "more_errors"), [(0.957, 3.1), (0.9, 2.0)])
def test_a_small_loss_is_no_ruin(generated: float, more_errors: float) -> None:
    found = case(generated=generated, original=family("original", 0.96, 0.85, std=0.005))
    assert advice(found, more_errors).quality == "worse"


def test_chance_is_ruin_however_many_errors_the_originals_make() -> None:
    found = case(generated=0.1, original=family("original", 0.4, 0.85))
    assert advice(found, more_errors=1.5).quality == "ruined"


def test_averages_and_the_command_that_writes_a_better_one() -> None:
    found = advice(case(finding=AVERAGES, of_16=0.975, position="below", margin=-0.003), 1.0)
    assert found.headline.endswith("but little more than averages of them.")
    assert found.simpler == (
        "Something simpler does better: noise σ 0.1, at this overlap with the nearest checkpoint or less, "
        "is better by 0.30 points (0.20 to 0.40). An average of 16 of your checkpoints is better than the "
        "mean checkpoint (97.50%)."
    )
    assert found.next == "Use an average of 16 of your checkpoints (97.50%):"
    assert shlex.split(found.command) == [
        *("pdiff", "generate", "/data/my bank", "--generator", "average"),
        *("--set", "members=16", "--n", "1", "--out", "averaged"),
    ]
    everyone = advice(case(ensemble=family("ensemble", 0.98, 0.9, n=1)), 1.0)
    assert everyone.command == "pdiff average '/data/my bank' --reestimate 0 --out average"
    results = case(ensemble=family("ensemble", 0.98, 0.9, n=1))
    results = replace(results, data_access=replace(results.data_access, reestimated=True))
    assert advice(results, 1.0).command == "pdiff average '/data/my bank' --out average"


def test_a_bank_of_copies_supports_no_verdict() -> None:
    same = family("original", 0.96, 1.0, std=0.0, gg=1.0)
    found = advice(case(original=same), 1.0)
    assert found.sentences[0] == (
        "This bank supports no verdict: its checkpoints are all alike: 96.00% with a standard deviation of "
        "0.00, and each makes the others' errors (overlap 1.000)."
    )
    assert found.next.startswith("Collect more checkpoints that differ")
    assert found.sentences == [found.unsupported, found.next]
    few = case()
    few = replace(few, bank=replace(few.bank, members=4))
    assert "it has 4 checkpoints, and 10 or more are wanted" in advice(few, 1.0).sentences[0]
    assert advice(few, 1.0).next == "Collect more checkpoints."


def test_a_bank_without_a_verdict_has_neither_position_nor_planes_nor_fronts() -> None:
    alike = supported(case(original=family("original", 0.96, 1.0, std=0.0, gg=1.0)))
    verdict = alike.verdict
    assert (verdict.position, verdict.sentence) == (None, "")
    assert (verdict.at_max_similarity, verdict.at_gg) == (None, None)
    assert (alike.fronts.max_similarity, alike.fronts.gg) == ([], [])
    assert verdict.over_originals == case().verdict.over_originals, "which no front is needed for"
    assert supported(case()) == case()


def test_an_interval_wider_than_what_matters_supports_no_verdict() -> None:
    found = advice(case(half=0.03), 1.0)
    assert found.sentences[0].endswith("is only known to +0.00 points, −3.00 to +3.00.")
    assert found.next == "Evaluate more generated models, on more samples where there are some."
    score = Scale(name="score", higher_is_better=True, percent=False)
    unbounded = case(half=0.03)
    assert advice(replace(unbounded, task=replace(unbounded.task, metric=score)), 1.0).unsupported == ""


def test_the_best_file_is_named() -> None:
    results = sample()
    best = results.generated.best
    assert best is not None
    found = advice(case(generated=0.96, position="above", margin=0.004), 1.0)
    named = case(position="above", margin=0.004)
    named = replace(named, generated=replace(named.generated, best=best))
    assert best.file not in found.next
    assert advice(named, 1.0).next.startswith(
        f"Use the generated models; the best on validation is {best.file} ("
    )


def test_the_card_says_what_was_found() -> None:
    assert "but copies of them." in judgement(answered(case(finding=COPIES))).sentence
