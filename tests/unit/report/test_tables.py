"""The table and the figures' words."""

import csv
from io import StringIO

import pytest
from msgspec.structs import replace

from pdiff.evaluation.schema import ZU, Fronts, Hull, Nearest, Scale
from pdiff.report.page import duration
from pdiff.report.tables import COLUMNS, measures, number, scores_csv, summary, terminal_table
from tests.unit.report.sample import FAMILIES, RMSE, changed, control, sample_results


def test_the_table_as_text() -> None:
    results = sample_results()
    header, rows, *left_out = terminal_table(results, 200, everything=True)
    assert (header, left_out) == (COLUMNS, [0, ()])
    assert [row[0] for row in rows[:4]] == ["original", "average of all", "p-diff", "noise σ 0.013"]
    assert len(rows) == len(FAMILIES)
    mean = results.ensemble.score.mean
    assert rows[1][:4] == ("average of all", "1", f"{100 * mean:.2f}", "–")
    assert rows[2][1] == "8"
    assert rows[2][7:9] == (number(results.generated.max_similarity, 3), "0.930")
    assert rows[2][10:] == ("0.83", "")
    assert all(len(row) == len(header) for row in rows)


@pytest.mark.parametrize("width", [60, 80, 100, 140])
@pytest.mark.parametrize("everything", [False, True])
def test_a_narrow_terminal_gets_fewer_columns_and_whole_cells(width: int, everything: bool) -> None:
    full = terminal_table(sample_results(), 200, everything=everything)
    found = terminal_table(sample_results(), width, everything=everything)
    assert found.header[0] == "models"
    assert {"mean", "max-similarity"} < set(found.header)
    assert set(found.header) | set(found.columns) == set(COLUMNS)
    kept = [COLUMNS.index(name) for name in found.header]
    assert found.rows == [tuple(row[column] for column in kept) for row in full.rows]
    longest = [max(map(len, column)) for column in zip(found.header, *found.rows, strict=True)]
    assert sum(longest) + 2 * len(longest) <= width


def test_the_short_table_has_what_the_verdict_is_about() -> None:
    results = sample_results()
    found = terminal_table(results, 200)
    names = [row[0] for row in found.rows]
    assert names[:3] == ["original", "average of all", "p-diff"]
    best = max(results.baselines, key=lambda each: each.score.mean)
    assert summary(results)[3 + results.baselines.index(best)].cells[0] in names
    assert len(names) <= 7
    assert found.families == len(FAMILIES) - len(names)
    controlled = changed(results, {"controls": [control(results, "one checkpoint")]})
    assert terminal_table(controlled, 200).rows[-1][0] == "one checkpoint", "controls were asked for"


def test_every_file_has_a_line_of_scores() -> None:
    results = sample_results()
    lines = list(csv.DictReader(StringIO(scores_csv(results))))
    assert len(lines) == results.original.n + results.generated.n
    ours = [line for line in lines if line["family"] == "generated"]
    points = [point for point in results.points if point.family == "generated"]
    assert [line["file"] for line in ours] == [point.file for point in points]
    assert [float(line["accuracy"]) for line in ours] == pytest.approx([point.score for point in points])
    assert [line["selected"] for line in ours] == ["yes"] + [""] * (len(ours) - 1)
    assert {line["nll"] for line in lines if line["family"] == "original"} == {""}


def test_a_row_stands_for_an_entry() -> None:
    results = sample_results()
    entries = [row.entry for row in summary(results)]
    assert entries == [results.original, results.ensemble, results.generated, *results.baselines]
    ours = summary(results)[2]
    assert ours.cells[6] == results.task.metric.bare(ours.entry.best.test if ours.entry.best else None)
    assert summary(results)[1].cells[3:7] == ("–", "–", "–", "–"), "of one model the mean says all"


def test_without_a_verdict_there_is_no_front() -> None:
    judged = sample_results()
    results = changed(judged, {"verdict.position": None, "fronts.max_similarity": [], "fronts.gg": []})
    header, rows, *_ = terminal_table(results, 1000, everything=True)
    assert header == COLUMNS[:-1]
    assert [row.cells for row in summary(results)] == [row.cells[:-1] for row in summary(judged)] == rows
    assert terminal_table(results, 60).columns == terminal_table(judged, 60).columns[:-1]
    families = [row.entry.family for row in summary(results)]
    assert len(terminal_table(results, 1000).rows) < len(families), "the best baseline stands for all"


def test_controls_have_rows() -> None:
    results = changed(sample_results(), {"controls": [control(sample_results(), "one checkpoint")]})
    row = summary(results)[-1]
    assert (row.cells[:2], row.cells[8], row.cells[-1]) == (("one checkpoint", "8"), "0.250", "")


def test_spreads_of_other_metrics_take_little_room() -> None:
    scores = {"original.score.mean": 0.0123456, "original.score.std": 0.000123456}
    results = changed(sample_results(), {"task.metric": RMSE, **scores})
    assert summary(results)[0].cells[2:4] == ("0.01235", "0.00012")


