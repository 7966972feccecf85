"""Re-estimation that makes originals much worse is said, in whatever unit; what is predictions for that."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pdiff.bank import Bank
from pdiff.common.progress import SILENT
from pdiff.evaluation.inference import Predictions, Predictor
from pdiff.evaluation.inference.compared import MUCH, SUBSAMPLE, batch_norm_warning, predict_population
from pdiff.evaluation.populations import Population
from pdiff.tasks.base import Metric
from tests.unit.evaluation.waves import MEMBERS, NORMS, SAMPLES, Residual, Waves, save_bank


def distance(sign: int) -> Metric:
    """A measure without bounds, positive where less is better and negative where more is."""
    return Metric(
        *("distance", sign > 0, False),
        lambda outputs, targets: -sign * (10 + outputs.gather(1, targets[:, None]).square()),
        lambda measured: float(measured.double().mean()),
    )


class Distances(Waves):
    def __init__(self, sign: int) -> None:
        self.metric = distance(sign)


def originals(bank: Bank, task: Waves, factor: float) -> tuple[Predictions, Predictor]:
    """The members with scores that new statistics changed by a factor, and a plain predictor."""
    plain = Predictor(bank, task, "residual")
    with SILENT.track("", 1, "") as tracker:
        predictions = predict_population(Population("original", None, len(bank), bank.batch), plain, tracker)
    assert predictions.measured is not None
    measured = predictions.measured * factor
    return Predictions(predictions.population, predictions.wrong, 1, predictions.metric, measured), plain


@pytest.mark.parametrize("sign", [-1, 1])
def test_what_is_much_worse_hangs_on_the_score_in_either_direction(norm_bank: Bank, sign: int) -> None:
    task = Distances(sign)
    for factor, told in ((1 + 1.01 * MUCH, True), (1 + 0.99 * MUCH, False), (1.0, False), (0.5, False)):
        predictions, plain = originals(norm_bank, task, factor)
        before = float(predictions.scores().mean()) / factor
        found = batch_norm_warning(predictions, plain, task, 3, SILENT)
        assert (found is not None) == told
        if found is not None:
            numbers = f"from distance {before:.4g} to distance {factor * before:.4g}. All"
            assert f"of 3 training inputs the mean of {MEMBERS} originals goes {numbers}" in found


def test_accuracy_has_both_numbers_and_the_inputs_that_there_were(norm_bank: Bank, task: Waves) -> None:
    plain = Predictor(norm_bank, task, "residual")
    right = 1 - float(plain.wrong(norm_bank.batch(range(MEMBERS))).double().mean())
    everything = Population("original", None, MEMBERS, norm_bank.batch)
    nothing = Predictions(everything, torch.ones(MEMBERS, SAMPLES, dtype=torch.bool))
    found = batch_norm_warning(nothing, plain, task, 10**6, SILENT)
    assert found is not None
    assert f"{SAMPLES} training inputs" in found, "more there were not"
    assert f"from accuracy {right:.2%} to accuracy 0.00%." in found
    found = batch_norm_warning(nothing, plain, task, 1, SILENT)
    assert found is not None
    assert "of 1 training input the mean" in found


def test_a_few_evenly_spaced_originals_are_run_and_cached(
    tmp_path: Path, network: Residual, task: Waves
) -> None:
    bank = save_bank(tmp_path, network, NORMS, members=22)
    asked: list[int] = []

    def rows(indices: Sequence[int]) -> Tensor:
        asked.extend(indices)
        return bank.batch(indices)

    chosen = [0, 3, 6, 9, 12, 15, 18, 21]
    wrong = torch.zeros(22, SAMPLES, dtype=torch.bool)
    wrong[chosen] = True  # the others are perfect, and nobody looks at them
    predictions = Predictions(Population("original", None, 22, rows), wrong)
    for computed in (SUBSAMPLE, 0):
        plain = Predictor(bank, task, "residual", cache=tmp_path / "cache")
        found = batch_norm_warning(predictions, plain, task, 1, SILENT)
        assert found is not None
        assert "the mean of 8 originals" in found
        assert "to accuracy 0.00%" in found
        assert plain.computed == computed
    assert asked == chosen + chosen
