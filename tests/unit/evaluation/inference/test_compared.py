"""Everybody is predicted with alike; who votes, and who is selected on validation."""

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from pdiff.bank import Bank
from pdiff.common.progress import SILENT
from pdiff.evaluation.evaluate import Options
from pdiff.evaluation.inference import Predictor, compared
from pdiff.evaluation.inference.compared import (
    POOL,
    _voting,
    has_validation,
    predict,
    predict_compared,
    vote_limit,
)
from pdiff.evaluation.populations import Case, Compared, Population, open_case
from pdiff.tasks.base import Data, Split
from tests.unit.evaluation.waves import MEMBERS, SAMPLES, Waves


class NoValidation(Waves):
    def data(self, split: Split) -> Data:
        inputs, targets = super().data(split)
        return (inputs[:0], targets[:0]) if split == "validation" else (inputs, targets)


class Batched(Waves):
    def data(self, split: Split) -> Data:
        return [super().data(split)]


def everybody(bank: Bank) -> Compared[Population]:
    """Two runs of the bank's members, some of them as everything else."""
    rows = bank.batch
    return Compared(
        Population("original", None, MEMBERS, rows),
        (Population("generated", None, 3, rows), Population("generated", None, 2, rows, run=1)),
        Population("ensemble", None, 1, rows),
        (Population("gaussian", 1.0, 4, rows), Population("gaussian", 2.0, 4, rows)),
        (Population("other", None, 2, rows),),
    )


def test_everybody_is_predicted_with_and_the_best_selected(norm_bank: Bank, task: Waves) -> None:
    predictor, validating = (Predictor(norm_bank, task, "residual", split=s) for s in ("test", "validation"))
    found = predict_compared(everybody(norm_bank), predictor, validating, voters=3, seed=0, progress=SILENT)
    wrong = predictor.wrong(norm_bank.batch(range(MEMBERS)))
    for each in found.compared:
        assert torch.equal(each.wrong, wrong[: each.population.size])
    votes = [0 if each.votes is None else len(each.votes) for each in found.compared]
    assert votes == [3, 0, 2, 1, 3, 0, 0]
    validation = validation_scores(norm_bank, task)
    for each in (found.compared.original, *found.compared.runs):
        assert each.validation is not None
        assert torch.allclose(each.validation, validation[: each.population.size])
    assert found.compared.ensemble.validation is None
    assert [list(each.voters) for each in found.compared.runs] == [[0, 1], [0]]


def validation_scores(bank: Bank, task: Waves) -> Tensor:
    """Accuracies of the members on validation."""
    inputs, targets = Waves.data(task, "validation")
    network, found = task.build("residual").eval(), []
    for row in bank.batch(range(MEMBERS)):
        network.load_state_dict(bank.state_dict(row))
        with torch.inference_mode():
            found.append((network(inputs.clone()).argmax(1) == targets).double().mean())
    return torch.stack(found)


def case(bank: Bank, task: Waves, options: Options) -> Case:
    """The first members once more, as the bank's own models."""
    folder = bank.path.parent / f"models-{options.split}"
    folder.mkdir()
    for index, row in enumerate(bank.batch(range(2))):
        save_file(bank.state_dict(row), folder / f"{index}.safetensors")
    return open_case(folder, bank, task, controls={}, options=options, progress=SILENT)


def test_nothing_is_selected_without_validation_or_on_it(norm_bank: Bank, task: Waves) -> None:
    assert [has_validation(each) for each in (task, Batched(), NoValidation())] == [True, True, False]
    for own, split in ((NoValidation(), "test"), (task, "validation")):
        options = Options(split=split, device="cpu", baselines_n=2)  # type: ignore[arg-type]
        found = predict(case(norm_bank, own, options), SILENT)
        assert found.compared.original.validation is None
        assert all(each.validation is None for each in found.compared.runs)


def test_a_family_votes_with_no_more_models_than_the_pool_holds(norm_bank: Bank) -> None:
    def population(family: str, size: int, run: int = 0, strength: float | None = None) -> Population:
        return Population(family, strength, size, norm_bank.batch, run=run)

    draws = (population("gaussian", 130, strength=1.0), population("gaussian", 30, strength=2.0))
    for sizes, expected in (((4, 200), [4, 96]), ((60, 60), [50, 50]), ((3, 5, 1), [3, 5, 1])):
        runs = tuple(population("generated", size, run) for run, size in enumerate(sizes))
        all_of_them = Compared(population("original", 300), runs, population("ensemble", 1), draws, ())
        vote = _voting(all_of_them, POOL, seed=0)
        assert [list(vote(run)) for run in runs] == [list(range(size)) for size in expected]
        assert [len(vote(each)) for each in draws] == [POOL, 0]
        assert len(set(vote(all_of_them.original))) == POOL
        assert max(vote(all_of_them.original)) > POOL, "drawn from all, not the first"
        assert vote(all_of_them.original) == _voting(all_of_them, POOL, seed=0)(all_of_them.original)
        assert list(vote(all_of_them.ensemble)) == []


def test_votes_are_left_out_where_they_need_too_much_memory(
    norm_bank: Bank, task: Waves, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = Predictor(norm_bank, task, "residual")
    needed = (MEMBERS + 5 + POOL) * SAMPLES * 3 * 4
    for budget, voters in ((needed, POOL), (needed - 1, 0)):
        monkeypatch.setattr(compared, "BUDGET", budget)
        warnings: list[str] = []
        assert vote_limit(predictor, MEMBERS, 5, warnings.append) == voters
        assert bool(warnings) == (not voters)
    assert warnings[0].startswith("Soft votes are left out: their probabilities would need 0.0 GiB")
