import json

import pytest
from click.testing import CliRunner

from pdiff.cli.reproduce import command
from pdiff.common.errors import UsageError
from pdiff.experiments import reproduce
from pdiff.experiments.reproduce import RowOutcome, chosen
from pdiff.report.plot import Drawing, Plot
from pdiff.zoo.recipes import rows
from tests.unit.report.sample import changed, lean_results


def test_rows_are_chosen_by_globs():
    assert len(chosen("table1")) == 36
    assert [row.name for row in chosen("table1", ["cifar100/resnet18"])] == ["cifar100/resnet18"]
    assert {row.task for row in chosen("table1", ["stl10/*", "pets/*"])} == {"stl10", "pets"}
    assert {row.table for row in rows()} == {
        "table1",
        "minis",
        "hyper",
        "text",
        "dense",
        "denoising",
        "small",
    }


@pytest.mark.parametrize(
    ("table", "only", "message"),
    [
        ("table2", [], "unknown table 'table2'; did you mean 'table1'"),
        ("table1", ["cifar100/resnet19"], "unknown row of table1 'cifar100/resnet19'; did you mean"),
    ],
)
def test_what_there_is_not_is_refused_with_what_is_near(table, only, message):
    with pytest.raises(UsageError, match=message):
        chosen(table, only)


def test_a_start_is_of_one_network(tmp_path):
    with pytest.raises(UsageError, match="checkpoint of one network, and 6 rows"):
        reproduce("table1", only=["pets/*"], init=tmp_path / "start.pth", out=tmp_path)


def test_a_row_runs_from_data_to_a_table_beside_the_published_figures(tmp_path, monkeypatch):
    monkeypatch.setattr(Plot, "drawing", lambda plot: Drawing(plot.name, None))
    arguments = ["small", "--only", "digits/mlp", "--smoke", "--out", str(tmp_path), "--json"]
    first = CliRunner().invoke(command, arguments, catch_exceptions=False)
    (row,) = json.loads(first.stdout)["rows"]
    assert row["row"]["task"] == "digits"
    score = row["generated"]["score"]
    assert 0 < score["mean"] <= score["max"] <= 1
    assert row["position"] is None  # six checkpoints
    assert json.loads((tmp_path / "small" / "table.json").read_text()) == [row]
    results = json.loads((tmp_path / "small" / "digits-mlp" / "evaluation" / "results.json").read_text())
    assert results["generated"]["score"]["mean"] == score["mean"]
    again = CliRunner().invoke(command, arguments[:-1], catch_exceptions=False)
    assert "digits/mlp" in again.stdout


def test_where_less_is_better_the_best_is_the_least(tmp_path):
    lower = {"task.metric.higher_is_better": False, "task.metric.percent": False}
    results = changed(lean_results(), lower)
    outcome = RowOutcome.of(tmp_path, results, row=chosen("denoising")[0])
    best = outcome.scale.best(outcome.generated.score)
    assert best == results.generated.score.min < results.generated.score.max