def test_the_front_is_where_no_mixture_is_better() -> None:
    places = ((0.2, 0.5), (0.4, 0.7), (0.6, 0.9))
    baselines = [
        replace(each, score=replace(each.score, mean=score), max_similarity=at, gg=at)
        for each, (at, score) in zip(sample_results().baselines, places, strict=False)
    ]
    fronts = Fronts(max_similarity=[(0.2, 0.5), (0.6, 0.9)], gg=[(0.2, 0.6), (0.6, 0.9)])
    results = changed(sample_results(), {"baselines": baselines, "fronts": fronts})
    assert [row.cells[-1] for row in summary(results)[3:]] == ["MS", "MS", "MS, GG"]
    results = changed(results, {"baselines.1.gg": None, "baselines.0.score.mean": 0.4})
    assert [row.cells[-1] for row in summary(results)[3:]] == ["", "MS", "MS, GG"]


def test_the_generated_models_are_called_as_the_evaluation_says() -> None:
    assert summary(changed(sample_results(), {"name": "mine"}))[2].cells[0] == "mine"


def test_measures_stand_beside_the_originals() -> None:
    results = sample_results()
    novelty = results.novelty
    oo, nearest = number(results.original.gg, 3), number(results.original.max_similarity, 3)
    texts = {measure.name: (measure.value, measure.reference) for measure in measures(results)}
    assert texts == {
        "Max-similarity": (number(results.generated.max_similarity, 3), f"originals {nearest}"),
        "Containment": ("0.930", "originals 0.951"),
        "Similarity within (GG)": (number(results.generated.gg, 3), f"originals (OO) {oo}"),
        "Nearest generated": ("0.884", f"originals {nearest}"),
        "Distinct models": (
            f"{novelty.distinct}",
            f"of 8 generated; originals {novelty.distinct_original} of 30",
        ),
        "Similarity across (OG)": (number(novelty.og, 3), f"originals (OO) {oo}"),
        "Dispersion": ("0.83", "originals 1 by definition"),
        "Distance to the bank": ("3.21", "originals 1.92"),
        "Raw distance": ("0.32", "originals 0.19"),
        "Copying (Z_U)": ("–", ""),
        "Segments": ("0.940", "originals 0.870"),
    }


def test_copying_and_alignment_where_they_were_measured() -> None:
    results = sample_results()
    copying = ZU(value=-0.5, generated=8, held_out=3)
    aligned = Nearest(mean=2.0, min=1.0)
    results = changed(results, {"novelty.z_u": copying, "novelty.l2_nearest_aligned": aligned})
    found = {measure.name: measure for measure in measures(results)}
    assert found["Copying (Z_U)"].value == "-0.50"
    assert found["Copying (Z_U)"].reference == "8 generated against 3 held out"
    assert "above 0 says nothing about a bank of one trajectory" in found["Copying (Z_U)"].meaning
    assert found["Aligned distance"].value == "2"


def test_off_the_hull_where_there_is_one() -> None:
    results = sample_results()
    hull = Hull(generated=0.5, held_out=0.75)
    results = changed(results, {"geometry.affine_hull": hull})
    found = {measure.name: measure for measure in measures(results)}["Off the hull"]
    assert (found.value, found.reference) == ("0.500", "held-out members 0.750")
    results = changed(results, {"geometry.affine_hull.held_out": None})
    found = {measure.name: measure for measure in measures(results)}["Off the hull"]
    assert found.reference == ""


def test_what_one_model_does_not_define_is_a_dash() -> None:
    results = sample_results()
    undefined = dict.fromkeys(("generated.gg", "novelty.gg_nearest", "generated.dispersion"))
    results = changed(results, undefined)
    dashes = [measure.name for measure in measures(results) if measure.value == "–"]
    assert dashes == ["Similarity within (GG)", "Nearest generated", "Dispersion", "Copying (Z_U)"]
    assert summary(results)[2].cells[9:11] == ("–", "–")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.00042, "0.42 ms"),
        (0.0034, "3.4 ms"),
        (0.014, "14 ms"),
        (0.9996, "1.0 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min 0 s"),
        (307, "5 min 7 s"),
        (7384, "2 h 3 min"),
    ],
)
def test_durations_have_a_unit(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_numbers() -> None:
    assert (number(0.5, 3), number(None, 3)) == ("0.500", "–")


def test_scores_are_written_in_the_metrics_unit() -> None:
    accuracy, error = Scale(name="accuracy", higher_is_better=True, percent=True), RMSE
    assert (accuracy.text(0.97126), accuracy.bare(0.97126), accuracy.difference(0.0024)) == (
        "97.13%",
        "97.13",
        "+0.24",
    )
    assert (error.text(12.3456), error.bare(0.5), error.difference(-0.25)) == ("12.35", "0.5", "−0.25")
    wide = (123456, 0.0000123456, -0.00123456, 1.5e-12)
    assert [error.bare(score) for score in wide] == ["1.235e5", "1.235e-5", "-0.001235", "1.5e-12"]
    assert (error.bare(0.0123456, 2), accuracy.bare(0.0123456, 2)) == ("0.012", "1.23")
    assert (accuracy.text(None), accuracy.drawn(0.5), error.drawn(0.5)) == ("–", 50, 0.5)
    assert (accuracy.axis, error.axis) == ("accuracy (%)", "RMSE, lower is better")
    assert (accuracy.points, error.points) == ("points", "RMSE")
    assert accuracy.better(0.9, 0.8)
    assert not error.better(0.9, 0.8)
