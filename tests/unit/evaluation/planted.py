"""Results of planted cases, made up: good and new models, copies, ruined ones, averages, a bank of copies."""

from typing import Any

from msgspec.structs import replace

from pdiff.evaluation.schema import (
    Advice,
    Difference,
    FamilyEntry,
    Finding,
    PlaneEntry,
    Position,
    Results,
    Spread,
)
from pdiff.evaluation.verdict.advice import advice
from pdiff.evaluation.verdict.support import supported
from tests.unit.report.sample import lean_results as sample


def family(name: str, mean: float, similarity: float, std: float = 0.002, **more: Any) -> FamilyEntry:
    values: dict[str, Any] = {"strength": None, "n": 50, "gg": 0.8, "dispersion": 1.0, "containment": 0.9}
    score = Spread(max=mean + std, mean=mean, min=mean - std, std=std)
    return FamilyEntry(
        family=name, access="weights", score=score, max_similarity=similarity, **(values | more)
    )


def plane(position: Position, margin: float, half: float = 0.001) -> PlaneEntry:
    return PlaneEntry(
        at=0.8,
        score=0.96,
        front=0.96 - margin,
        margin=margin,
        interval=(margin - half, margin + half),
        position=position,
        reached_by="noise σ 0.1",
    )


def case(
    *,
    generated: float = 0.96,
    similarity: float = 0.8,
    position: Position = "on",
    finding: Finding | None = None,
    of_16: float = 0.96,
    half: float = 0.001,
    margin: float = 0.0,
    **changes: Any,
) -> Results:
    """Results whose originals have 96.0 ± 0.2 %; the bank has 200 members at a path with a space."""
    plain = sample()
    difference = Difference(
        difference=generated - 0.96, interval=(generated - 0.96 - half, generated - 0.96 + half)
    )
    verdict = replace(
        plain.verdict,
        position=position,
        advice=Advice(),
        over_originals=difference,
        at_max_similarity=plane(position, margin),
        at_gg=None,
        findings=[finding] if finding else [],
    )
    values: dict[str, Any] = {
        "original": family("original", 0.96, 0.85),
        "generated": family("generated", generated, similarity),
        "ensemble": family("ensemble", 0.96, 0.9, n=1, gg=None, dispersion=None),
        "baselines": [family("average", of_16, 0.85, strength=16.0), family("noise", 0.9, 0.6, strength=0.1)],
        "verdict": verdict,
        "bank": replace(plain.bank, path="/data/my bank", members=200),
    }
    return replace(plain, **(values | changes))


COPIES = Finding(kind="copies", sentence="Copies: they lie nearer to the training members.")
AVERAGES = Finding(kind="averages", sentence="Averages: the models spread 0.30 times as far.")
DAMAGED = Finding(kind="damaged", sentence="Damaged members: four times as many errors.")
CONCENTRATED = Finding(kind="concentrated", sentence="Concentrated: GG above OO.")


def answered(results: Results, more_errors: float = 1.0) -> Results:
    """Return results with the advice that they lead to."""
    results = supported(results)
    return replace(results, verdict=replace(results.verdict, advice=advice(results, more_errors)))


def planted() -> dict[str, Results]:
    """Return the five cases by name, with their advice."""
    return {
        "good": answered(case(position="above", margin=0.004)),
        "copies": answered(case(similarity=1.0, finding=COPIES)),
        "ruined": answered(case(generated=0.85, similarity=0.27, finding=DAMAGED, half=0.02), 4.0),
        "averages": answered(case(finding=AVERAGES, of_16=0.975, position="below", margin=-0.003)),
        "degenerate": answered(case(original=family("original", 0.96, 1.0, std=0.0, gg=1.0))),
    }
