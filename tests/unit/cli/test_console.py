"""What the console prints where."""

import json

import pytest

from pdiff.cli import console as module
from pdiff.cli.console import Console


def test_off_a_terminal_progress_is_plain_lines_on_stderr(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = iter([0.0, 1.0, 6.0, 7.0, 8.0])
    monkeypatch.setattr(module.time, "monotonic", lambda: next(now))
    with Console().track("Working", 4, "step") as tracker:
        for _ in range(3):
            tracker.advance(1, loss=0.12345)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "Working: 2/4 step, 0.3/s, 6 s left, loss 0.1235",
        "Working: 3/4 step in 8.0 s",
    ]


def test_json_silences_everything_else_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(as_json=True)
    console.say("hello")
    console.table("title", ["a"], [["b"]])
    console.message("note [not markup]")
    console.result({"x": 1})
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"x": 1}
    assert captured.err == "note [not markup]\n"


def test_tables_are_not_cut_off_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    Console().table("title", ["name", "value"], [["a rather long name of something " * 3, "1"]])
    assert "a rather long name of something " * 3 in capsys.readouterr().out
