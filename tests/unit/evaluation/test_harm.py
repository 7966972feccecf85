"""Re-estimation that makes originals much worse is said, in whatever unit; what is judged for that."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pdiff.bank import Bank
from pdiff.common.progress import SILENT
from pdiff.evaluation import evaluate
from pdiff.evaluation.families import Population
from pdiff.evaluation.harm import LOOKED_AT, MUCH, harm
from pdiff.evaluation.judge import Judged, judge
from pdiff.evaluation.predict import Predictor
from pdiff.generation import Generated
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


def originals(bank: Bank, task: Waves, factor: float) -> tuple[Judged, Predictor]:
    """The members with scores that new statistics changed by a factor, and who judges them as they are."""
    plain = Predictor(bank, task, "residual")
    with SILENT.track("", 1, "") as tracker:
        judged = judge(Population("original", None, len(bank), bank.batch), plain, tracker)
    assert judged.measured is not None
    measured = judged.measured * factor
    return Judged(judged.population, judged.wrong, judged.metric, measured), plain


@pytest.mark.parametrize("sign", [-1, 1])
def test_what_is_much_worse_hangs_on_the_score_in_either_direction(norm_bank: Bank, sign: int) -> None:
    task = Distances(sign)
    for factor, told in ((1 + 1.01 * MUCH, True), (1 + 0.99 * MUCH, False), (1.0, False), (0.5, False)):
        judged, plain = originals(norm_bank, task, factor)
        before = float(judged.scores().mean()) / factor
        found = harm(judged, plain, task, 3, SILENT)
        assert (found is not None) == told
        if found is not None:
            numbers = f"from distance {before:.4g} to distance {factor * before:.4g}. All"
            assert f"of 3 training inputs the mean of {MEMBERS} originals goes {numbers}" in found


def test_accuracy_has_both_numbers_and_the_inputs_that_there_were(norm_bank: Bank, task: Waves) -> None:
    plain = Predictor(norm_bank, task, "residual")
    right = float(plain.correctness(norm_bank.batch(range(MEMBERS))).double().mean())
    everything = Population("original", None, MEMBERS, norm_bank.batch)
    nothing = Judged(everything, torch.ones(MEMBERS, SAMPLES, dtype=torch.bool))
    found = harm(nothing, plain, task, 10**6, SILENT)
    assert found is not None
    assert f"{SAMPLES} training inputs" in found, "more there were not"
    assert f"from accuracy {right:.2%} to accuracy 0.00%." in found
    found = harm(nothing, plain, task, 1, SILENT)
    assert found is not None
    assert "of 1 training input the mean" in found


def test_a_few_evenly_spaced_originals_are_judged_and_kept(
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
    judged = Judged(Population("original", None, 22, rows), wrong)
    for computed in (LOOKED_AT, 0):
        plain = Predictor(bank, task, "residual", store=tmp_path / "cache")
        found = harm(judged, plain, task, 1, SILENT)
        assert found is not None
        assert "the mean of 8 originals" in found
        assert "to accuracy 0.00%" in found
        assert plain.computed == computed
    assert asked == chosen + chosen


def test_it_is_said_on_the_page_and_only_looked_for_with_new_statistics(
    norm_bank: Bank, task: Waves, save_generated: Callable[..., Generated], monkeypatch: pytest.MonkeyPatch
) -> None:
    generated = save_generated(norm_bank, norm_bank.batch([0, 1]))
    quick: dict[str, Any] = {"task": task, "arch": "residual", "baselines_n": 2, "replicates": 2}
    monkeypatch.setattr("pdiff.evaluation.harm.MUCH", -10.0)
    results = evaluate(generated, reestimate=20, **quick)
    monkeypatch.setattr("pdiff.evaluation.run.harm", None)  # is not called again
    plain = evaluate(generated, **quick)
    before, after = plain["original"]["mean"], results["original"]["mean"]
    assert results["warnings"][0].startswith(
        "Re-estimation does harm: with BatchNorm statistics of 20 training inputs the mean of 6 originals "
        f"goes from accuracy {before:.2%} to accuracy {after:.2%}."
    )
    assert not any("harm" in warning for warning in plain["warnings"])
