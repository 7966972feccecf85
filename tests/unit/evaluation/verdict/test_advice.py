"""What a practitioner is told: an average where one is clearly better, with a command that can be pasted."""

from typing import Any

import pytest
from msgspec.structs import replace

from pdiff.evaluation.schema import FamilyEntry, Position, Results, Spread
from pdiff.evaluation.verdict.advice import advice
from tests.unit.report.sample import sample_results as sample


def family(name: str, mean: float, similarity: float, members: int | None = None) -> FamilyEntry:
    return FamilyEntry(
        family=name,
        strength=members,
        access="weights",
        n=9,
        score=Spread(max=mean, mean=mean, min=mean, std=0.01),
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
        "original": family("original", original, 0.95),
        "generated": family("generated", generated, 0.8),
        "ensemble": family("ensemble", all_, 0.95),
        "baselines": [family("average", of_16, similarity, 16)],
        "verdict": replace(plain.verdict, position=position),
        "bank": replace(plain.bank, path="/data/my bank"),
    }
    return replace(plain, **changes)


def test_an_average_that_is_clearly_better_is_named_with_its_command() -> None:
    found = advice(case("on", original=0.96, generated=0.961, all_=0.97, of_16=0.975))
    assert found.sentence == (
        "An average of 16 of your checkpoints is more accurate (97.50%) than the checkpoints "
        "(96.00% on average) and the generated models (96.10% on average at max-similarity 0.800)."
    )
    assert found.command == (
        "pdiff generate '/data/my bank' --generator average --set members=16 --n 1 --out averaged"
    )
    everyone = advice(case("below", original=0.96, generated=0.961, all_=0.98, of_16=0.975))
    assert everyone.sentence.startswith("An average of all of your checkpoints is more accurate (98.00%)")
    assert everyone.command == "pdiff average '/data/my bank' --out average"


def test_an_average_that_is_as_new_is_said_to_be() -> None:
    found = advice(case("on", original=0.96, generated=0.961, all_=0.96, of_16=0.975, similarity=0.7))
    assert found.sentence.endswith(", and as different from the checkpoints as those are.")


def test_models_above_the_front_are_good_to_use() -> None:
    found = advice(case("above", original=0.96, generated=0.97, all_=0.96, of_16=0.96))
    assert found.sentence == (
        "The generated models are good to use: 97.00% on average at max-similarity 0.800, above what "
        "averages, noise and Gaussians reach from the same checkpoints."
    )
    assert found.command == ""
    both = advice(case("above", original=0.96, generated=0.97, all_=0.98, of_16=0.96))
    assert both.sentence.endswith(
        "; as a single network an average of all of your checkpoints is more accurate (98.00%)."
    )
    assert both.command


@pytest.mark.parametrize(
    ("position", "generated", "start"),
    [
        ("on", 0.961, "The generated models are good to use (96.10%"),
        ("on", 0.95, "Use your checkpoints (96.00% on average)"),
        ("below", 0.961, "Use your checkpoints (96.00% on average)"),
    ],
)
def test_without_a_clearly_better_average(position: Position, generated: float, start: str) -> None:
    found = advice(case(position, original=0.96, generated=generated, all_=0.963, of_16=0.962))
    assert found.sentence.startswith(start)
    assert found.command == ""
