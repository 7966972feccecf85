import json

import msgspec
import pytest
from click.testing import CliRunner

from pdiff.cli.ablate import command
from pdiff.common.errors import UsageError
from pdiff.experiments import Grid, ablate
from pdiff.experiments.ablate import Cell
from tests.unit.experiments.conftest import TASK


def test_combinations_of_a_table_are_cells_and_tables_follow_each_other(tmp_path):
    file = tmp_path / "grid.toml"
    file.write_text('task = "digits"\n[[vary]]\nk = [10, 20]\n[[vary]]\ncodec.latent_dim = [2, 4]\nn = [1]\n')
    grid, base = Grid.read(file)
    assert base == {"task": "digits"}
    assert [cell.name for cell in grid.cells] == [
        *("k=10", "k=20", "codec.latent_dim=2,n=1", "codec.latent_dim=4,n=1")
    ]


def test_values_of_the_configuration_can_stand_beside_the_experiments_fields(tmp_path):
    file = tmp_path / "grid.toml"
    file.write_text('task = "digits"\n"train.steps" = 200\nsettings = {check = false}\n[[vary]]\nk = [10]\n')
    assert Grid.read(file)[1] == {"task": "digits", "settings": {"check": False, "train.steps": 200}}


def test_a_misspelt_field_is_refused_with_those_that_there_are(tmp_path):
    (tmp_path / "grid.toml").write_text('task = "digits"\nepoch = 3\n[[vary]]\nk = [10]\n')
    result = CliRunner().invoke(command, [str(tmp_path / "grid.toml")])
    message = str(result.exception)
    assert "grid.toml: epoch=3: unknown key 'epoch'" in message
    assert "an experiment has task, arch, options, init" in message


def test_a_narrow_terminal_shows_numbers_whole(experiment, judged, tmp_path, monkeypatch):
    monkeypatch.setattr("pdiff.cli.console.Console.width", 60)
    (tmp_path / "grid.toml").write_text('[[vary]]\n"train.steps" = [2]\n"codec.latent_dim" = [3]\n')
    given = ["--task", experiment.task, "--preset", "default", "--k", "12", "--n", "2", "--epochs", "1"]
    arguments = [str(tmp_path / "grid.toml"), *given, "--out", str(tmp_path / "out")]
    said = CliRunner().invoke(command, arguments, catch_exceptions=False).stdout
    assert "…" not in said
    assert "Left out for want of space: originals, average, best, GG, dispersion" in said


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("k = 3", r"grid\.toml: has no \[\[vary\]\] table"),
        ("[[vary]]\nk = 3", r"grid\.toml: k is 3; a list of values is wanted"),
        ("[[vary]]\nk = []", r"grid\.toml: k is \[\]; a list"),
        ("vary = 3", "has no"),
    ],
)
def test_files_that_are_no_grid_are_refused(tmp_path, text, message):
    (tmp_path / "grid.toml").write_text(text)
    with pytest.raises(UsageError, match=message):
        Grid.read(tmp_path / "grid.toml")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k": 1}, "k=1: Expected `int` >= 2"),
        ({"kk.k": 1}, "unknown key 'kk'"),
        ({"train.steps": 0}, "train.steps is 0"),
    ],
)
def test_changes_that_cannot_work_are_refused_before_anything_starts(experiment, tmp_path, change, message):
    with pytest.raises(UsageError, match=message):
        ablate(Grid([Cell({"k": 12}), Cell(change)]), experiment, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["k", "noise", "timesteps", "optimizer", "subset", "generator"])
def test_the_papers_ablations_are_changes_of_its_own_preset(experiment, name):
    grid = Grid.built_in(name)
    base = Cell({"preset": "paper"}).experiment(experiment.__class__(task="mnist1d", arch="convnet"))
    assert len({cell.name for cell in grid.cells}) == len(grid.cells)
    assert all(cell.experiment(base) for cell in grid.cells)
    assert any(cell.published == (77.9, 77.7) for cell in grid.cells)


def test_an_ablation_there_is_not_is_refused():
    with pytest.raises(UsageError, match="unknown ablation 'noises'; did you mean 'noise'"):
        Grid.built_in("noises")


def test_cells_share_banks_and_processes_share_cells(experiment, judged, tmp_path, monkeypatch):
    grid = Grid([Cell({"k": 11}), Cell({"n": 2}), Cell({"train.steps": 2}, (50.0, 40.0))])
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    outcomes = ablate(grid, experiment, out=tmp_path / "out")
    assert [outcome.cell.name for outcome in outcomes] == ["k=11"]
    monkeypatch.setenv("RANK", "0")
    outcomes = ablate(grid, experiment, out=tmp_path / "out")
    assert [outcome.cell.name for outcome in outcomes] == ["k=11", "n=2", "train.steps=2"]
    assert sorted(path.name for path in (tmp_path / "out" / "banks").iterdir()) == ["base", "k=11"]
    assert [outcome.generated.n for outcome in outcomes] == [3, 2, 3]
    assert "train.steps=2" in (tmp_path / "out" / "report.html").read_text()
    kept = json.loads((tmp_path / "out" / "ablation.json").read_text())
    assert kept[2]["cell"] == {"change": {"train.steps": 2}, "published": [50.0, 40.0]}


def test_the_command_takes_a_file_and_options_over_it(experiment, judged, tmp_path):
    file = tmp_path / "grid.toml"
    file.write_text(
        f'task = "{experiment.task}"\nk = 40\nn = 2\nepochs = 1\npreset = "gaussian"\n'
        "[[vary]]\nscale = [1.0]\n"
    )
    arguments = [str(file), "--k", "12", "--baselines-n", "2", "--out", str(tmp_path / "out"), "--json"]
    result = CliRunner().invoke(command, arguments, catch_exceptions=False)
    (cell,) = json.loads(result.stdout)["cells"]
    ((folders, how),) = judged
    assert [len(folder) for folder in folders] == [2]
    assert len(folders[0].bank) == 12
    assert how["baselines_n"] == 2
    assert cell["cell"]["change"] == {"scale": 1.0}


def test_a_bank_that_is_there_is_taken(bank, judged, tmp_path):
    file = tmp_path / "grid.toml"
    file.write_text('[[vary]]\npreset = ["gaussian", "average"]\n')
    task = tmp_path / "mine.py"
    task.write_text(TASK)
    out = tmp_path / "out"
    arguments = [str(file), "--bank", str(bank.path), "--task", f"{task}:Mine", "--n", "2", "--out", str(out)]
    result = CliRunner().invoke(command, [*arguments, "--json"], catch_exceptions=False)
    assert [cell["cell"]["change"]["preset"] for cell in json.loads(result.stdout)["cells"]] == [
        "gaussian",
        "average",
    ]
    assert [folders[0].bank.digest for folders, _ in judged] == [bank.digest] * 2
    assert {how["task"] for _, how in judged} == {f"{task}:Mine"}
    assert not (out / "banks").exists()


def test_what_decides_a_bank_cannot_vary_where_one_is_given(experiment, tmp_path):
    given = msgspec.structs.replace(experiment, bank=str(tmp_path))
    with pytest.raises(UsageError, match="k=20: k decides the bank, and one is given"):
        ablate(Grid([Cell({"k": 20})]), given, out=tmp_path / "out")
