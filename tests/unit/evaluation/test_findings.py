"""What is found conspicuous, and what is not."""

from typing import Any

import pytest

from pdiff.evaluation.findings import findings


def results(above_oo: tuple[float, float] | None = (-0.01, 0.02), **novelty: Any) -> dict[str, Any]:
    """Results of a plain generator, but for what is given."""
    plain = {
        "max_similarity": {"mean": 0.80, "min": 0.7, "max": 0.9},
        "original_max_similarity": 0.95,
        "containment": 0.85,
        "original_containment": 0.97,
        "oo": 0.70,
        "gg": 0.71,
        "og": 0.70,
        "dispersion": 0.95,
        "l2_nearest": {"mean": 4.0, "min": 3.0},
        "l2_nearest_original": {"mean": 3.0, "min": 2.0},
        "z_u": {"value": 0.3, "generated": 50, "held_out": 30},
    }
    return {
        "task": {"metric": {"name": "accuracy", "higher_is_better": True, "percent": True}},
        "generated": {"mean": 0.97},
        "controls": [],
        "novelty": plain | novelty,
        "verdict": {"concentration": above_oo and {"difference": sum(above_oo) / 2, "interval": above_oo}},
    }


def sentences(found: dict[str, Any], more_errors: float = 1.0) -> dict[str, str]:
    return {each["kind"]: each["sentence"] for each in findings(found, more_errors)}


def test_a_plain_generator_gives_rise_to_nothing() -> None:
    assert sentences(results()) == {}


def test_copies_by_rank() -> None:
    found = sentences(results(z_u={"value": -7.25, "generated": 50, "held_out": 30}))
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
        results(
            z_u={"value": None, "reason": "the run held no members out"},
            max_similarity={"mean": similarity, "min": 0, "max": 1},
            l2_nearest={"mean": distance, "min": 0.0},
        )
    )
    assert ("copies" in found) == conspicuous
    if conspicuous:
        assert f"max-similarity {similarity:.3f} is no lower than the members' own 0.950" in found["copies"]


def test_averages() -> None:
    assert list(sentences(results(dispersion=0.43))) == ["averages"]
    assert "spread 0.43 times as far" in sentences(results(dispersion=0.43))["averages"]
    assert sentences(results(dispersion=None)) == {}


def test_damage_needs_more_errors_and_the_members_own_kept() -> None:
    low = {"mean": 0.33, "min": 0.2, "max": 0.4}
    damaged = results(max_similarity=low, containment=0.73, gg=0.3)
    assert sentences(damaged, 1.9)["damaged"] == (
        "Damaged members: max-similarity 0.330 is low because of 1.9 times as many errors, while 73 % of the "
        "nearest member's errors are kept (containment)."
    )
    assert "damaged" not in sentences(damaged, 1.0)
    assert sentences(results(max_similarity=low, containment=0.47, gg=0.3), 1.9) == {}


def test_concentration_and_a_cloud_that_has_moved() -> None:
    near = sentences(results((0.07, 0.1), gg=0.785))["concentrated"]
    assert near == (
        "Concentrated: generated models are more alike (GG 0.785) than members are (OO 0.700), by 0.085 "
        "(0.070 to 0.100)."
    )
    assert sentences(results((0.002, 0.08), gg=0.741)) == {}, "it may be as good as nothing"
    moved = sentences(results(gg=0.68, og=0.22))["concentrated"]
    assert moved == (
        "Concentrated: generated models are alike (GG 0.680; members OO 0.700), but not like members "
        "(OG 0.220): the cloud has moved away as a whole."
    )
    assert sentences(results(gg=0.28, og=0.23)) == {}, "new models, each for itself"
    assert sentences(results(None, gg=None)) == {}


@pytest.mark.parametrize(
    ("better", "score", "found"), [(True, 0.98, True), (True, 0.96, False), (False, 0.96, True)]
)
def test_a_control_that_does_as_well(better: bool, score: float, found: bool) -> None:
    given = results()
    given["task"]["metric"]["higher_is_better"] = better
    given["controls"] = [{"name": "one-checkpoint", "score": {"mean": score}, "max_similarity": 0.5}]
    assert ("control" in sentences(given)) == found
    given["controls"][0]["max_similarity"] = 0.9
    assert sentences(given) == {}
