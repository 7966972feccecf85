"""What `evaluate` does with its options: several runs, controls, leagues, selection on validation, votes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from safetensors.torch import load_file, save_file

from pdiff import _core
from pdiff.bank import Bank
from pdiff.common.errors import InputError, UsageError
from pdiff.evaluation import evaluate
from pdiff.evaluation.baselines import average, gaussian
from pdiff.evaluation.ensembles import DRAWS, POOL, SIZES
from pdiff.evaluation.families import Population
from pdiff.evaluation.field import Field
from pdiff.evaluation.jury import Jury, _electors
from pdiff.evaluation.predict import Predictor
from pdiff.evaluation.seen import REESTIMATED, seen_by
from pdiff.generation import Generated
from pdiff.tasks.base import Metric
from tests.unit.evaluation.waves import MEMBERS, NORMS, SAMPLES, Residual, Waves, save_bank

Save = Callable[..., Generated]

QUICK: dict[str, Any] = {"arch": "residual", "baselines_n": 3, "replicates": 3}


def points(results: dict[str, Any], family: str) -> list[dict[str, Any]]:
    return [point for point in results["points"] if point["family"] == family]


@pytest.fixture
def runs(whole_bank: Bank, save_generated: Save) -> list[Generated]:
    """Two runs of four and three models, that held different members out."""
    return [
        save_generated(whole_bank, gaussian(whole_bank, range(4), seed=5), out="one", held_out=[1, 4]),
        save_generated(whole_bank, gaussian(whole_bank, range(3), seed=6), out="two", seed=8, held_out=[4]),
    ]


def test_runs_are_judged_together_and_alike_within_themselves(runs: list[Generated], task: Waves) -> None:
    results = evaluate(runs, task=task, **QUICK)
    alone = [evaluate(run, task=task, **QUICK) for run in runs]
    assert [(run["path"], run["seed"], run["n"]) for run in results["runs"]] == [
        (str(runs[0].path.resolve()), 7, 4),
        (str(runs[1].path.resolve()), 8, 3),
    ]
    for entry, single in zip(results["runs"], alone, strict=True):
        assert entry["mean"] == pytest.approx(single["generated"]["mean"], abs=1e-9)
        assert entry["gg"] == pytest.approx(single["novelty"]["gg"], abs=1e-9)
        assert entry["max_similarity"] == pytest.approx(single["novelty"]["max_similarity"]["mean"], abs=1e-9)
    means = [single["generated"]["mean"] for single in alone]
    ggs = [single["novelty"]["gg"] for single in alone]
    assert results["generated"]["n"] == 7
    assert results["generated"]["mean"] == pytest.approx((4 * means[0] + 3 * means[1]) / 7)
    assert results["novelty"]["gg"] == pytest.approx((4 * ggs[0] + 3 * ggs[1]) / 7)
    assert results["verdict"]["at_gg"]["at"] == pytest.approx(results["novelty"]["gg"], abs=1e-9)
    assert results["verdict"]["at_gg"]["score"] == pytest.approx(results["generated"]["mean"], abs=1e-9)
    assert [point["run"] for point in points(results, "generated")] == [0] * 4 + [1] * 3
    assert results["verdict"]["bootstrap"]["over"] == ["samples", "models", "runs"]
    assert [warning.split(":")[0] for warning in results["warnings"]] == [
        "2 training runs",
        "Only 3 generated models",
        "Only 3 models of each baseline",
    ]
    assert "One training run" in alone[0]["warnings"][0]


def test_held_out_members_are_those_that_no_run_has_seen(runs: list[Generated], task: Waves) -> None:
    results = evaluate(runs, task=task, **QUICK)
    assert results["bank"]["held_out"] == [4]
    z_u = results["novelty"]["z_u"]
    assert (z_u["generated"], z_u["held_out"]) == (7, 3), "each run beside its own"


def test_copies_of_training_members_have_a_low_rank(
    tmp_path: Path, network: Residual, task: Waves, save_generated: Save
) -> None:
    bank = save_bank(tmp_path / "larger", network, NORMS, members=24)
    copies = save_generated(bank, bank.batch(range(12)), held_out=range(12, 24))
    results = evaluate(copies, task=task, **QUICK)
    assert results["novelty"]["z_u"]["value"] < -3
    assert results["verdict"]["findings"][0]["kind"] == "copies"


def test_runs_of_several_banks_are_refused(
    norm_bank: Bank, whole_bank: Bank, task: Waves, save_generated: Save
) -> None:
    folders = [
        save_generated(norm_bank, norm_bank.batch([0, 1]), out="one"),
        save_generated(whole_bank, whole_bank.batch([0, 1]), out="two"),
    ]
    with pytest.raises(UsageError, match="two: of another bank than .*one; .*--control NAME=DIR"):
        evaluate(folders, task=task, **QUICK)
    with pytest.raises(UsageError, match="no generated checkpoints"):
        evaluate([], task=task, **QUICK)


def test_the_same_models_are_neither_another_run_nor_a_control(
    norm_bank: Bank, task: Waves, save_generated: Save
) -> None:
    one, copy, other = (
        save_generated(norm_bank, norm_bank.batch(members), out=out)
        for members, out in (([0, 1], "one"), ([0, 1], "copy"), ([2, 3], "other"))
    )
    for runs, controls in (
        ([one, copy], {}),
        ([one, one], {}),
        ([one], {"x": copy}),
        ([one, other, one], {}),
    ):
        with pytest.raises(UsageError, match="the same models as .*one; name each only once"):
            evaluate(runs, task=task, controls=controls, **QUICK)


def test_a_control_may_be_of_another_bank(
    tmp_path: Path, whole_bank: Bank, network: Residual, task: Waves, save_generated: Save
) -> None:
    names = [name for name, tensor in network.state_dict().items() if tensor.is_floating_point()]
    network.norm1.num_batches_tracked += 5  # another training counts its own batches
    other = save_bank(tmp_path / "other", network, names, members=4)
    assert other.digest != whole_bank.digest
    control = save_generated(other, other.batch([0, 1, 2]), out="control")
    ours = save_generated(whole_bank, gaussian(whole_bank, range(3), seed=5))
    results = evaluate(ours, task=task, controls={"one-checkpoint": control}, **QUICK)
    (entry,) = results["controls"]
    assert set(entry) == {"name", "n", "score", "max_similarity", "containment", "gg", "dispersion"}
    assert (entry["name"], entry["n"]) == ("one-checkpoint", 3)
    same = save_generated(whole_bank, other.batch([0, 1, 2]), out="same")
    assert entry["score"]["mean"] == evaluate(same, task=task, **QUICK)["generated"]["mean"]
    assert len(points(results, "one-checkpoint")) == 3
    with pytest.raises(UsageError, match="control 'noise': the name of another row"):
        evaluate(ours, task=task, controls={"noise": control}, **QUICK)


def test_a_control_of_another_network_is_named(
    tmp_path: Path, norm_bank: Bank, whole_bank: Bank, task: Waves, save_generated: Save
) -> None:
    ours = save_generated(norm_bank, norm_bank.batch([0, 1]))
    linear = save_bank(tmp_path / "linear", task.build("linear"), ["1.weight", "1.bias"])
    for bank, out, reason in (
        (
            linear,
            "lines",
            "conv1.bias is not the bank's; a control has the same network, and what",
        ),
        (whole_bank, "all", "conv1.bias is not the bank's; a control has"),
    ):
        control = save_generated(bank, bank.batch([0, 1]), out=out)
        where = control.path / control.info.files[0]
        with pytest.raises(InputError, match=f"^control 'scratch': {where}: {reason}"):
            evaluate(ours, task=task, controls={"scratch": control}, **QUICK)


def test_a_control_without_a_generated_tensor_is_named(
    norm_bank: Bank, task: Waves, save_generated: Save
) -> None:
    ours = save_generated(norm_bank, norm_bank.batch([0, 1]))
    control = save_generated(norm_bank, norm_bank.batch([2, 3]), out="control")
    path = control.path / control.info.files[0]
    state = load_file(path)
    del state["norm2.bias"]
    save_file(state, path)
    digests = control.info.digests | {path.name: _core.digest_file(path)}
    changed = Generated(control.path, msgspec.structs.replace(control.info, digests=digests))
    with pytest.raises(InputError, match=rf"^control 'x': {path}: tensor norm2.bias is missing; .*\(4,\)$"):
        evaluate(ours, task=task, controls={"x": changed}, **QUICK)


def test_the_best_model_is_chosen_on_validation(norm_bank: Bank, task: Waves, save_generated: Save) -> None:
    rows = gaussian(norm_bank, range(6), scale=3.0, seed=5)
    results = evaluate(save_generated(norm_bank, rows), task=task, **QUICK)
    by = {
        split: Predictor(norm_bank, task, "residual", split=split).correctness(rows).double().mean(dim=1)
        for split in ("validation", "test")
    }
    chosen = int(by["validation"].argmax())
    assert results["generated"]["selected"] == {
        "index": chosen,
        "validation": pytest.approx(float(by["validation"][chosen])),
        "test": pytest.approx(float(by["test"][chosen])),
    }
    assert results["generated"]["best"] == results["generated"]["selected"]["test"]
    assert results["generated"]["max"] == pytest.approx(float(by["test"].max()))
    there = evaluate(
        Generated.open(norm_bank.path.parents[1] / "generated"), task=task, split="validation", **QUICK
    )
    assert (there["generated"]["best"], there["generated"]["selected"]) == (None, None)
    assert "validation split" in there["warnings"][-1]


def test_what_the_generator_saw_decides_the_league(norm_bank: Bank, save_generated: Save) -> None:
    plain = [save_generated(norm_bank, norm_bank.batch([0]), out="plain")]
    tuned = [save_generated(norm_bank, norm_bank.batch([0]), out="tuned", gradient_evaluations=40)]
    entries = {
        "weights": (plain, None, 0, 0),
        "inputs": (plain, "inputs", 0, 0),
        "gradients": (tuned, None, 0, 0),
    }
    found = {name: seen_by(*arguments) for name, arguments in entries.items()}
    assert {name: each.league for name, each in found.items()} == {name: name for name in entries}
    assert (found["inputs"].inputs, found["gradients"].gradients) == (REESTIMATED, 40)
    for reestimated, name in ((True, "inputs"), (False, "weights")):
        assert found["inputs"].entry(reestimated) == {
            **{"name": name, "asked": "inputs", "gradient_evaluations": 0, "reestimated": reestimated}
        }
    assert found["gradients"].entry(False)["name"] == "gradients"
    assert seen_by(plain, None, 9, 0).league == "gradients"
    assert seen_by(plain, None, 0, 100).inputs == 100
    with pytest.raises(UsageError, match="--league weights: the generator took 40 gradients"):
        seen_by(tuned, "weights", 0, 0)
    with pytest.raises(UsageError, match="--gradients 39: the generator took 40"):
        seen_by(tuned, "gradients", 39, 0)
    for arguments, reason in (
        (("weights", 5, 0), "--gradients 5: only with --league gradients"),
        (("weights", 0, 5), "--reestimate 5: only with --league inputs"),
        (("gradients", 0, 0), r"\(--gradients G\)"),
    ):
        with pytest.raises(UsageError, match=reason):
            seen_by(plain, *arguments)


def test_rivals_take_part_in_the_league_of_gradients(
    norm_bank: Bank, task: Waves, save_generated: Save
) -> None:
    results = evaluate(
        save_generated(norm_bank, average(norm_bank, range(3), members=4, seed=5)),
        task=task,
        gradients=8,
        **QUICK,
    )
    assert (results["league"]["name"], results["league"]["gradient_evaluations"]) == ("gradients", 8)
    assert {b["league"] for b in results["baselines"]} == {"weights", "gradients"}
    assert {b["family"] for b in results["baselines"]} >= {"tuned-mean", "cyclic", "tuned-gaussian", "noise"}
    assert results["verdict"]["sentence"].endswith("(league of training gradients).")


def test_statistics_are_reestimated_for_all_alike(norm_bank: Bank, task: Waves, save_generated: Save) -> None:
    results = evaluate(
        save_generated(norm_bank, norm_bank.batch(range(MEMBERS))), task=task, league="inputs", **QUICK
    )
    plain = evaluate(Generated.open(norm_bank.path.parents[1] / "generated"), task=task, **QUICK)
    assert results["league"]["reestimated"] is True
    for part in ("mean", "min", "max"):
        assert results["generated"][part] == results["original"][part], "members in both columns"
    assert results["original"]["mean"] != plain["original"]["mean"]
    assert not any("re-estimate" in warning for warning in results["warnings"])


def test_without_statistics_nothing_is_said_to_be_reestimated(
    tmp_path: Path, task: Waves, save_generated: Save
) -> None:
    torch.manual_seed(0)
    bank = save_bank(tmp_path / "linear", task.build("linear"), ["1.weight", "1.bias"])
    generated = save_generated(bank, bank.batch(range(MEMBERS)))
    options = QUICK | {"arch": "linear"}
    results = evaluate(generated, task=task, league="inputs", **options)
    assert (results["league"]["name"], results["league"]["asked"]) == ("weights", "inputs")
    assert results["verdict"]["sentence"].endswith("(weights-only league: there was nothing to re-estimate).")
    assert results["warnings"][0] == (
        "Nothing to re-estimate: no BatchNorm statistics depend on what differs between the models, so they "
        "are judged as they are."
    )
    plain = evaluate(generated, task=task, **options)
    assert results["original"] == plain["original"]
    assert plain["verdict"]["sentence"].endswith("(weights-only league).")


def test_votes_are_of_everybody(norm_bank: Bank, task: Waves, save_generated: Save) -> None:
    results = evaluate(save_generated(norm_bank, gaussian(norm_bank, range(5), seed=9)), task=task, **QUICK)
    votes = results["votes"]
    assert votes["sizes"] == list(SIZES)
    assert votes["pools"] == {"original": MEMBERS, "generated": 5, "gaussian": POOL}
    assert {name: figures["draws"] for name, figures in votes["families"].items()} == {
        "original": [MEMBERS, DRAWS, 6, 0, 0, 0],
        "generated": [5, DRAWS, 1, 0, 0, 0],
        "gaussian": [POOL, DRAWS, DRAWS, DRAWS, DRAWS, DRAWS],
        "mixed": [0, DRAWS, DRAWS, 6, 0, 0],
    }
    draws = [point["score"] for point in points(results, "gaussian") if point["strength"] == 1]
    first = Predictor(norm_bank, task, "residual").correctness(gaussian(norm_bank, range(3), seed=0))
    assert draws[:3] == pytest.approx(first.double().mean(dim=1).tolist())
    assert len(draws) == POOL
    for family, n in (("original", MEMBERS), ("generated", 5)):
        singles = [point["score"] for point in points(results, family)]
        assert len(singles) == n
        assert votes["families"][family]["score"][0] == pytest.approx(sum(singles) / n, abs=0.01)


def test_the_number_of_generated_models_does_not_decide_how_many_others_vote(
    norm_bank: Bank, task: Waves, save_generated: Save
) -> None:
    votes = [
        evaluate(
            save_generated(norm_bank, gaussian(norm_bank, range(n), seed=9), out=f"of-{n}"),
            task=task,
            **QUICK,
        )["votes"]
        for n in (1, 4)
    ]
    assert [each["pools"]["generated"] for each in votes] == [1, 4]
    for family in ("original", "gaussian"):
        assert votes[0]["families"][family] == votes[1]["families"][family]


def test_a_family_votes_with_no_more_models_than_the_pool_holds(norm_bank: Bank) -> None:
    def population(family: str, size: int, run: int = 0, strength: float | None = None) -> Population:
        return Population(family, strength, size, norm_bank.batch, run=run)

    draws = (population("gaussian", 130, strength=1.0), population("gaussian", 30, strength=2.0))
    for sizes, expected in (((4, 200), [4, 96]), ((60, 60), [50, 50]), ((3, 5, 1), [3, 5, 1])):
        runs = tuple(population("generated", size, run) for run, size in enumerate(sizes))
        everybody = Field(population("original", 300), runs, population("ensemble", 1), draws, ())
        vote = _electors(everybody, POOL, seed=0)
        assert [list(vote(run)) for run in runs] == [list(range(size)) for size in expected]
        assert [len(vote(each)) for each in draws] == [POOL, 0]
        assert len(set(vote(everybody.original))) == POOL
        assert max(vote(everybody.original)) > POOL, "drawn from all, not the first"
        assert list(vote(everybody.ensemble)) == []


def test_votes_are_left_out_where_they_need_too_much_room(
    norm_bank: Bank, task: Waves, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = (MEMBERS + 5 + POOL) * SAMPLES * 3 * 2
    for budget, voters in ((needed, POOL), (needed - 1, 0)):
        monkeypatch.setattr("pdiff.evaluation.jury.BUDGET", budget)
        jury = Jury(norm_bank, task, "residual", "test")
        assert jury.voters(5) == voters
        assert bool(jury.warnings) == (not voters)
    assert jury.warnings[0].startswith("Soft votes are left out: their probabilities would need 0.0 GiB")


class Squares:
    """Waves with a metric of its own, of which less is better, and without probabilities."""

    name, architectures = "squares", Waves.architectures
    metric = Metric(
        "MSE",
        False,
        False,
        lambda outputs, targets: (outputs.gather(1, targets[:, None]) - 1).square(),
        lambda measured: float(measured.mean()),
    )

    def __init__(self) -> None:
        waves = Waves()
        self.build, self.data, self.loss, self.correct = waves.build, waves.data, waves.loss, waves.correct


def test_a_task_with_a_metric_goes_all_the_way(norm_bank: Bank, save_generated: Save) -> None:
    results = evaluate(
        save_generated(norm_bank, gaussian(norm_bank, range(4), seed=5)), task=Squares(), **QUICK
    )
    assert results["task"]["metric"] == {"name": "MSE", "higher_is_better": False, "percent": False}
    assert results["votes"] is None
    scores = torch.tensor([point["score"] for point in points(results, "generated")], dtype=torch.float64)
    assert results["generated"]["mean"] == pytest.approx(float(scores.mean()))
    assert results["generated"]["min"] == pytest.approx(float(scores.min())), "min is plainly the least"
    place = results["verdict"]["at_max_similarity"]
    assert place["margin"] == pytest.approx(place["frontier"] - place["score"]), "less is better"
    drawn = [score for _, score in results["envelopes"]["max_similarity"]]
    assert drawn == sorted(drawn, reverse=True)
    assert " MSE (" in results["verdict"]["sentence"]
