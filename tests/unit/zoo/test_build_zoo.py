import json
import re
from itertools import pairwise

import msgspec
import pytest
import torch
from click.testing import CliRunner
from safetensors import safe_open
from safetensors.torch import load_file

from pdiff.cli.zoo import command
from pdiff.common.errors import UsageError
from pdiff.tasks import SplitData
from pdiff.tasks.base import Metric
from pdiff.tasks.scoring import score
from pdiff.zoo import build_zoo
from pdiff.zoo.build import write_checkpoint
from pdiff.zoo.recipes import recipe_for
from pdiff.zoo.start import initialise


@pytest.fixture
def build(task, tmp_path):
    def _build(name="ckpts", **choices):
        choices = {"arch": "batchnorm", "k": 4, "epochs": 3, **choices}
        return build_zoo(task, task_name="tiny", options={}, out=tmp_path / name, **choices)

    return _build


def content(path):
    """The bytes of every tensor, and the metadata."""
    with safe_open(path, "np") as file:
        return {name: file.get_tensor(name).tobytes() for name in file.keys()}, file.metadata()  # noqa: SIM118


def states(path):
    return [load_file(file) for file in sorted(path.rglob("*.safetensors"))]


def test_every_step_is_a_checkpoint_that_loads_and_says_how_good_it_is(build, task):
    result = build()
    files = sorted(file.name for file in result.path.iterdir())
    assert files == [f"step-{step:05d}.safetensors" for step in range(1, 5)] + ["task.json", "zoo.json"]
    assert len(result.scores) == 4
    model = task.build("batchnorm").eval()
    for step, claimed in enumerate(result.scores, start=1):
        with safe_open(result.path / f"step-{step:05d}.safetensors", "pt") as file:
            metadata = file.metadata()
        assert (metadata["step"], metadata["run"]) == (str(step), "0")
        model.load_state_dict(load_file(result.path / f"step-{step:05d}.safetensors"), strict=True)
        assert score(task, model, SplitData(task, "validation")) == claimed
        assert float(metadata["accuracy"]) == pytest.approx(claimed, abs=1e-6)


def squares(task):
    """Give a task a metric of its own: the mean square of what is missing to the target's probability."""
    task.metric = Metric(
        "MSE",
        False,
        False,
        lambda outputs, targets: (1 - outputs.softmax(1).gather(1, targets[:, None])).square(),
        lambda measured: float(measured.mean()),
    )


def test_a_metric_of_the_tasks_own_is_called_by_its_name(build, task):
    squares(task)
    result = build()
    inputs, targets = task.data("validation")
    model = task.build("batchnorm").eval()
    for step, claimed in enumerate(result.scores, start=1):
        path = result.path / f"step-{step:05d}.safetensors"
        model.load_state_dict(load_file(path), strict=True)
        with torch.inference_mode():
            missing = 1 - model(inputs).softmax(1)[torch.arange(210), targets]
        assert claimed == pytest.approx(float(missing.square().mean()))
        with safe_open(path, "pt") as file:
            assert file.metadata().keys() == {"MSE", "step", "run"}
            assert float(file.metadata()["MSE"]) == pytest.approx(claimed, rel=1e-5)
    told = json.loads((result.path / "zoo.json").read_text())
    assert (told["metric"], told["converged"]) == ("MSE", result.converged)


def test_the_command_prints_the_metric(tmp_path):
    text = """
from tests.unit.zoo.conftest import TinyTask
from tests.unit.zoo.test_build_zoo import squares

def plain():
    return TinyTask()

def with_metric():
    task = TinyTask()
    squares(task)
    return task
"""
    (tmp_path / "own.py").write_text(text)
    for factory, shown in (("plain", r"accuracy [\d.]+%"), ("with_metric", r"MSE 0\.\d+")):
        out = tmp_path / factory
        chosen = [f"{tmp_path / 'own.py'}:{factory}", "--k", "1", "--epochs", "1", "--out", str(out)]
        found = CliRunner().invoke(command, chosen, catch_exceptions=False)
        assert re.search(rf": 1 checkpoint, mean validation {shown}, [\d.]+ s$", found.stdout.strip())
        assert re.search(rf"Converged: {shown} on the validation split", found.stderr)
        with pytest.raises(
            UsageError, match="unknown architecture of tiny 'foo'; accepted: batchnorm, layer"
        ):
            CliRunner().invoke(command, [*chosen, "--arch", "foo", "--overwrite"], catch_exceptions=False)


