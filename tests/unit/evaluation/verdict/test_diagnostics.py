"""What is found conspicuous, and what is not."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from msgspec.structs import replace

from pdiff.evaluation.schema import ZU, Delivered, Difference, FamilyEntry, Nearest, Scale, Spread
from pdiff.evaluation.verdict.diagnostics import findings, warnings
from pdiff.generation.models import Models

ABOVE = (-0.01, 0.02)


def family(name: str, **measures: Any) -> FamilyEntry:
    """A family of three models."""
    plain: dict[str, Any] = {
        "score": Spread(max=0.97, mean=0.97, min=0.97, std=0),
        "max_similarity": 0.95,
        "containment": 0.97,
        "gg": 0.70,
        "dispersion": 1.0,
    }
    return FamilyEntry(family=name, strength=None, access="weights", n=3, **plain | measures)


def sentences(
    more_errors: float = 1.0,
    *,
    above_oo: tuple[float, float] | None = ABOVE,
    controls: tuple[FamilyEntry, ...] = (),
    better: bool = True,
    delivered: Delivered | None = None,
    temperature: float | None = None,
    **changes: Any,
) -> dict[str, str]:
    """What is found about a plain generator, but for the measures that are given."""
    ours = {"max_similarity": 0.80, "containment": 0.85, "gg": 0.71, "dispersion": 0.95}
    others: dict[str, Any] = {
        "og": 0.70,
        "l2_nearest": Nearest(mean=4.0, min=3.0),
        "l2_nearest_original": Nearest(mean=3.0, min=2.0),
        "cosine": 0.98,
        "z_u": ZU(value=0.3, generated=50, held_out=30),
    }
    above = above_oo and Difference(difference=sum(above_oo) / 2, interval=above_oo)
    results: Any = SimpleNamespace(
        novelty=SimpleNamespace(**{name: changes.get(name, value) for name, value in others.items()}),
        verdict=SimpleNamespace(concentration=above),
        controls=controls,
        delivered=delivered,
        runs=[SimpleNamespace(temperature=temperature)],
        task=SimpleNamespace(metric=Scale(name="accuracy", higher_is_better=better, percent=True)),
        original=family("original"),
        generated=family("generated", **{name: changes.get(name, value) for name, value in ours.items()}),
    )
    return {each.kind: each.sentence for each in findings(results, more_errors)}


def test_a_plain_generator_gives_rise_to_nothing() -> None:
    assert sentences() == {}


def test_copies_by_rank() -> None:
    found = sentences(z_u=ZU(value=-7.25, generated=50, held_out=30))
    assert found == {
        "copies": "Copies: generated models lie nearer to the training members than held-out members do "
        "(Z_U -7.2, dispersion 0.95)."
    }


@pytest.mark.parametrize(
    ("similarity", "distance", "conspicuous"),
    [(0.97, 0.1, True), (0.97, 2.9, False), (0.90, 0.1, False), (0.95, 1.4, True)],
)
def test_copies_without_held_out_members(similarity: float, distance: float, conspicuous: bool) -> None:
    found = sentences(
        z_u=ZU(value=None, reason="no member is known to be held out"),
        max_similarity=similarity,
        l2_nearest=Nearest(mean=distance, min=0.0),
    )
    assert ("copies" in found) == conspicuous
    if conspicuous:
        assert f"max-similarity {similarity:.3f} is no lower than the members' own 0.950" in found["copies"]


def test_averages() -> None:
    assert list(sentences(dispersion=0.43)) == ["averages"]
    assert "spread 0.43 times as far" in sentences(dispersion=0.43)["averages"]
    assert sentences(dispersion=None) == {}
    assert "temperature" not in sentences(dispersion=0.43, temperature=1.0)["averages"]
    cold = sentences(dispersion=0.43, temperature=0.5)["averages"]
    assert cold.endswith("The temperature 0.5, below 1, draws them together.")


def test_what_was_asked_for_is_said_beside_what_came() -> None:
    slope = Delivered(
        condition="accuracy",
        n=9,
        asked=(0.95, 0.97),
        mean_asked=0.96,
        mean=0.9615,
        slope=0.25,
        interval=(0.1, 0.4),
    )
    assert sentences(delivered=slope) == {
        "delivered": "Asked for accuracy 95.00% to 97.00%, models have 96.15% on average; it follows what "
        "was asked for with slope 0.25 (0.10 to 0.40), where 1 is full control."
    }
    same = replace(slope, asked=(0.95, 0.95), slope=None, interval=None)
    assert sentences(delivered=same) == {
        "delivered": "Asked for accuracy 95.00%, models have 96.15% on average."
    }


def test_another_network_is_not_taken_for_a_damaged_member() -> None:
    found = sentences(1.6, cosine=0.04, containment=0.74)
    assert list(found) == ["another"]
    assert "(cosine 0.04)" in found["another"]


def test_damage_needs_more_errors_and_the_members_own_kept() -> None:
    damaged = {"max_similarity": 0.33, "containment": 0.73, "gg": 0.3}
    assert sentences(1.9, **damaged)["damaged"] == (
        "Damaged members: max-similarity 0.330 is low because of 1.9 times as many errors, while 73 % of the "
        "nearest member's errors are repeated (containment)."
    )
    assert "damaged" not in sentences(1.0, **damaged)
    assert sentences(1.9, **damaged | {"containment": 0.47}) == {}


def test_concentration_and_a_cloud_that_has_moved() -> None:
    near = sentences(gg=0.785, above_oo=(0.07, 0.1))["concentrated"]
    assert near == (
        "Concentrated: generated models are more alike (GG 0.785) than members are (OO 0.700), by 0.085 "
        "(0.070 to 0.100)."
    )
    assert sentences(gg=0.741, above_oo=(0.002, 0.08)) == {}, "it may be nothing"
    moved = sentences(gg=0.68, og=0.22)["concentrated"]
    assert moved == (
        "Concentrated: generated models are alike (GG 0.680; members OO 0.700), but not like members "
        "(OG 0.220): the cloud has moved away as a whole."
    )
    assert sentences(gg=0.28, og=0.23) == {}, "new models, each for itself"
    assert sentences(gg=None, above_oo=None) == {}


@pytest.mark.parametrize(
    ("better", "score", "found"), [(True, 0.98, True), (True, 0.96, False), (False, 0.96, True)]
)
def test_a_control_that_does_as_well(better: bool, score: float, found: bool) -> None:
    def control(similarity: float) -> FamilyEntry:
        spread = Spread(max=score, mean=score, min=score, std=0)
        return family("one-checkpoint", score=spread, max_similarity=similarity)

    assert ("control" in sentences(controls=(control(0.5),), better=better)) == found
    assert sentences(controls=(control(0.9),), better=better) == {}


@pytest.mark.parametrize("hybrids", [False, True])
def test_originals_in_the_network_of_a_given_base_are_said_to_be_hybrids(hybrids: bool) -> None:
    runs = [Models(Path(str(seed)), 50, torch.empty, None, []) for seed in range(5)]
    found = warnings(runs, "test", 30, hybrids=hybrids)
    assert len(found) == hybrids
    assert all("they are hybrids, whose scores are not those of the files" in line for line in found)
