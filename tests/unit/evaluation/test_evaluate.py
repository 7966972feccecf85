"""The whole evaluation: what planted models are found to be, and what `results.json` holds."""

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from safetensors.torch import load_file, save_file

from pdiff import _core
from pdiff.bank import Bank
from pdiff.common.errors import InputError, UsageError, exit_code
from pdiff.common.progress import SILENT
from pdiff.common.sealing import write_sealed
from pdiff.evaluation.evaluate import Options, provenance_entry
from pdiff.evaluation.evaluate import evaluate as evaluated
from pdiff.evaluation.metrics.soft_voting import POOL
from pdiff.evaluation.populations import open_case
from pdiff.generation.generated import GENERATED, Generated
from pdiff.generators import FAMILIES
from tests.unit.evaluation.making import evaluate, gaussian
from tests.unit.evaluation.waves import MEMBERS, SAMPLES, Waves

Save = Callable[..., Generated]


@pytest.fixture
def results(norm_bank: Bank, task: Waves, save_generated: Save, tmp_path: Path) -> dict[str, Any]:
    """Five draws from the Gaussian baseline, evaluated as if a generator had made them."""
    generated = save_generated(norm_bank, gaussian(norm_bank, range(5), seed=99))
    return evaluate(generated, task=task, arch="residual", batch_size=16, baselines_n=4, replicates=5)


def leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from leaves(item)
    else:
        yield value


def test_results_are_plain_and_finite(results: dict[str, Any]) -> None:
    assert json.loads(json.dumps(results, allow_nan=False)) == results
    numbers = [leaf for leaf in leaves(results) if isinstance(leaf, float)]
    assert len(numbers) > 100
    assert all(math.isfinite(number) for number in numbers)


def test_the_parts_are_the_ones_promised(results: dict[str, Any], norm_bank: Bank) -> None:
    assert set(results) == {
        *(
            "format",
            "name",
            "task",
            "bank",
            "data_access",
            "original",
            "generated",
            "runs",
            "ensemble",
            "baselines",
        ),
        *("controls", "novelty", "geometry", "delivered", "votes", "verdict", "fronts", "points", "plots"),
        *("warnings", "cost", "provenance"),
    }
    assert results["task"] == {
        **{"name": "waves", "arch": "residual", "split": "test", "samples": SAMPLES},
        "metric": {"name": "accuracy", "higher_is_better": True, "percent": True},
    }
    assert results["name"] == "p-diff"
    assert results["data_access"] == {
        **{"kind": "weights", "asked": "weights", "gradient_evaluations": 0, "reestimated": False}
    }
    assert results["bank"]["digest"] == norm_bank.digest
    assert (results["bank"]["members"], results["bank"]["dim"]) == (MEMBERS, 16)
    for part, n in (("original", MEMBERS), ("generated", 5)):
        assert results[part]["n"] == n
        assert (
            results[part]["score"]["min"] <= results[part]["score"]["mean"] <= results[part]["score"]["max"]
        )
    assert [(b["family"], b["n"]) for b in results["baselines"]] == [
        *[("noise", 4)] * 6,
        *[("mean-noise", 4)] * 6,
        *[("average", 4)] * 2,
        *[("interpolation", 4)] * 6,
        *[("gaussian", 4), ("gaussian", POOL), *[("gaussian", 4)] * 5],  # ×1: as many as vote
        *[("pca-gaussian", 4)] * 7,
    ]
    assert results["verdict"]["position"] is results["verdict"]["at_max_similarity"] is None, "of six members"
    assert results["fronts"] == {"max_similarity": [], "gg": []}
    assert results["cost"]["once_s"] == 12.5
    assert results["cost"]["evaluate_s"] > 0


def test_provenance_says_what_made_the_numbers(results: dict[str, Any], norm_bank: Bank) -> None:
    provenance = results["provenance"]
    assert provenance["seed"] == 0
    assert provenance["digests"]["bank"] == norm_bank.digest
    assert provenance["digests"]["run"] == _core.digest(b"generated")
    assert {len(digest) for digest in provenance["digests"].values()} == {64}
    assert {"pdiff", "torch", "numpy", "python", "date"} <= set(provenance)