def test_the_folder_remembers_how_it_was_made(build):
    result = build(subset="last-norms:1", optimizer="sgd", lr=0.01, seed=5)
    task = json.loads((result.path / "task.json").read_text())
    assert task == {"task": "tiny", "arch": "batchnorm", "options": {}}
    told = json.loads((result.path / "zoo.json").read_text())
    assert told["names"] == ["7.weight", "7.bias"]
    assert (told["seed"], told["k"], told["runs"], told["validation_samples"]) == (5, 4, 1, 210)
    assert told["recipe"]["epochs"] == 3
    assert told["recipe"]["bank"]["optimizer"] == "sgd"
    assert told["recipe"]["bank"]["lr"] == 0.01
    assert (told["metric"], told["converged"]) == ("accuracy", result.converged)
    assert told["seconds"] == {"train": result.train_seconds, "bank": result.bank_seconds}
    assert told["provenance"]["torch"] == torch.__version__


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize(
    ("subset", "varying"),
    [
        ("last-norms:1", {"7.weight", "7.bias"}),
        ("3.*", {"3.weight", "3.bias"}),
        ("4.*", {"4.weight", "4.bias", "4.running_mean", "4.running_var"}),
    ],
)
def test_everything_outside_the_subset_is_frozen_bit_for_bit(build, subset, varying, optimizer):
    checkpoints = states(build(subset=subset, optimizer=optimizer, k=6).path)
    for name in checkpoints[0]:
        if name in varying:
            assert all(not torch.equal(a[name], b[name]) for a, b in pairwise(checkpoints))
        else:
            assert all(torch.equal(a[name], checkpoints[0][name]) for a in checkpoints)


def test_with_the_whole_network_everything_moves(build):
    first, *_, last = states(build(subset="all").path)
    assert all(not torch.equal(first[name], last[name]) for name in first)
    assert last["1.num_batches_tracked"] - first["1.num_batches_tracked"] == 3


def test_the_same_seed_gives_the_same_files(build):
    one, again, other = build("one"), build("again"), build("other", seed=1)
    torch.rand(3)
    for step in range(1, 5):
        name = f"step-{step:05d}.safetensors"
        assert content(one.path / name) == content(again.path / name)
        assert content(one.path / name) != content(other.path / name)


def test_runs_are_independent_and_the_first_does_not_depend_on_their_number(build):
    single, double = build("single"), build("double", runs=2)
    assert sorted(file.name for file in double.path.iterdir()) == ["run-0", "run-1", "task.json", "zoo.json"]
    assert len(double.scores) == 8
    assert len(double.converged) == 2
    name = "step-00003.safetensors"
    alone, first, second = (
        load_file(p / name) for p in (single.path, double.path / "run-0", double.path / "run-1")
    )
    assert all(torch.equal(alone[key], first[key]) for key in alone)
    assert not torch.equal(first["0.weight"], second["0.weight"])
    with safe_open(double.path / "run-1" / name, "pt") as file:
        assert file.metadata()["run"] == "1"


def test_tied_tensors_are_written_under_both_names(task, tmp_path):
    model = task.build("layernorm")
    model[3].weight = model[0].weight = torch.nn.Parameter(torch.randn(12, 12))
    write_checkpoint(tmp_path / "step-00001.safetensors", model, {"accuracy": 0.5, "step": 1, "run": 0})
    state = load_file(tmp_path / "step-00001.safetensors")
    assert torch.equal(state["0.weight"], state["3.weight"])
    assert torch.equal(state["0.weight"], model[0].weight)


def test_k_does_not_change_the_trajectory(build):
    short, long = build("short", k=2), build("long", k=5)
    for name in ("step-00001.safetensors", "step-00002.safetensors"):
        assert content(short.path / name) == content(long.path / name)


