import pytest
import torch
from msgspec.structs import replace
from safetensors.torch import load_file

from pdiff.common.errors import UsageError
from pdiff.common.progress import SILENT
from pdiff.experiments import run_experiment


def run(experiment, out, **how):
    return run_experiment(experiment, out, progress=SILENT, **how)


def written(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_seeds_of_the_generator_share_a_bank_and_are_judged_together(experiment, judged, tmp_path):
    results = run(replace(experiment, seeds=2), tmp_path / "out")
    assert results.generated.n == 6
    assert results.bank.members == 12
    ((folders, how),) = judged
    assert [folder.info.seed for folder in folders] == [0, 1]
    assert how["baselines_n"] == 2
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *("ckpts", "bank", "run-0", "run-1", "generated-0", "generated-1", "evaluation", "experiment.json")
    }


def test_what_is_finished_is_not_done_again(experiment, judged, tmp_path):
    first = run(experiment, tmp_path / "out")
    before = written(tmp_path / "out")
    again = run(experiment, tmp_path / "out")
    assert written(tmp_path / "out") == before
    assert again.generated == first.generated
    assert len(judged) == 1

    (tmp_path / "out" / "evaluation").rename(tmp_path / "gone")  # as if it had ended there
    again = run(experiment, tmp_path / "out")
    assert again.generated == first.generated
    after = written(tmp_path / "out")
    assert {path: after[path] for path in before if path in after and "evaluation" not in path.parts} == {
        path: time for path, time in before.items() if "evaluation" not in path.parts
    }


def test_a_folder_of_another_experiment_is_refused(experiment, judged, tmp_path):
    run(experiment, tmp_path / "out")
    with pytest.raises(UsageError, match=r"experiment\.json: is of another experiment"):
        run(replace(experiment, n=4), tmp_path / "out")


def test_of_a_subset_parts_are_saved_and_whole_networks_judged(experiment, judged, tmp_path):
    results = run(replace(experiment, subset="last-norms:1"), tmp_path / "out")
    assert results.bank.dim == 12
    assert len(judged) == 1
    part = load_file(tmp_path / "out" / "ckpts" / "step-00001.safetensors")
    assert set(part) == {"1.weight", "1.bias"}
    base = load_file(tmp_path / "out" / "bank" / "base.safetensors")
    assert torch.equal(
        base["0.weight"], load_file(tmp_path / "out" / "ckpts" / "base.safetensors")["0.weight"]
    )


def test_settings_that_the_generator_has_not_are_refused(experiment):
    with pytest.raises(UsageError, match=r"unknown key 'train\.step'; did you mean 'train\.steps'"):
        replace(experiment, settings={"train.step": 3}).config(0)
    assert experiment.config(7).seed == 7