def test_provenance_names_the_gpu(
    norm_bank: Bank, task: Waves, save_generated: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"GPU {device.index}")
    generated = save_generated(norm_bank, norm_bank.batch([0]))
    case = open_case(generated, None, task, controls={}, options=Options(), progress=SILENT)
    made = [provenance_entry(case, torch.device(name))["device"] for name in ("cuda:1", "cpu")]
    assert made == ["GPU 1", "cpu"]


@pytest.mark.parametrize("family", FAMILIES)
def test_models_are_called_by_their_generator(
    norm_bank: Bank, task: Waves, save_generated: Save, family: str
) -> None:
    generated = save_generated(norm_bank, norm_bank.batch([0]), family=family)
    names = [
        open_case(generated, None, task, controls={}, options=options, progress=SILENT).name
        for options in (Options(), Options(name="mine"))
    ]
    assert names == ["p-diff" if family == "latent" else family, "mine"]


def test_points_and_summaries_agree(results: dict[str, Any]) -> None:
    points = results["points"]
    assert len(points) == MEMBERS + 5 + 1 + 33 * 4 + POOL  # as many of the Gaussian ×1 as vote
    ours = [point for point in points if point["family"] == "generated"]
    assert results["generated"]["score"]["mean"] == pytest.approx(sum(p["score"] for p in ours) / 5)
    assert results["generated"]["score"]["max"] == max(p["score"] for p in ours)
    similarities = [p["max_similarity"] for p in ours]
    assert results["generated"]["max_similarity"] == pytest.approx(sum(similarities) / 5)
    assert results["novelty"]["similarities"] == [min(similarities), max(similarities)]
    for baseline in results["baselines"]:
        same = [
            p for p in points if (p["family"], p["strength"]) == (baseline["family"], baseline["strength"])
        ]
        assert baseline["max_similarity"] == pytest.approx(sum(p["max_similarity"] for p in same) / len(same))


class Broken(Waves):
    """A task of which one test sample holds a NaN."""

    def data(self, split):
        inputs, targets = super().data(split)
        inputs[0] = math.nan
        return inputs, targets


def test_samples_that_are_not_finite_leave_figures_out(norm_bank: Bank, save_generated: Save) -> None:
    generated = save_generated(norm_bank, norm_bank.batch(range(3)))
    results = evaluated(generated, task=Broken(), baselines_n=2, replicates=2)
    assert results is not None
    json.dumps(msgspec.to_builtins(results), allow_nan=False)
    assert [point.nll for point in results.points if point.family == "generated"] == [None] * 3


