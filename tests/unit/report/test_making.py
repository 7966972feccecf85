"""Pages from files: one evaluation, several, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from pdiff.cli.report import command
from pdiff.common.artifacts import write_json
from pdiff.common.errors import InputError, UsageError
from pdiff.evaluation.schema import Results
from pdiff.report import make_report, read_results
from pdiff.report.page import _page, render_report
from tests.unit.report.sample import changed, lean_results
from tests.unit.report.test_page import ATTACK, read


def save(folder: Path, results: Results) -> Path:
    folder.mkdir(parents=True)
    write_json(folder / "results.json", results)
    return folder


@pytest.fixture
def evaluation(tmp_path: Path) -> Path:
    return save(tmp_path / "evaluation", lean_results())


@pytest.mark.usefixtures("undrawn")
def test_one_evaluation_gives_its_page_again(evaluation: Path, tmp_path: Path) -> None:
    assert make_report([evaluation], out=tmp_path / "a.html") == [tmp_path / "a.html"]
    assert make_report([evaluation / "results.json"], out=tmp_path / "new" / "b.html")
    assert (tmp_path / "a.html").read_text() == render_report(lean_results())
    assert (tmp_path / "new" / "b.html").read_bytes() == (tmp_path / "a.html").read_bytes()


@pytest.mark.usefixtures("undrawn", "coarse")
def test_figures_become_files(evaluation: Path, tmp_path: Path) -> None:
    written = make_report([evaluation], out=tmp_path / "a.html", png=tmp_path / "png")
    assert len(written) == 6
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in written[1:])
    assert sorted(path.name for path in (tmp_path / "png").iterdir()) == sorted(p.name for p in written[1:])


def test_several_are_compared(tmp_path: Path, undrawn: set[str]) -> None:
    undrawn.add("compared-gg")
    other = changed(
        lean_results("fashion"),
        {"bank.digest": "0" * 64, "verdict.position": "above", "verdict.at_gg": None},
    )
    paths = [save(tmp_path / "first", lean_results()), save(tmp_path / ATTACK.replace("/", ""), other)]
    make_report(paths, out=tmp_path / "c.html", pdf=tmp_path / "pdf")
    page = (tmp_path / "c.html").read_text()
    reader = read(page)
    text = " ".join("".join(reader.text).split())
    assert "2 evaluations" in text
    assert "Compare with care: tasks, banks differ." in text
    assert "▲ above" in text
    assert ATTACK.replace("/", "") in text
    assert not any(tag == "script" or "onload" in attributes for tag, attributes in reader.elements)
    margin = lean_results().verdict.at_max_similarity.margin
    assert text.count(f"{100 * margin:+.2f}".replace("-", "−")) >= 2
    assert sorted(path.name for path in (tmp_path / "pdf").iterdir()) == [
        "compared-gg.pdf",
        "compared-max-similarity.pdf",
    ]


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    ("access", "differ"),
    [
        ({"data_access.asked": "inputs"}, False),
        ({"data_access.kind": "inputs", "data_access.reestimated": True}, True),
    ],
)
def test_only_another_data_access_is_called_different(
    evaluation: Path, tmp_path: Path, access: dict[str, Any], differ: bool
) -> None:
    folder = save(tmp_path / "other", changed(lean_results(), access))
    make_report([evaluation, folder], out=tmp_path / "c.html")
    page = (tmp_path / "c.html").read_text()
    assert ("Compare with care: kinds of data access differ" in page) == differ


@pytest.mark.usefixtures("undrawn")
def test_folders_of_one_name_are_told_apart(tmp_path: Path) -> None:
    paths = [save(tmp_path / name / "evaluation", lean_results()) for name in "ab"]
    make_report(paths, out=tmp_path / "c.html")
    page = (tmp_path / "c.html").read_text()
    assert all(str(path) in page for path in paths)
    assert "Compare with care" not in page


def test_other_metrics_are_not_compared(evaluation: Path, tmp_path: Path) -> None:
    other = changed(lean_results(), {"task.metric.name": "mIoU"})
    with pytest.raises(UsageError, match=r"metrics differ \(accuracy, mIoU\)"):
        make_report([evaluation, save(tmp_path / "other", other)], out=tmp_path / "c.html")


@pytest.mark.usefixtures("undrawn")
def test_what_is_there_is_not_replaced_unasked(evaluation: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.html"
    out.write_text("mine")
    with pytest.raises(UsageError, match=r"a\.html: is there already"):
        make_report([evaluation], out=out)
    assert out.read_text() == "mine"
    make_report([evaluation], out=out, overwrite=True)
    assert out.read_text() != "mine"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"format": 3}, "format 3, this version reads 9; run `pdiff evaluate` again"),
        ({"format": 9, "task": {}}, r"damaged \(.*missing required field"),
        ({"format": 9, "name": 3}, r"damaged \(Expected `str`.*\$\.name"),
        ([], "not the results of an evaluation"),
        ("{", "damaged"),
    ],
)
def test_what_is_no_evaluation_is_refused(tmp_path: Path, content: Any, message: str) -> None:
    path = tmp_path / "results.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(InputError, match=message) as refusal:
        read_results(path)
    assert "\n" not in str(refusal.value)


def test_results_are_read_as_they_were_written(evaluation: Path) -> None:
    assert read_results(evaluation) == lean_results()


def test_an_empty_folder_is_no_evaluation(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no evaluation here"):
        read_results(tmp_path)


@pytest.mark.parametrize(
    ("out", "page"),
    [
        ("there", "there/report.html"),
        ("new/folder", "new/folder/report.html"),
        ("dots.in.it", "dots.in.it/report.html"),
        ("page.html", "page.html"),
        ("PAGE.HTML", "PAGE.HTML"),
        ("folder.html", "folder.html/report.html"),
        ("plain", "plain"),
        ("evaluation", "evaluation/report.html"),
    ],
)
def test_out_is_a_page_or_a_folder(tmp_path: Path, out: str, page: str) -> None:
    for folder in ("there", "folder.html", "evaluation"):
        (tmp_path / folder).mkdir()
    (tmp_path / "plain").write_text("a page of an earlier call")
    assert _page(tmp_path / out) == tmp_path / page


@pytest.mark.usefixtures("undrawn", "coarse")
def test_the_page_goes_to_a_folder_and_figures_where_they_are_asked_for(
    evaluation: Path, tmp_path: Path
) -> None:
    options = [str(evaluation), "--out", str(tmp_path / "new"), "--png", str(tmp_path / "png"), "--json"]
    found = json.loads(CliRunner().invoke(command, options, catch_exceptions=False).stdout)
    assert found["report"] == str(tmp_path / "new" / "report.html")
    assert (tmp_path / "new" / "report.html").read_text() == render_report(lean_results())
    assert [Path(figure).parent for figure in found["figures"]] == [tmp_path / "png"] * 5
    with pytest.raises(UsageError, match=r"new/report\.html: is there already"):
        make_report([evaluation], out=tmp_path / "new")


@pytest.mark.usefixtures("undrawn")
def test_the_command(evaluation: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.html"
    found = CliRunner().invoke(
        command, [str(evaluation), "--out", str(out), "--json"], catch_exceptions=False
    )
    assert json.loads(found.stdout) == {"report": str(out), "figures": []}
    assert out.read_text() == render_report(lean_results())
