"""What `evaluate` does with its options: several runs, controls, data access, selection, votes."""

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
from pdiff.evaluation.evaluate import Options
from pdiff.evaluation.inference import Predictor
from pdiff.evaluation.metrics.soft_voting import DRAWS, POOL, SIZES
from pdiff.evaluation.populations import REESTIMATED, access_of
from pdiff.evaluation.schema import AccessEntry
from pdiff.generation.generated import Generated
from pdiff.generation.models import Models, open_models
from pdiff.generation.row_cache import RowCache
from pdiff.tasks.base import Metric
from tests.unit.evaluation.making import average, evaluate, gaussian
from tests.unit.evaluation.waves import MEMBERS, NORMS, Residual, Waves, save_bank

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


@pytest.mark.usefixtures("few_suffice")
def test_runs_are_evaluated_together_and_alike_within_themselves(runs: list[Generated], task: Waves) -> None:
    results = evaluate(runs, task=task, **QUICK)
    alone = [evaluate(run, task=task, **QUICK) for run in runs]
    assert [(run["path"], run["seed"], run["models"]["n"]) for run in results["runs"]] == [
        (str(runs[0].path.resolve()), 7, 4),
        (str(runs[1].path.resolve()), 8, 3),
    ]
    for entry, single in zip(results["runs"], alone, strict=True):
        assert entry["models"]["score"] == pytest.approx(single["generated"]["score"], abs=1e-9)
        for measure in ("gg", "max_similarity", "containment", "dispersion"):
            assert entry["models"][measure] == pytest.approx(single["generated"][measure], abs=1e-9)
    means = [single["generated"]["score"]["mean"] for single in alone]
    ggs = [single["generated"]["gg"] for single in alone]
    assert results["generated"]["n"] == 7
    assert results["generated"]["score"]["mean"] == pytest.approx((4 * means[0] + 3 * means[1]) / 7)
    assert results["generated"]["gg"] == pytest.approx((4 * ggs[0] + 3 * ggs[1]) / 7)
    assert results["verdict"]["at_gg"]["at"] == pytest.approx(results["generated"]["gg"], abs=1e-9)
    assert results["verdict"]["at_gg"]["score"] == pytest.approx(
        results["generated"]["score"]["mean"], abs=1e-9
    )
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
    with pytest.raises(UsageError, match="two: of another bank than .*norms/bank; .*--control NAME=DIR"):
        evaluate(folders, task=task, **QUICK)
    with pytest.raises(UsageError, match="no models to evaluate"):
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
    assert set(entry) == set(results["generated"])
    assert (entry["family"], entry["n"]) == ("one-checkpoint", 3)
    same = save_generated(whole_bank, other.batch([0, 1, 2]), out="same")
    assert entry["score"]["mean"] == evaluate(same, task=task, **QUICK)["generated"]["score"]["mean"]
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
        split: 1 - Predictor(norm_bank, task, "residual", split=split).wrong(rows).double().mean(dim=1)
        for split in ("validation", "test")
    }
    chosen = int(by["validation"].argmax())
    assert results["generated"]["best"] == {
        "index": chosen,
        "file": results["points"][len(norm_bank) + 1 + chosen]["file"],
        "validation": pytest.approx(float(by["validation"][chosen])),
        "test": pytest.approx(float(by["test"][chosen])),
    }
    assert results["generated"]["score"]["max"] == pytest.approx(float(by["test"].max()))
    there = evaluate(
        Generated.open(norm_bank.path.parents[1] / "generated"), task=task, split="validation", **QUICK
    )
    assert there["generated"]["best"] is None
    assert "validation split" in there["warnings"][-1]


def opened(folder: Generated) -> list[Models]:
    return open_models(folder, None, RowCache())[1]


def test_what_the_generator_saw_decides_the_data_access(norm_bank: Bank, save_generated: Save) -> None:
    plain = opened(save_generated(norm_bank, norm_bank.batch([0]), out="plain"))
    tuned = opened(save_generated(norm_bank, norm_bank.batch([0]), out="tuned", gradient_evaluations=40))
    unknown = access_of(plain, Options())
    assert (unknown[0].kind, unknown[1]) == ("weights", 0)
    assert access_of(plain, Options(data_access="inputs")) == (
        AccessEntry(kind="inputs", asked="inputs", gradient_evaluations=0, reestimated=True),
        REESTIMATED,
    )
    entry, inputs = access_of(tuned, Options())
    assert (entry.kind, entry.gradient_evaluations, inputs) == ("gradients", 40, 0)
    assert access_of(plain, Options(gradient_evaluations=9))[0].kind == "gradients"
    assert access_of(plain, Options(reestimate=100))[1] == 100


@pytest.mark.parametrize(
    ("taken", "options", "reason"),
    [
        (40, Options(data_access="weights"), "--data-access weights: the generator took 40 gradients"),
        (40, Options(gradient_evaluations=39), "--gradient-evaluations 39: the generator took 40"),
        (0, Options(data_access="weights", gradient_evaluations=5), "only with --data-access gradients"),
        (0, Options(data_access="weights", reestimate=5), "--reestimate 5: only with --data-access inputs"),
        (0, Options(data_access="gradients"), r"\(--gradient-evaluations G\)"),
    ],
)
def test_data_access_that_cannot_be_is_refused(
    norm_bank: Bank, save_generated: Save, taken: int, options: Options, reason: str
) -> None:
    folder = save_generated(norm_bank, norm_bank.batch([0]), gradient_evaluations=taken)
    with pytest.raises(UsageError, match=reason):
        access_of(opened(folder), options)