def test_pth_holds_the_same_and_loads_without_running_code(build):
    plain, pickled = build("plain"), build("pickled", fmt="pth")
    for step in (1, 4):
        content = torch.load(pickled.path / f"step-{step:05d}.pth", weights_only=True)
        expected = load_file(plain.path / f"step-{step:05d}.safetensors")
        assert content["accuracy"] == pickled.scores[step - 1]
        assert content["step"] == step
        assert content["state_dict"].keys() == expected.keys()
        assert all(torch.equal(content["state_dict"][name], expected[name]) for name in expected)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"k": 0}, "k is 0; expected 1 or more"),
        ({"runs": 0}, "runs is 0; expected 1 or more"),
        ({"epochs": 0}, "epochs is 0; expected 1 or more"),
        ({"arch": "batchnrom"}, "unknown architecture of tiny 'batchnrom'; did you mean 'batchnorm'"),
        ({"optimizer": "sgdd"}, "unknown optimizer 'sgdd'; did you mean 'sgd'"),
        ({"lr": -1.0}, "learning rate -1.0"),
        ({"subset": "nothing.like.it"}, "matches no floating tensor"),
        ({"fmt": "pt"}, "unknown checkpoint format 'pt'"),
    ],
)
def test_wrong_choices_are_refused_before_anything_is_written(build, tmp_path, choices, message):
    with pytest.raises(UsageError, match=message):
        build(**choices)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_empty_is_refused_and_kept(build, tmp_path):
    build()
    before = sorted(file.name for file in (tmp_path / "ckpts").iterdir())
    with pytest.raises(UsageError, match="not empty"):
        build(k=1)
    assert sorted(file.name for file in (tmp_path / "ckpts").iterdir()) == before
    build(k=1, overwrite=True)
    assert sorted(file.name for file in (tmp_path / "ckpts").iterdir()) == [
        "step-00001.safetensors",
        "task.json",
        "zoo.json",
    ]


def test_an_interrupted_build_leaves_nothing(build, task, tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(task, "error", stop)
    with pytest.raises(KeyboardInterrupt):
        build()
    assert list(tmp_path.iterdir()) == []


def test_parts_are_the_subset_beside_the_whole_network(build):
    whole, parts = build("whole", subset="last-norms"), build("parts", subset="last-norms", parts=True)
    base = load_file(parts.path / "base.safetensors")
    for name in ("step-00001.safetensors", "step-00003.safetensors"):
        part, all_of_it = load_file(parts.path / name), load_file(whole.path / name)
        assert set(part) == {"4.weight", "4.bias", "7.weight", "7.bias"}
        assert all(torch.equal(part[key], all_of_it[key]) for key in part)
        assert all(torch.equal(base[key], all_of_it[key]) for key in base.keys() - part.keys())
    assert parts.scores == whole.scores


@pytest.mark.parametrize("how", [{"subset": "all"}, {"subset": "last-norms", "runs": 2}])
def test_parts_are_of_one_run_and_a_subset(build, how):
    with pytest.raises(UsageError, match="parts of networks are of one run, and of a subset"):
        build("parts", parts=True, **how)


def test_training_starts_from_a_given_checkpoint(build):
    first, short = build("first", epochs=20), build("short", epochs=1)
    again = build("again", epochs=1, init=first.path / "step-00003.safetensors")
    assert again.converged[0] > short.converged[0] + 0.1
    assert json.loads((again.path / "zoo.json").read_text())["init"].endswith("step-00003.safetensors")


def test_a_recipe_may_train_the_head_alone_at_first(build, task, monkeypatch):
    recipe = msgspec.structs.replace(recipe_for("tiny", "batchnorm"), first="head", epochs=1)
    monkeypatch.setattr("pdiff.zoo.build.recipe_for", lambda task, arch: recipe)
    result = build(subset="last-norms:1", epochs=2)
    start, (first, *_) = initialise(task, "batchnorm", 0, run=0).state_dict(), states(result.path)
    changed = {name for name in start if not torch.equal(start[name], first[name])}
    assert changed == {"9.weight", "9.bias", "7.weight", "7.bias"}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_makes_the_checkpoints_of_the_cpu_up_to_rounding(build):
    on_cpu, on_gpu = (states(build(name, device=name).path) for name in ("cpu", "cuda"))
    for ours, theirs in zip(on_gpu, on_cpu, strict=True):
        for name, tensor in theirs.items():
            torch.testing.assert_close(ours[name], tensor, rtol=1e-3, atol=1e-3)
