"""What the page draws: against plain references, and of bounded size."""

import json
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from torch import Tensor

from pdiff.bank import Bank
from pdiff.common.config import Config
from pdiff.common.progress import SILENT, Tracker
from pdiff.evaluation.figure_data import figure_data, similarity_map
from pdiff.evaluation.figure_data.curves import training_curves, training_warnings
from pdiff.evaluation.figure_data.reverse import recorded_run, reverse
from pdiff.evaluation.figure_data.weight_space import Histograms, Projection, rounded, spread_over
from pdiff.evaluation.inference import Predictions, Predictor
from pdiff.evaluation.inference.compared import predict_population
from pdiff.evaluation.populations import Compared, Population
from pdiff.evaluation.schema import Curve, ReverseData, TrainingData
from pdiff.generation.sample import generate
from pdiff.generators.train import train
from pdiff.training import Run
from tests.support import TINY, bank_of
from tests.unit.evaluation.waves import Waves

CPU = torch.device("cpu")


def population(family: str, rows: Tensor, strength: float | None = None) -> Population:
    return Population(family, strength, len(rows), lambda indices: rows[list(indices)].clone())


def test_spread_over_keeps_both_ends() -> None:
    assert spread_over(3, 5) == [0, 1, 2]
    assert spread_over(10, 4) == [0, 3, 6, 9]
    for size, most in product(range(1, 40), range(2, 12)):
        found = spread_over(size, most)
        assert len(set(found)) == len(found) == min(size, most)
        assert (found[0], found[-1]) == (0, size - 1)
        assert found == sorted(found)


def test_the_similarity_map_is_the_iou_of_every_pair() -> None:
    generator = torch.Generator().manual_seed(0)
    wrong = torch.rand(9, 40, generator=generator) < 0.3
    found = similarity_map(wrong[:5], wrong[5:], 3)
    assert found.original == [0, 2, 4]
    assert sorted(found.generated) == [0, 1, 3]
    order = [*found.original, *(5 + index for index in found.generated)]
    for i, row in enumerate(found.rows):
        for j, level in enumerate(bytes.fromhex(row)):
            a, b = ({int(n) for n in wrong[order[k]].nonzero()} for k in (i, j))
            assert level == round(255 * len(a & b) / len(a | b))


def test_generated_models_lie_by_the_original_that_they_are_most_like() -> None:
    originals = torch.eye(4, dtype=torch.bool)
    found = similarity_map(originals, originals[[3, 1, 2, 0]], 100)
    assert found.generated == [3, 1, 2, 0]
    assert [row[:8] for row in found.rows[4:]] == ["ff000000", "00ff0000", "0000ff00", "000000ff"]


def test_the_projection_is_the_principal_components(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(1)
    rows = torch.randn(7, 5, generator=generator) * torch.tensor([5.0, 3.0, 1.0, 0.5, 0.1])
    others = torch.randn(3, 5, generator=generator)
    bank = bank_of(rows, tmp_path)
    projection = Projection(bank)
    for name, models in (("original", rows), ("generated", others)):
        projection.add(population(name, models), models.clone())
    found = projection.result()
    unit = rows.std(dim=1, correction=0).mean()  # one tensor: its std within a row, mean over rows
    centred = (rows - rows.mean(dim=0)) / unit
    _, values, directions = torch.linalg.svd(centred)
    assert found.explained == pytest.approx((values.square() / values.square().sum())[:2].tolist(), 1e-3)
    for each, models in zip(found.populations, (rows, others), strict=True):
        expected = (models - rows.mean(dim=0)) / unit @ directions[:2].T
        got = torch.tensor(each.xy)
        assert torch.allclose(got.abs(), expected.abs(), rtol=2e-3, atol=1e-3)


def test_a_bank_without_spread_in_a_second_direction_has_a_map(tmp_path: Path) -> None:
    rows = torch.tensor([[0.0, 1.0], [0.0, 2.0], [0.0, 3.0]])
    projection = Projection(bank_of(rows, tmp_path))
    projection.add(population("original", rows), rows.clone())
    found = projection.result()
    assert found.explained == pytest.approx([1, 0], abs=1e-6)
    assert all(abs(y) < 1e-4 for _, y in found.populations[0].xy)


def test_histograms_count_every_number(bank: Bank) -> None:
    generator = torch.Generator().manual_seed(2)
    rows = bank.batch(range(len(bank)))
    wide = rows[:4] + 100 * torch.randn(4, bank.dim, generator=generator)
    histograms = Histograms(bank)
    histograms.add(population("original", rows), rows[:5])
    histograms.add(population("original", rows), rows[5:])
    histograms.add(population("gaussian", wide, 1.0), wide)
    histograms.add(population("noise", wide, 1.0), wide)
    found = {each.name: each for each in histograms.result()}
    assert set(found) == {segment.name for segment in bank.layout.segments}
    for segment in bank.layout.segments:
        each = found[segment.name]
        assert each.shape == list(segment.shape)
        assert set(each.shares) == {"original", "gaussian"}
        values = rows[:, segment.begin : segment.end].flatten().numpy()
        low, high = each.edges
        assert low < values.min() <= values.max() < high
        counts, _ = np.histogram(values, bins=32, range=(low, high))
        assert each.shares["original"] == [rounded(count / values.size) for count in counts.tolist()]
        assert sum(each.shares["original"]) == pytest.approx(1, abs=1e-3)
        assert sum(each.shares["gaussian"]) < 0.9


def test_curves_are_means_over_runs_of_steps(make_run: Callable[..., Run]) -> None:
    run = make_run("default", "train.steps=250")
    lines = [json.loads(line) for line in (run.path / "denoiser.metrics.jsonl").read_text().splitlines()]
    found = training_curves(run)
    assert isinstance(found, TrainingData)
    curve = found.stages["denoiser"]
    assert (len(curve.step), curve.step[-1]) == (120, 249)
    begin = 0
    for step, loss in zip(curve.step, curve.loss, strict=True):
        part = [line["loss"] for line in lines if begin <= line["step"] <= step]
        assert loss == pytest.approx(sum(part) / len(part), rel=1e-3)
        begin = step + 1
    assert found.variance_kept == pytest.approx(run.result.facts["variance_explained"], rel=1e-3)
    (run.path / "denoiser.metrics.jsonl").write_text("nonsense")
    assert training_curves(run) == "the run's metrics are gone or cannot be read"


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        ([0.95**step for step in range(60)], "still falling"),
        ([0.5] * 60, None),
        ([abs(30 - step) + 1.0 for step in range(60)], "it diverges"),
        ([3.0, 1.0], None),
    ],
)
def test_warnings_are_what_the_curves_show(loss: list[float], said: str | None) -> None:
    curve = Curve(step=list(range(len(loss))), loss=loss)
    training = TrainingData(stages={"denoiser": curve}, variance_kept=0.99)
    warnings = training_warnings(training)
    assert [said in text for text in warnings if said] == [True] * (said is not None)
    assert len(warnings) == (said is not None)
    assert training_warnings(None) == []


