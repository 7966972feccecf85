"""The page: well-formed, self-contained, safe, and made of the results."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from msgspec.structs import replace

from pdiff.report import REPORT, write_report
from pdiff.report.figures import worst_drawn
from pdiff.report.page import render_report
from pdiff.report.plot import stylesheet
from pdiff.report.tables import summary
from tests.unit.report.sample import RMSE, VOTE_SPREAD, changed, control, lean_results, sample_results

LEAN = {"verdict", "plane-max-similarity", "plane-gg", "strips", "similarity"}
"""The figures of lean results."""
VOID = {"meta", "link", "br", "img"}
ATTACK = "<script>alert('x')</script>\" onload=\"alert(1)"


class Reader(HTMLParser):
    """Collects elements and text; fails on tags that do not match."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert reader.open == []
    return reader


def test_is_one_well_formed_page(page: str) -> None:
    assert page.startswith('<!doctype html>\n<html lang="en">')
    elements = read(page).elements
    tags = [tag for tag, _ in elements]
    for once in ("html", "head", "body", "main", "h1", "title", "style"):
        assert tags.count(once) == 1
    ids = [attributes["id"] for _, attributes in elements if "id" in attributes]
    assert len(ids) == len(set(ids)), "ids are unique"
    referred = [a["aria-labelledby"] for _, a in elements if "aria-labelledby" in a]
    assert referred
    assert set(referred) <= set(ids)


def test_asks_the_network_for_nothing(page: str) -> None:
    without_pixels = re.sub(r'"data:image/png;base64,[^"]*"', '"#"', page)
    assert not re.search(r"https?:|//\w|@import|<script|<iframe|<object", without_pixels)
    for _, attributes in read(page).elements:
        assert "src" not in attributes
        assert (attributes.get("href") or "#").startswith(("#", "data:,", "data:image/png;base64,"))
    assert "default-src 'none'" in page
    for target in re.findall(r"url\((.*?)\)", page):
        assert target.startswith("#")


