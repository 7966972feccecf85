"""What the console prints where."""

import io
import json
import time

import pytest
from rich.console import Console as RichConsole
from rich.progress import Progress

from pdiff.cli.console import Console
from pdiff.common import bars, progress


class Clock:
    """A clock that stands still until it is moved."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_off_a_terminal_progress_is_plain_lines_on_stderr(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(bars.time, "monotonic", clock)
    with Console().track("Working", 100, "step", done=4) as tracker:
        for _ in range(96):
            clock.now += 2.4 if tracker._done < 50 else 0.01
            tracker.advance(1, loss=0.12345)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "Working: 17/100 steps, 2.4 s a step, 199 s left, loss 0.1235",
        "Working: 25/100 steps, 2.4 s a step, 180 s left, loss 0.1235",
        "Working: 38/100 steps, 2.4 s a step, 149 s left, loss 0.1235",
        "Working: 50/100 steps, 2.4 s a step, 120 s left, loss 0.1235",
        "Working: 100/100 steps in 111 s",
    ]


@pytest.mark.parametrize(("lasts", "lines"), [(0.0, 1), (0.5, 2)])
def test_off_a_terminal_a_step_that_is_over_soon_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, lasts: float, lines: int
) -> None:
    monkeypatch.setattr(bars, "_SHORT", 0.1)
    with Console().track("Working", 8, "step") as tracker:
        time.sleep(lasts)
        tracker.advance(8)
    said = capsys.readouterr().err.splitlines()
    assert said[:-1] == ["Working: 0/8 steps"][: lines - 1]
    assert said[-1].startswith("Working: 8/8 steps in ")


@pytest.mark.parametrize(
    ("width", "line"),
    [
        (60, "Saving files ━━──────────────────────  30/300, 2:15 left"),
        (80, "Saving files ━─────────────  30/300, 2:15 left, 2.0 checkpoints/s, 0:15 so far"),
        (
            95,
            "Saving files ━──────────────────  30/300, 2:15 left, 2.0 checkpoints/s, 0:15 so far, loss 0.5",
        ),
        (44, "Saving files ━─────────  30/300, 2:15 left"),
        (30, "Saving f…  30/300, 2:15 left"),
    ],
)
def test_on_a_narrow_terminal_the_count_and_the_time_left_stay_whole(width: int, line: str) -> None:
    clock, console = Clock(), RichConsole(width=width, file=io.StringIO())
    drawn = Progress(console=console, get_time=clock, auto_refresh=False)
    drawn.add_task("Saving files", total=300, info={"loss": 0.5, "accuracy": 0.978})
    for _ in range(30):
        clock.now += 0.5
        drawn.advance(drawn.task_ids[0])
    fitted = bars._Fitted(console, "checkpoint").render(drawn.tasks[0]).plain
    assert fitted == line
    assert len(fitted) <= width - 2


@pytest.mark.parametrize(
    ("first", "each", "total", "said"),
    [
        (
            0.0,
            11.6,
            500,
            ["Training: about 5,777 s for the 498 steps left; `--preset default` takes about 10 s"],
        ),
        (20.0, 0.1, 500, []),
        (
            20.0,
            0.5,
            1000,
            ["Training: about 496 s for the 993 steps left; `--preset default` takes about 10 s"],
        ),
        (
            193.0,
            193.0,
            50,
            ["Training: about 9,457 s for the 49 steps left; `--preset default` takes about 10 s"],
        ),
        (193.0, 0.0, 1, []),
        (0.1, 0.1, 200, []),
    ],
)
def test_long_work_is_said_to_be_long_after_its_first_steps(
    monkeypatch: pytest.MonkeyPatch, first: float, each: float, total: int, said: list[str]
) -> None:
    clock = Clock()
    monkeypatch.setattr(progress, "monotonic", clock)
    forecast = progress.Forecast("Training", "step", "`--preset default` takes about 10 s")
    lines = []
    for step in range(1, total + 1):
        clock.now += first if step == 1 else each
        lines.append(forecast.line(1, total - step))
    assert [line for line in lines if line] == said
    assert not said or lines.index(said[0]) < 8


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
