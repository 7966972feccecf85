"""The page: well-formed, self-contained, safe, and made of the results."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from pdiff.report import REPORT, write_report
from pdiff.report.figures import worst_drawn
from pdiff.report.page import render_report
from pdiff.report.summary import summary_rows
from pdiff.report.text import Scale
from tests.unit.report.sample import VOTE_SPREAD, lean_results, sample_results

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


@pytest.fixture(scope="module")
def page() -> str:
    return render_report(sample_results())


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
    for row in summary_rows(sample_results()):
        assert " ".join(row) in text
    assert "0.24 ± 0.46 points." in text
    worst = Scale.of(sample_results()).text(worst_drawn(sample_results()))
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


def test_names_are_text_and_nothing_else() -> None:
    results = sample_results(ATTACK)
    results["bank"]["path"] = ATTACK
    results["verdict"]["sentence"] = ATTACK
    results["plots"]["parameters"][0]["name"] = ATTACK
    results["plots"]["map"] = {"reason": ATTACK}
    results["warnings"] = [ATTACK]
    page = render_report(results)
    reader = read(page)
    assert not any(tag == "script" or "onload" in attributes for tag, attributes in reader.elements)
    assert "".join(reader.text).count(ATTACK) == 6  # title, heading, verdict, path, reason, warning
    assert reader.open == []


def test_light_dark_and_print_have_the_same_variables(page: str) -> None:
    blocks = re.findall(r":root \{(.*?)\}", page, flags=re.DOTALL)
    light, dark, _ = (set(re.findall(r"(--[\w-]+):", block)) for block in blocks)
    fonts = {"--sans", "--mono"}
    assert light - fonts == dark
    assert set(re.findall(r"var\((--[\w-]+)", page)) <= light


def test_the_same_results_give_the_same_bytes(tmp_path: Path, page: str) -> None:
    write_report(sample_results(), tmp_path / REPORT)
    assert (tmp_path / REPORT).read_text("utf-8") == page
    assert len(page) < 1_000_000


def test_what_is_missing_is_said() -> None:
    results = lean_results()
    results["verdict"]["at_gg"] = None
    page = render_report(results)
    for part in ("map", "reverse", "training"):
        assert f"Not drawn: no {part}." in page
    assert "models that vote" not in page


def test_several_runs_have_a_table() -> None:
    results = lean_results()
    results["plots"]["training"] = sample_results()["plots"]["training"]
    one = " ".join(read(render_report(results)).text)
    only_first = "Of the 3 runs, the first alone."
    assert only_first not in one
    results["runs"] = [
        results["runs"][0] | {"path": f"/data/generated-{seed}", "seed": seed, "run_digest": str(seed) * 64}
        for seed in range(3)
    ]
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
    assert f"Up to 100 models of each family vote: {pools}" in text
    assert "1: mean over all 50 generated models, 60 originals and 100 Gaussian draws." in text
    assert "Others: means of 8 random sets, or of all sets where there are fewer" in text


def test_a_league_without_anything_to_reestimate_is_not_named_alone() -> None:
    results = lean_results()
    plain = " ".join("".join(read(render_report(results)).text).split())
    assert "the frontier, league “weights only” " in plain
    results["league"]["asked"] = "inputs"
    text = " ".join("".join(read(render_report(results)).text).split())
    expected = (
        "league “weights only”, though “weights and unlabelled inputs” was asked for: there was nothing"
    )
    assert expected in text


def test_gradients_are_those_of_the_generator() -> None:
    results = lean_results()
    results["cost"]["gradient_evaluations"], results["league"]["gradient_evaluations"] = 12, 3456
    assert "12 taken by the generator, 3,456 allowed to rivals" in render_report(results)


def test_another_metric_has_its_name_everywhere() -> None:
    results = lean_results()
    results["task"]["metric"] = {"name": "RMSE", "higher_is_better": False, "percent": False}
    page = render_report(results)
    assert "accuracy" not in page
    assert "RMSE, lower is better" in page
    assert '<table class="summary plain">' in page
    assert '<table class="summary">' in render_report(lean_results())
