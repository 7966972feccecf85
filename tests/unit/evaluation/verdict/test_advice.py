"""What a practitioner is told: an average where one is clearly better, with a command that can be pasted."""

from typing import Any

import pytest
from msgspec.structs import replace

from pdiff.evaluation.schema import FamilyEntry, Position, Results, Spread, Summary
from pdiff.evaluation.verdict.advice import advice
from tests.unit.report.sample import sample_results as sample


def summary(mean: float, std: float = 0.01) -> Summary:
    return Summary(n=9, best=None, max=mean, mean=mean, min=mean, std=std, selected=None)


def average(members: int, mean: float, similarity: float) -> FamilyEntry:
    return FamilyEntry(
        family="average",
        strength=float(members),
        league="weights",
        n=4,
        score=Spread(max=mean, mean=mean, min=mean, std=0),
        max_similarity=similarity,
        containment=1,
        gg=None,
        dispersion=None,
    )


def case(
    position: Position,
    *,
    original: float,
    generated: float,
    all_: float,
    of_16: float,
    similarity: float = 0.9,
) -> Results:
    """Results with these mean scores; the generated models are at max-similarity 0.8."""
    plain = sample()
    changes: dict[str, Any] = {
        "original": summary(original),
        "generated": summary(generated),
        "ensemble": replace(plain.ensemble, mean=all_, max_similarity=0.95),
        "baselines": [average(16, of_16, similarity)],
        "novelty": replace(plain.novelty, max_similarity=replace(plain.novelty.max_similarity, mean=0.8)),
        "verdict": replace(plain.verdict, position=position),
        "bank": replace(plain.bank, path="/data/my bank"),
    }
    return replace(plain, **changes)


def test_an_average_that_is_clearly_better_is_named_with_its_command() -> None:
    found = advice(case("on", original=0.96, generated=0.961, all_=0.97, of_16=0.975))
    assert found.sentence == (
        "An average of 16 of your checkpoints is more accurate (97.5 %) than the checkpoints "
        "(96.0 % on average) and the generated models (96.1 % on average at max-similarity 0.800)."
    )
    assert found.command == (
        "pdiff generate '/data/my bank' --generator average --set members=16 --n 1 --out averaged"
    )
    everyone = advice(case("below", original=0.96, generated=0.961, all_=0.98, of_16=0.975))
    assert everyone.sentence.startswith("An average of all of your checkpoints is more accurate (98.0 %)")
    assert everyone.command == "pdiff average '/data/my bank' --out average"


def test_an_average_that_is_as_new_is_said_to_be() -> None:
    found = advice(case("on", original=0.96, generated=0.961, all_=0.96, of_16=0.975, similarity=0.7))
    assert found.sentence.endswith(", and as different from the checkpoints as those are.")


def test_models_above_the_front_are_good_to_use() -> None:
    found = advice(case("above", original=0.96, generated=0.97, all_=0.96, of_16=0.96))
    assert found.sentence == (
        "The generated models are good to use: 97.0 % on average at max-similarity 0.800, above what "
        "averages, noise and Gaussians reach from the same checkpoints."
    )
    assert found.command == ""
    both = advice(case("above", original=0.96, generated=0.97, all_=0.98, of_16=0.96))
    assert both.sentence.endswith(
        "; as a single network an average of all of your checkpoints is more accurate (98.0 %)."
    )
    assert both.command


@pytest.mark.parametrize(
    ("position", "generated", "start"),
    [
        ("on", 0.961, "The generated models are good to use (96.1 %"),
        ("on", 0.95, "Use your checkpoints (96.0 % on average)"),
        ("below", 0.961, "Use your checkpoints (96.0 % on average)"),
    ],
)
def test_without_a_clearly_better_average(position: Position, generated: float, start: str) -> None:
    found = advice(case(position, original=0.96, generated=generated, all_=0.963, of_16=0.962))
    assert found.sentence.startswith(start)
    assert found.command == ""
