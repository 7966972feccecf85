"""The examples run as they are, from an empty folder to a verdict, in fewer steps."""

import json
import runpy
import shutil
from pathlib import Path

import pytest

from pdiff.report.plot import Drawing, Plot
from tests.command import pdiff

ROOT = Path(__file__).parents[2]
LAST = 12
TINY = ["--set", "train.steps=20", "--set", "denoiser.width=16", "--set", "sampler.steps=4"]

pytestmark = pytest.mark.filterwarnings("ignore")  # of other libraries


@pytest.mark.parametrize(
    ("name", "libraries", "written"),
    [
        ("plain_loop", [], "step-{:05d}.pt"),
        ("lightning_callback", ["lightning"], "step-{:05d}.ckpt"),
        ("transformers_callback", ["transformers", "accelerate"], "checkpoint-{}"),
    ],
)
def test_an_example_ends_with_a_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, libraries: list[str], written: str
) -> None:
    for library in libraries:
        pytest.importorskip(library)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Plot, "drawing", lambda plot: Drawing(plot.name, None))
    shutil.copy(ROOT / f"examples/{name}.py", tmp_path / "mine.py")
    steps = 20
    runpy.run_path("mine.py")["train"]("ckpts", steps=steps, last=LAST)
    found = {path.name for path in (tmp_path / "ckpts").iterdir()}
    assert found == {written.format(step) for step in range(steps - LAST + 1, steps + 1)}

    for command in (
        ["collect", "ckpts"],
        ["train", *TINY],
        ["generate", "--n", "3"],
        ["evaluate", "--task", "mine.py:Mine", "--baselines-n", "2"],
    ):
        done = pdiff(tmp_path, *command)
        assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "evaluation/results.json").read_text())
    assert (results["original"]["n"], results["generated"]["n"]) == (LAST, 3)
    assert results["task"]["name"] == "mine"
    verdict = results["verdict"]
    assert verdict["position"] or "checkpoints are all alike" in verdict["advice"]["unsupported"]


def test_the_page_about_them_links_to_what_is_there() -> None:
    page = (ROOT / "docs/extending.md").read_text()
    links = [part.split(")")[0] for part in page.split("](")[1:]]
    assert sum("examples/" in link for link in links) == 3
    assert all((ROOT / "docs" / link).exists() for link in links if not link.startswith("http"))
