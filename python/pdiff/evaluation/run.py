"""`evaluate`: originals, generated models, their ensemble and the baselines, through the same code."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from pdiff.bank import Bank
from pdiff.common.distributed import is_main
from pdiff.common.errors import UsageError
from pdiff.common.progress import SILENT, Progress
from pdiff.common.wording import counted
from pdiff.evaluation.contest import Contest
from pdiff.evaluation.curves import training_warnings
from pdiff.evaluation.ensembles import vote_table
from pdiff.evaluation.entries import bank_entry, cost_entry, provenance_entry, task_entry
from pdiff.evaluation.families import League
from pdiff.evaluation.field import Field, is_gaussian, populate
from pdiff.evaluation.findings import findings
from pdiff.evaluation.harm import harm
from pdiff.evaluation.judge import Judged
from pdiff.evaluation.jury import Jury
from pdiff.evaluation.network import arch_of, groups_of, task_of
from pdiff.evaluation.plots import plots
from pdiff.evaluation.predict import Predictor
from pdiff.evaluation.results import FORMAT, parts, run_entries
from pdiff.evaluation.reverse import recorded_run, reverse
from pdiff.evaluation.rivals import rival_populations
from pdiff.evaluation.scored import Measured, Scored, score
from pdiff.evaluation.seen import seen_by
from pdiff.evaluation.space import space
from pdiff.evaluation.subjects import refuse_twice, same_bank
from pdiff.evaluation.verdict import FEW, REPLICATES, envelopes, verdict
from pdiff.evaluation.weights import weigh
from pdiff.generation import Generated
from pdiff.tasks import load_task
from pdiff.tasks.base import Metric, Permutations, Split, Task, metric_of
from pdiff.training import choose_device

__all__ = ["evaluate"]

_ENOUGH_RUNS = 5
"""Training runs whose spread is known well enough for an interval."""
_ENOUGH = 20
"""Models of a baseline whose mean is steady enough for a frontier."""


def evaluate(
    generated: Generated | Sequence[Generated],
    *,
    task: Task | str | None = None,
    arch: str | None = None,
    batch_size: int = 1000,
    split: Split = "test",
    seed: int = 0,
    baselines_n: int = 30,
    league: League | None = None,
    gradients: int = 0,
    controls: Mapping[str, Generated] | None = None,
    reestimate: int = 0,
    align: bool = False,
    replicates: int = REPLICATES,
    device: str | None = None,
    cache: Path | None = None,
    progress: Progress = SILENT,
) -> dict[str, Any]:
    """Judge generated models beside their bank and return the results (`report.save_report` writes them).

    Several folders of one bank are runs of one method, and `controls` the same method without the bank, by
    name. Every model is judged on the whole `split`, in its fixed order; nothing is chosen by what it shows.
    `task` and `arch` are the bank's own unless given. `league` says what rivals may have seen beside the
    bank: by default what the generator did; `gradients` are how many minibatches, `reestimate` how many
    training inputs give each model new BatchNorm statistics. `seed` draws the baselines, `baselines_n` models
    a point, and the `replicates` of the bootstrap. `align` asks for distances modulo the order of hidden
    units, which the task has to declare. Predictions are kept in the folder `cache`, and taken from it. Of
    several processes of a `torch.distributed` group each predicts with a share of the models, and only rank 0
    returns more than {}. The fields of the results are in `evaluation.results`.

    Raises `InputError` if the network does not take the checkpoints or a generated value is not finite,
    `UsageError` for options that cannot work.
    """
    started = perf_counter()
    runs = [generated] if isinstance(generated, Generated) else list(generated)
    bank = same_bank(runs)
    refuse_twice([*runs, *(controls or {}).values()])
    task = load_task(task) if isinstance(task, str) else task or task_of(bank)
    arch = arch_of(bank, task, arch)
    groups = groups_of(bank, task, arch) if align else ()
    if baselines_n < 2 or len(bank) < 2:
        raise UsageError(f"{baselines_n} baselines of a bank of {len(bank)}: at least 2 of each are wanted")
    seen = seen_by(runs, league, gradients, reestimate)
    options: dict[str, Any] = {"batch_size": batch_size, "device": choose_device(device), "store": cache}
    jury = Jury(bank, task, arch, split, reestimate=seen.inputs, say=progress.message, **options)
    voters = jury.voters(sum(map(len, runs)))
    rivals = rival_populations(bank, task, arch, size=baselines_n, seed=seed, gradients=seen.gradients)
    field = populate(runs, bank, controls or {}, rivals, size=baselines_n, voters=voters, seed=seed)
    judged, selected = jury.judge(field, voters, seed, progress)
    if jury.reestimates:
        plain = Predictor(bank, task, arch, split=split, cache_bytes=0, **options)
        harmed = harm(judged.original, plain, task, seen.inputs, progress)
        jury.warnings += [harmed] if harmed else []
    run = recorded_run(runs[0])
    if isinstance(run, str):
        progress.message(f"Training and the way from noise are left out: {run}")
    way = reverse(runs[0], run, jury.predictor, options["device"], progress)
    if not is_main():
        return {}
    kept = [run.info.held_out for run in runs]
    scored = _scored(judged, bank, kept[0], groups)
    results = {
        "format": FORMAT,
        "task": task_entry(task, arch, split, jury.samples),
        "bank": bank_entry(bank, kept),
        "league": seen.entry(jury.reestimates),
        **parts(scored, selected),
        "runs": run_entries(runs, scored.runs),
        "votes": _votes(judged, task.data(split)[1], seed) if voters else None,
        "warnings": [*jury.warnings, *_warnings(runs, split, baselines_n)],
        "provenance": provenance_entry(
            runs, task, split, seed=seed, baselines_n=baselines_n, device=options["device"]
        ),
    }
    place = space(bank, scored.original, scored.runs, kept)
    results["novelty"]["z_u"], results["geometry"] = place["z_u"], place["geometry"]
    drawn = {"seed": seed, "replicates": replicates, "progress": progress}
    results |= _verdict(results, judged, metric_of(task), **drawn)
    results["plots"] = plots(judged, bank, run, way)
    results["warnings"] += training_warnings(results["plots"]["training"])
    return results | {"cost": cost_entry(runs, perf_counter() - started)}


def _scored(judged: Field[Judged], bank: Bank, kept: tuple[int, ...], groups: Permutations) -> Field[Scored]:
    """Weigh everybody and compare with the bank's members; distances are of originals and generated models.

    The originals are weighed beside the members that the first run learned from.
    """

    def weighed(each: Judged) -> Measured:
        ours = any(each is run for run in judged.runs)
        distances = ours or each is judged.original
        align = groups if ours and groups else None
        return each, weigh(each.population, bank, distances=distances, held_out=kept, align=align)

    measured = judged.map(weighed)
    return measured.map(lambda each: score(each, measured.original))


def _verdict(
    results: Mapping[str, Any],
    judged: Field[Judged],
    metric: Metric | None,
    **options: Any,
) -> dict[str, Any]:
    """Return verdict, with its findings, and envelopes."""
    contest = Contest(judged.original, judged.runs, judged.rivals)
    errors = torch.cat([run.wrong for run in judged.runs]).double().mean()
    more_errors = float(errors / judged.original.wrong.double().mean().clamp(min=1e-12))
    league = results["league"]
    found = verdict(contest, league=league["name"], asked=league["asked"], metric=metric, **options)
    return {
        "verdict": found | {"findings": findings({**results, "verdict": found}, more_errors)},
        "envelopes": envelopes(contest),
    }


def _votes(judged: Field[Judged], targets: Tensor, seed: int) -> dict[str, Any]:
    """Return the table of soft votes."""
    gaussian = [each for each in judged.baselines if is_gaussian(each.population)]
    original, generated, draws = (
        [each.votes for each in family if each.votes is not None]
        for family in ([judged.original], judged.runs, gaussian)
    )
    return vote_table(original, generated, draws, targets, seed)


def _warnings(runs: Sequence[Generated], split: Split, baselines_n: int) -> list[str]:
    """Return what a reader of the intervals should know, in sentences."""
    found = []
    if len({run.info.run.digest for run in runs}) == 1:
        found.append(
            "One training run: the intervals are over test samples and models, not over trainings of the "
            "generator. Give several generated folders for that."
        )
    elif len(runs) < _ENOUGH_RUNS:
        found.append(
            f"{len(runs)} training runs: an interval over so few is too narrow, of two runs most of all."
        )
    if (fewest := min(map(len, runs))) < FEW:
        found.append(
            f"Only {counted(fewest, 'generated model')}: intervals over so few are too narrow, and findings "
            f"are no more than hints. Generate {FEW} or more, better 50."
        )
    if baselines_n < _ENOUGH:
        found.append(
            f"Only {baselines_n} models of each baseline: the frontier, a maximum over means, is then set "
            "too high, and what is on it can look below it."
        )
    if split != "test":
        found.append(f"Judged on the {split} split: what was tuned there looks better than it is.")
    return found
