"""The table and the figures' words."""

import pytest

from pdiff.report import summary_rows
from pdiff.report.measures import measures
from pdiff.report.summary import COLUMNS, summary
from pdiff.report.text import duration, number, percent
from tests.unit.report.sample import sample_results


def test_the_table_as_text() -> None:
    header, *rows = summary_rows(sample_results())
    assert header == COLUMNS
    assert [row[0] for row in rows] == [
        *("original", "ensemble", "p-diff", "noise σ 0.013", "noise σ 0.026", "noise σ 0.052"),
        *("average of 16", "Gaussian ×1"),
    ]
    assert rows[1] == ("ensemble", "1", "97.34", "97.34", "97.34", "0.00", "0.893", "–")
    assert rows[2][1] == "8"
    assert rows[2][6:] == ("0.872", "0.83")
    assert all(len(row) == len(header) for row in rows)


def test_the_table_as_numbers() -> None:
    results = sample_results()
    original, ensemble, ours, *baselines = summary(results)
    assert (original.mean, original.max_similarity, original.dispersion) == (
        results["original"]["mean"],
        0.905,
        1,
    )
    assert ensemble.dispersion is None
    assert (ours.best, ours.min, ours.std) == tuple(
        results["generated"][key] for key in ("best", "min", "std")
    )
    assert [(b.family, b.n, b.mean) for b in baselines] == [
        (b["family"], b["n"], b["accuracy"]["mean"]) for b in results["baselines"]
    ]


def test_measures_stand_beside_the_originals() -> None:
    texts = {measure.name: (measure.value, measure.reference) for measure in measures(sample_results())}
    assert texts == {
        "Max-similarity": ("0.872", "originals 0.905"),
        "Containment": ("0.930", "originals 0.951"),
        "Similarity within (GG)": ("0.802", "originals (OO) 0.742"),
        "Nearest generated": ("0.884", "originals 0.905"),
        "Distinct models": ("3", "of 8 generated"),
        "Similarity across (OG)": ("0.768", "originals (OO) 0.742"),
        "Dispersion": ("0.83", "originals 1 by definition"),
        "Distance to the bank": ("3.21", "originals 1.92"),
    }


def test_what_one_model_does_not_define_is_a_dash() -> None:
    results = sample_results()
    results["novelty"] |= {"gg": None, "gg_nearest": None, "dispersion": None}
    dashes = [measure.name for measure in measures(results) if measure.value == "–"]
    assert dashes == ["Similarity within (GG)", "Nearest generated", "Dispersion"]
    assert summary(results)[2].cells[-1] == "–"


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
    assert (percent(0.97126), number(0.5, 3), number(None, 3)) == ("97.13%", "0.500", "–")