def test_references_within_figures_are_kept(page: str) -> None:
    ids = {attributes["id"] for _, attributes in read(page).elements if "id" in attributes}
    targets = set(re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', page))
    assert targets
    assert {href or url for href, url in targets} <= ids


def test_pictures_have_words(page: str) -> None:
    pictures = [attributes for tag, attributes in read(page).elements if tag == "svg"]
    assert all(
        attributes.get("aria-label") or attributes.get("aria-hidden") == "true" for attributes in pictures
    )
    assert sum("aria-label" in attributes for attributes in pictures) == 19  # 10 figures, 9 of them twice


def test_holds_the_table_and_the_verdict(page: str) -> None:
    text = " ".join(" ".join(read(page).text).split())
    for row in summary(sample_results()):
        assert " ".join(row.cells) in text
    assert "0.24 ± 0.46 points." in text
    worst = sample_results().task.metric.text(worst_drawn(sample_results()))
    assert text.count(f"8 models worse than {worst} are not drawn.") == 3
    for finding in ("Generated models are more alike than originals.", "was still falling when"):
        assert finding in text
    for fact in (
        "14 ms",
        "38.2 s",
        "2 min 7 s",
        "generation 7, baselines 5, bootstrap 5",
        "2,618 numbers",
        "0" * 64,
    ):
        assert fact in text


def test_names_are_text_and_nothing_else(undrawn: set[str]) -> None:
    undrawn |= {"strips", "parameters"}  # those with names
    changes = {
        "bank.path": ATTACK,
        "verdict.sentence": ATTACK,
        "verdict.advice.headline": ATTACK,
        "verdict.advice.command": ATTACK,
        "plots.parameters.0.name": ATTACK,
        "plots.map": None,
        "plots.missing": {"map": ATTACK},
        "warnings": [ATTACK],
    }
    results = changed(sample_results(ATTACK), changes)
    one = results.plots.parameters[:1]  # the other tensors' panels take as long again
    page = render_report(changed(results, {"plots.parameters": one}))
    reader = read(page)
    assert not any(tag == "script" or "onload" in attributes for tag, attributes in reader.elements)
    assert (
        "".join(reader.text).count(ATTACK) == 8
    )  # title, heading, advice, command, verdict, path, reason, warning
    assert reader.open == []


def test_light_dark_and_print_have_the_same_variables(page: str) -> None:
    blocks = re.findall(r":root \{(.*?)\}", page, flags=re.DOTALL)
    light, dark, _ = (set(re.findall(r"(--[\w-]+):", block)) for block in blocks)
    fonts = {"--sans", "--mono"}
    assert light - fonts == dark
    assert set(re.findall(r"var\((--[\w-]+)", page)) <= light


@pytest.mark.usefixtures("undrawn")  # figures have a test of their own
def test_the_same_results_give_the_same_bytes(tmp_path: Path, page: str) -> None:
    write_report(sample_results(), tmp_path / REPORT)
    assert (tmp_path / REPORT).read_text("utf-8") == render_report(sample_results())
    assert len(page) < 1_000_000


@pytest.mark.usefixtures("undrawn")
def test_what_is_missing_is_said() -> None:
    page = render_report(changed(lean_results(), {"verdict.at_gg": None}))
    for part in ("map", "reverse", "training"):
        assert f"Not drawn: no {part}." in page
    assert "models that vote" not in page


@pytest.mark.usefixtures("undrawn")
def test_a_bank_without_a_verdict_has_no_front_on_its_page() -> None:
    judged = lean_results()
    assert "Pareto front" in render_report(judged)
    none = {"position": None, "sentence": "", "at_max_similarity": None, "at_gg": None}
    advice = replace(judged.verdict.advice, unsupported="This bank supports no verdict.", headline="")
    changes = {f"verdict.{name}": value for name, value in none.items()} | {"verdict.advice": advice}
    page = render_report(changed(judged, changes | {"fronts.max_similarity": [], "fronts.gg": []}))
    assert "Pareto front" not in page
    assert page.count("This bank supports no verdict.") == 2
    assert all(f'id="{section}"' not in page for section in ("plane-1", "plane-2"))


@pytest.mark.usefixtures("undrawn")
def test_several_runs_have_a_table() -> None:
    results = changed(lean_results(), {"plots.training": sample_results().plots.training})
    one = " ".join(read(render_report(results)).text)
    only_first = "Of the 3 runs, the first alone."
    assert only_first not in one
    (run,) = results.runs
    runs = [
        replace(run, path=f"/data/generated-{seed}", seed=seed, run_digest=str(seed) * 64)
        for seed in range(3)
    ]
    results = changed(results, {"runs": runs})
    text = " ".join(read(render_report(results)).text)
    assert all(f"/data/generated-{seed}" in text and str(seed) * 64 in text for seed in range(3))
    assert text.count(only_first) == 1, "training curves are drawn, the way from noise is not"
    assert "generation 0 and 1 and 2, baselines 5" in text


def test_votes_have_their_spread(page: str) -> None:
    text = " ".join(" ".join(read(page).text).split())
    accuracy, nll, ece = (VOTE_SPREAD[name] for name in ("score", "nll", "ece"))
    shown = (f"± {100 * accuracy:.2f}", f"± {nll:.4f}", f"± {ece:.4f}")
    assert [text.count(each) for each in shown] == [22, 22, 22], "no mixture of one, one set of 50 of 50"
    pools = "50 of 8 generated, 60 of 30 originals, 100 Gaussian draws."
    assert f"Voters: {pools}" in text
    assert "1: mean over all 50 generated models, 60 originals and 100 Gaussian draws." in text
    assert "Others: means of 8 random sets, or of all sets where there are fewer" in text


@pytest.mark.usefixtures("undrawn")
def test_the_data_access_compared_with_is_said() -> None:
    results = lean_results()
    plain = " ".join("".join(read(render_report(results)).text).split())
    assert "on the Pareto front of the baselines that see the checkpoints’ weights alone" in plain
    asked = changed(results, {"data_access.asked": "inputs"})
    text = " ".join("".join(read(render_report(asked)).text).split())
    assert "alone; weights and unlabelled training inputs were asked for, but there was nothing" in text


@pytest.mark.usefixtures("undrawn")
def test_gradients_are_those_of_the_generator() -> None:
    counts = {"cost.gradient_evaluations": 12, "data_access.gradient_evaluations": 3456}
    page = render_report(changed(lean_results(), counts))
    assert "12 taken by the generator, 3,456 allowed to fine-tuned baselines" in page


@pytest.mark.usefixtures("undrawn")
def test_the_advice_comes_first_and_its_command_can_be_copied() -> None:
    results = changed(lean_results(), {"verdict.advice.command": "pdiff average a && echo 'b'"})
    page = render_report(results)
    reader = read(page)
    text = "".join(reader.text)
    places = [text.index(sentence) for sentence in results.verdict.advice.sentences]
    assert places == sorted(places)
    assert places[-1] < text.index(results.verdict.sentence)
    assert "pdiff average a && echo 'b'" in text
    assert ("pre", {"class": "command"}) in reader.elements
    assert "user-select: all" in page
    assert "<pre" not in render_report(changed(results, {"verdict.advice.command": ""}))


def test_the_page_speaks_in_words_of_the_field(undrawn: set[str]) -> None:
    undrawn |= LEAN
    results = changed(lean_results(), {"controls": [control(lean_results(), "one checkpoint")]})
    text = " ".join(read(render_report(results)).text).replace(stylesheet(), "").lower()
    for private in ("league", "rival", "frontier", "jury", "contest"):
        assert private not in text
    assert text.count("ensemble") == 1, "what the paper calls the average of all"


def test_the_models_are_called_as_the_evaluation_says(undrawn: set[str]) -> None:
    undrawn |= {"strips", "similarity", "votes"}
    results = changed(sample_results(), {"name": "my method"})
    page = render_report(results)
    assert "p-diff" not in page
    assert page.count("my method") >= 8, "heading, legends, table, strips, votes"


@pytest.mark.usefixtures("undrawn")
def test_what_the_makers_did_not_say_is_left_open() -> None:
    unknown = dict.fromkeys(("cost.once_s", "cost.per_model_s", "runs.0.seed", "runs.0.models.gg"))
    page = render_report(changed(lean_results(), unknown))
    assert "<dd>–</dd>" in page
    assert "generation unknown, baselines 5" in page


def test_another_metric_has_its_name_everywhere(undrawn: set[str]) -> None:
    undrawn |= LEAN
    results = changed(lean_results(), {"task.metric": RMSE, "verdict.advice.headline": ""})
    page = render_report(results)
    assert "accuracy" not in page
    assert "RMSE, lower is better" in page
    assert '<table class="summary plain">' in page


@pytest.mark.usefixtures("undrawn")
def test_the_table_of_a_metric_in_per_cent_says_so() -> None:
    assert '<table class="summary">' in render_report(lean_results())
