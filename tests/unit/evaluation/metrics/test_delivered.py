"""What models were asked for beside what they have."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from pdiff.evaluation.metrics.delivered import delivered


def folder(conditions: list[dict[str, Any]], indices: list[int]) -> Any:
    return SimpleNamespace(
        generated=SimpleNamespace(info=SimpleNamespace(conditions=conditions, indices=indices))
    )


def run(scores: list[float]) -> Any:
    return SimpleNamespace(scores=torch.tensor(scores, dtype=torch.float64))


def test_the_slope_is_that_of_least_squares_over_all_runs() -> None:
    asked = [{"accuracy": 0.90}, {"accuracy": 0.95}]
    folders = [folder(asked, [0, 1, 3]), folder(asked, [0, 1])]  # the third model was left out
    scores = [[0.91, 0.93, 0.94], [0.92, 0.92]]
    found = delivered(folders, [run(each) for each in scores], "accuracy")
    assert found is not None
    x, y = np.array([0.90, 0.95, 0.95, 0.90, 0.95]), np.concatenate(scores)
    slope, intercept = np.polyfit(x, y, 1)
    assert found.slope == pytest.approx(slope)
    residual = np.sqrt(np.square(y - slope * x - intercept).sum() / 3 / np.square(x - x.mean()).sum())
    reach = 3.1824463 * residual  # the 97.5 % quantile of t with 3 degrees of freedom
    assert found.interval == pytest.approx((slope - reach, slope + reach), rel=1e-6)
    assert (found.n, found.asked) == (5, (0.90, 0.95))
    assert (found.mean_asked, found.mean) == pytest.approx((x.mean(), y.mean()))


def test_one_value_has_no_slope() -> None:
    found = delivered([folder([{"accuracy": 0.9}], [0, 1, 2])], [run([0.91, 0.92, 0.93])], "accuracy")
    assert found is not None
    assert (found.slope, found.interval, found.mean) == (None, None, pytest.approx(0.92))


@pytest.mark.parametrize("conditions", [[], [{"task": 3.0}], [{"accuracy": "high"}]])
def test_models_that_were_asked_for_no_score_are_passed_over(
    conditions: list[dict[str, Any]],
) -> None:
    assert delivered([folder(conditions, [0, 1, 2])], [run([0.9, 0.9, 0.9])], "accuracy") is None


def test_foreign_models_were_asked_for_nothing() -> None:
    foreign: Any = SimpleNamespace(generated=None)
    assert delivered([foreign], [run([0.9])], "accuracy") is None
