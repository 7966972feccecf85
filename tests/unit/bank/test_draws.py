"""The rows of training steps, gathered ahead, are those that the steps drew before."""

import json
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch

from pdiff.bank import Bank
from pdiff.bank.stream import Draws
from pdiff.common.rng import numpy_generator
from pdiff.training import Run
from tests.support import MEMBERS
from tests.unit.training.test_training import CONV


def test_rows_are_a_function_of_the_step(bank: Bank) -> None:
    normalizer = bank.normalizer("tensor")
    for size in (4, MEMBERS + 3):

        def drawn(step: int, size: int = size) -> npt.NDArray[np.int64]:
            return numpy_generator(5, "p", step).choice(MEMBERS, size, replace=size > MEMBERS)

        draws = Draws(bank.view(range(MEMBERS)), normalizer, size, drawn, torch.device("cpu"))
        for step in (3, 4, 5, 0, 1, 1, 9):
            assert torch.equal(draws(step), bank.batch(drawn(step), normalizer))
            assert draws.waited >= 0


def test_rows_are_of_the_chosen_members_alone(bank: Bank) -> None:
    normalizer = bank.normalizer("tensor")
    chosen = bank.view([7, 2, 9])
    draws = Draws(chosen, normalizer, 2, lambda step: np.array([step % 3, -step % 3]), torch.device("cpu"))
    for step in range(3):
        assert torch.equal(draws(step), bank.batch(chosen.indices[[step % 3, -step % 3]], normalizer))


def test_the_metrics_say_how_long_steps_waited(make_run: Callable[..., Run]) -> None:
    run = make_run("paper", *CONV)
    codec, denoiser = (
        [json.loads(line) for line in (run.path / f"{stage}.metrics.jsonl").read_text().splitlines()]
        for stage in ("codec", "denoiser")
    )
    assert [line.keys() for line in codec] == [{"step", "loss", "lr", "waited"}] * 3
    assert all(0 <= line["waited"] < 60 for line in codec)
    assert all(line.keys() == {"step", "loss", "lr"} for line in denoiser)