def test_files_are_found_from_where_the_command_ran(
    norm_bank: Bank, task: Waves, save_generated: Save, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generated = save_generated(norm_bank, norm_bank.batch(range(3)))
    monkeypatch.chdir(generated.path.parent)
    folder = Generated.open(Path(generated.path.name))  # as a relative path is typed
    results = evaluate(folder, task=task, baselines_n=2, replicates=2)
    files = [point["file"] for point in results["points"] if point["family"] == "generated"]
    assert files == [str(folder.path / name) for name in folder.info.files]
    assert all(Path(file).is_file() for file in files)
    assert Path(results["generated"]["best"]["file"]).is_file()


def test_the_same_again_but_for_the_clock(
    results: dict[str, Any], norm_bank: Bank, task: Waves, tmp_path: Path
) -> None:
    generated = Generated.open(tmp_path / "generated")
    again = evaluate(generated, task=task, batch_size=50, baselines_n=4, replicates=5)
    for part in set(results) - {"cost", "provenance"}:
        assert again[part] == results[part]


def test_copies_are_found_out(norm_bank: Bank, task: Waves, save_generated: Save, tmp_path: Path) -> None:
    results = evaluate(save_generated(norm_bank, norm_bank.batch(range(MEMBERS))), task=task, replicates=5)
    novelty, ours, theirs = results["novelty"], results["generated"], results["original"]
    assert ours["score"] == theirs["score"]
    assert ours["best"] == theirs["best"] | {"file": ours["best"]["file"]}
    assert (ours["max_similarity"], novelty["similarities"]) == (1, [1, 1])
    assert ours["containment"] == 1
    assert ours["gg"] == pytest.approx(theirs["gg"], abs=1e-12)
    assert ours["dispersion"] == pytest.approx(1, abs=1e-9)
    assert novelty["l2_nearest"]["mean"] == pytest.approx(0, abs=1e-5)
    assert novelty["l2_nearest_original"]["min"] > 0.1
    assert {b["n"] for b in results["baselines"]} == {30, POOL}


def test_averages_are_found_out(norm_bank: Bank, task: Waves, save_generated: Save, tmp_path: Path) -> None:
    mean = norm_bank.batch(range(MEMBERS)).double().mean(dim=0).float()
    rows = torch.stack([mean, mean, mean])
    results = evaluate(save_generated(norm_bank, rows), task=task, replicates=5)
    novelty = results["novelty"]
    assert results["generated"]["dispersion"] == pytest.approx(0, abs=1e-6)
    assert (results["generated"]["gg"], novelty["gg_nearest"], novelty["distinct"]) == (1, 1, 1)
    assert results["generated"]["score"]["mean"] == pytest.approx(results["ensemble"]["score"]["mean"])


def test_one_generated_model_leaves_out_what_needs_two(
    norm_bank: Bank, task: Waves, save_generated: Save, tmp_path: Path
) -> None:
    results = evaluate(save_generated(norm_bank, norm_bank.batch([0])), task=task, replicates=5)
    novelty, ours = results["novelty"], results["generated"]
    assert (ours["gg"], novelty["gg_nearest"], ours["dispersion"]) == (None, None, None)
    assert novelty["distinct"] == 1


def test_another_architecture_can_be_asked_for(
    norm_bank: Bank, task: Waves, save_generated: Save, tmp_path: Path
) -> None:
    generated = save_generated(norm_bank, norm_bank.batch([0, 1]))
    with pytest.raises(InputError, match="the network 'waves linear' does not take the checkpoints"):
        evaluate(generated, task=task, arch="linear")


def test_a_bank_without_a_task_needs_one(norm_bank: Bank, save_generated: Save, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the bank names no task; say which with --task"):
        evaluate(save_generated(norm_bank, norm_bank.batch([0])))


def test_a_model_whose_other_tensors_were_changed_is_refused(
    norm_bank: Bank, task: Waves, save_generated: Save
) -> None:
    generated = save_generated(norm_bank, norm_bank.batch([0, 1]))
    path = generated.path / generated.info.files[1]
    state = load_file(path)
    name = next(name for name in state if name not in norm_bank.subset_names)
    save_file(state | {name: state[name] + 1}, path)
    with pytest.raises(InputError, match="model-0001.safetensors: not what generate wrote"):
        evaluate(generated, task=task, replicates=5)
    digests = generated.info.digests | {path.name: _core.digest_file(path)}
    write_sealed(generated.path / GENERATED, msgspec.structs.replace(generated.info, digests=digests))
    with pytest.raises(InputError, match=f"model-0001.safetensors: {name} is not the bank's"):
        evaluate(Generated.open(generated.path), task=task, replicates=5)


def test_a_file_that_was_deleted_is_named(norm_bank: Bank, task: Waves, save_generated: Save) -> None:
    generated = save_generated(norm_bank, norm_bank.batch([0, 1]))
    path = generated.path / generated.info.files[1]
    path.unlink()
    with pytest.raises(InputError, match=f"^{path}: missing; generate wrote it") as refusal:
        evaluate(generated, task=task, replicates=5)
    assert exit_code(refusal.value) == 3


class Told:
    """A progress that keeps what it was told."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.message = self.messages.append
        self.track = SILENT.track


def test_what_a_deleted_run_leaves_out_is_said(norm_bank: Bank, task: Waves, save_generated: Save) -> None:
    generated, told = save_generated(norm_bank, norm_bank.batch([0, 1])), Told()
    results = evaluate(generated, task=task, baselines_n=2, replicates=2, progress=told)
    reason = results["plots"]["missing"]["reverse"]
    assert reason == results["plots"]["missing"]["training"]
    assert results["plots"]["reverse"] is results["plots"]["training"] is None
    assert reason.startswith(f"{generated.path.resolve() / 'run'}: no run here")
    assert told.messages == [f"Training and the way from noise are left out: {reason}"]


def test_values_that_are_not_finite_are_refused(
    norm_bank: Bank, task: Waves, save_generated: Save, tmp_path: Path
) -> None:
    rows = norm_bank.batch([0, 1])
    rows[1, 3] = torch.nan
    with pytest.raises(InputError, match="model-0001.safetensors: holds values that are not finite"):
        evaluate(save_generated(norm_bank, rows), task=task, replicates=5)