def test_a_codec_that_loses_much_is_told_of() -> None:
    (text,) = training_warnings(TrainingData(stages={}, variance_kept=0.52))
    assert "keeps 52.0% of the variance" in text


@pytest.fixture
def whole(whole_bank: Bank, tmp_path: Path) -> tuple[Run, Any]:
    """A run of the waves' bank, and models drawn from it."""
    run = train(whole_bank, out=tmp_path / "run", config=Config.build("default", settings=TINY))
    return run, generate(run, n=9, seed=3, out=tmp_path / "drawn")


def test_the_way_ends_at_the_generated_models(whole: tuple[Run, Any], task: Waves) -> None:
    run, generated = whole
    predictor = Predictor(generated.bank, task, "residual")

    def scored(each: Population, tracker: Tracker) -> Tensor:
        return predict_population(each, predictor, tracker).scores()

    found = reverse(generated, run, scored, CPU, SILENT)
    rows = generated.rows()[:8]
    with SILENT.track("", 0) as tracker:
        ours = scored(population("generated", rows), tracker)
    assert isinstance(found, ReverseData)
    assert (found.n, found.progress) == (8, [0, 0.2, 0.4, 0.6, 0.8, 1])
    assert {len(values) for values in found.score.values()} == {6}
    assert found.score["mean"][-1] == rounded(float(ours.mean()))
    assert found.score["max"][-1] == rounded(float(ours.max()))


def test_a_run_that_is_gone_or_another_is_a_reason(whole: tuple[Run, Any]) -> None:
    run, generated = whole
    found = recorded_run(generated)
    assert isinstance(found, Run)
    assert found.digest == run.digest
    (run.path / "run.json").rename(run.path / "gone.json")
    reason = recorded_run(generated)
    assert isinstance(reason, str)
    assert "no run here" in reason


def test_models_drawn_from_a_bank_have_no_run(whole_bank: Bank, tmp_path: Path) -> None:
    generated = generate(whole_bank, n=2, config=Config.preset("gaussian"), out=tmp_path / "drawn")
    assert recorded_run(generated) == "the generator gaussian was fitted without a run"


def test_everything_is_plain_and_bounded(whole: tuple[Run, Any]) -> None:
    _, generated = whole
    bank = generated.bank
    rows = bank.batch([index % len(bank) for index in range(150)])
    wrong = torch.rand(150, 30, generator=torch.Generator().manual_seed(3)) < 0.4
    noise = [population("noise", rows[:9], strength) for strength in (3.0, 1.0, 2.0, 4.0)]
    noise += [population("gaussian", rows[:9], strength) for strength in (0.5, 1.0, 2.0)]
    predicted = Compared(
        Predictions(population("original", rows), wrong),
        tuple(Predictions(population("generated", rows[:60]), wrong[:60]) for _ in range(2)),
        Predictions(population("ensemble", rows[:1]), wrong[:1]),
        tuple(Predictions(each, wrong[:9]) for each in noise),
        (Predictions(population("control", rows[:9]), wrong[:9]),),
    )
    found = figure_data(predicted, bank, recorded_run(generated), "none")
    assert found.map is not None
    assert [(p.family, p.strength, len(p.xy)) for p in found.map.populations] == [
        ("original", None, 100),
        ("generated", None, 120),
        ("ensemble", None, 1),
        ("noise", 2.0, 9),
        ("gaussian", 1.0, 9),
    ]
    assert len(found.similarity.rows) == 200
    assert set(found.parameters[0].shares) == {"original", "generated", "gaussian"}
    assert found.training is not None
    assert (found.reverse, found.missing) == (None, {"reverse": "none"})
    assert len(json.dumps(msgspec.to_builtins(found), indent=1, allow_nan=False)) < 300_000