def test_options_are_checked(norm_bank: Bank, save_generated: Save) -> None:
    folder = save_generated(norm_bank, norm_bank.batch([0]))
    with pytest.raises(UsageError, match="unknown option 'baseline_n'; did you mean 'baselines_n'"):
        evaluate(folder, baseline_n=3)
    with pytest.raises(UsageError, match="evaluate: Expected `int` >= 2 - at `\\$.baselines_n`"):
        evaluate(folder, baselines_n=1)


@pytest.mark.usefixtures("few_suffice")
def test_fine_tuned_baselines_take_part_where_gradients_were_taken(
    norm_bank: Bank, task: Waves, save_generated: Save
) -> None:
    results = evaluate(
        save_generated(norm_bank, average(norm_bank, range(3), members=4, seed=5)),
        task=task,
        gradient_evaluations=8,
        **QUICK,
    )
    assert (results["data_access"]["kind"], results["data_access"]["gradient_evaluations"]) == (
        "gradients",
        8,
    )
    assert {b["access"] for b in results["baselines"]} == {"weights", "gradients"}
    assert {b["family"] for b in results["baselines"]} >= {"tuned-mean", "cyclic", "tuned-gaussian", "noise"}
    assert results["verdict"]["sentence"].endswith("(with baselines from training gradients).")


def test_statistics_are_reestimated_for_all_alike(norm_bank: Bank, task: Waves, save_generated: Save) -> None:
    results = evaluate(
        save_generated(norm_bank, norm_bank.batch(range(MEMBERS))), task=task, data_access="inputs", **QUICK
    )
    plain = evaluate(Generated.open(norm_bank.path.parents[1] / "generated"), task=task, **QUICK)
    assert results["data_access"]["reestimated"] is True
    assert results["generated"]["score"] == results["original"]["score"], "members in both columns"
    assert results["original"]["score"]["mean"] != plain["original"]["score"]["mean"]
    assert not any("re-estimate" in warning for warning in results["warnings"])


@pytest.mark.usefixtures("few_suffice")
def test_without_statistics_nothing_is_said_to_be_reestimated(
    tmp_path: Path, task: Waves, save_generated: Save
) -> None:
    torch.manual_seed(0)
    bank = save_bank(tmp_path / "linear", task.build("linear"), ["1.weight", "1.bias"])
    generated = save_generated(bank, bank.batch(range(MEMBERS)))
    options = QUICK | {"arch": "linear"}
    results = evaluate(generated, task=task, data_access="inputs", **options)
    assert (results["data_access"]["kind"], results["data_access"]["asked"]) == ("weights", "inputs")
    assert results["verdict"]["sentence"].endswith(
        "(with baselines from weights alone: there was nothing to re-estimate)."
    )
    assert results["warnings"][0] == (
        "Nothing to re-estimate: no BatchNorm statistics depend on what differs between the models, so they "
        "are evaluated as they are."
    )
    plain = evaluate(generated, task=task, **options)
    assert results["original"] == plain["original"]
    assert plain["verdict"]["sentence"].endswith("(with baselines from weights alone).")


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
    first = Predictor(norm_bank, task, "residual").wrong(gaussian(norm_bank, range(3), seed=0))
    assert draws[:3] == pytest.approx((1 - first.double().mean(dim=1)).tolist())
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


class Squares(Waves):
    """Waves with a metric of its own, of which less is better, and without probabilities."""

    name = "squares"
    metric = Metric(
        "MSE",
        False,
        False,
        lambda outputs, targets: (outputs.gather(1, targets[:, None]) - 1).square(),
        lambda measured: float(measured.mean()),
    )

    def probabilities(self, outputs: Any) -> None:
        return None


@pytest.mark.usefixtures("few_suffice")
def test_a_task_with_a_metric_goes_all_the_way(norm_bank: Bank, save_generated: Save) -> None:
    results = evaluate(
        save_generated(norm_bank, gaussian(norm_bank, range(4), seed=5)), task=Squares(), **QUICK
    )
    assert results["task"]["metric"] == {"name": "MSE", "higher_is_better": False, "percent": False}
    assert results["votes"] is None
    scores = torch.tensor([point["score"] for point in points(results, "generated")], dtype=torch.float64)
    assert results["generated"]["score"]["mean"] == pytest.approx(float(scores.mean()))
    assert results["generated"]["score"]["min"] == pytest.approx(float(scores.min())), (
        "min is plainly the least"
    )
    place = results["verdict"]["at_max_similarity"]
    assert place["margin"] == pytest.approx(place["front"] - place["score"]), "less is better"
    drawn = [score for _, score in results["fronts"]["max_similarity"]]
    assert drawn == sorted(drawn, reverse=True)
    assert " MSE (" in results["verdict"]["sentence"]
