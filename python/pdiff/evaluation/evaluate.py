"""Evaluate models: originals, generated models, their average and the baselines, through the same code."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any

import msgspec
import torch
from msgspec import Meta
from msgspec.structs import replace

from pdiff.bank import Bank
from pdiff.bank.safety import unaligned
from pdiff.common.distributed import choose_device, is_main
from pdiff.common.errors import UsageError, unknown
from pdiff.common.progress import AnyProgress, Progress, as_progress
from pdiff.common.provenance import DataKind, provenance
from pdiff.evaluation.figure_data import figure_data, training_warnings
from pdiff.evaluation.inference.compared import Predicted, predict
from pdiff.evaluation.metrics.delivered import delivered
from pdiff.evaluation.metrics.hull import geometry
from pdiff.evaluation.metrics.novelty import Measured, family_entry, measure, novelty
from pdiff.evaluation.metrics.soft_voting import vote_table
from pdiff.evaluation.metrics.weights import joined
from pdiff.evaluation.populations import Case, Compared, is_gaussian, open_case
from pdiff.evaluation.schema import AccessEntry, BankEntry, Cost, Results, RunEntry, Scale, TaskEntry, Votes
from pdiff.evaluation.verdict.advice import advice
from pdiff.evaluation.verdict.comparison import Comparison
from pdiff.evaluation.verdict.diagnostics import findings, more_errors, warnings
from pdiff.evaluation.verdict.support import supported
from pdiff.evaluation.verdict.verdict import decide, fronts
from pdiff.generation.models import Models, Source
from pdiff.tasks.base import Split, Task
from pdiff.tasks.data import SplitData

Count = Annotated[int, Meta(ge=0)]
Positive = Annotated[int, Meta(ge=1)]
Several = Annotated[int, Meta(ge=2)]


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How an evaluation is done."""

    arch: str | None = None
    """The network; the bank's own unless given, else the task's default."""
    split: Split = "test"
    batch_size: Positive = 1000
    seed: Count = 0
    """Draws the baselines and the bootstrap."""
    baselines_n: Several = 30
    """Models of each baseline."""
    data_access: DataKind | None = None
    """What baselines may use beside the bank: by default what the models' maker did."""
    gradient_evaluations: Count = 0
    """Minibatch gradients that the models took, where they do not say, and that fine-tuned baselines take."""
    reestimate: Count = 0
    """Training inputs that give each model new BatchNorm statistics; 0: 4000 where inputs may be used."""
    align: bool = False
    """Whether distances are wanted modulo the order of hidden units too, which the task has to declare."""
    replicates: Positive = 500
    """Of the bootstrap."""
    name: str | None = None
    """What the models are called: by default `p-diff` or their other generator, or the folder's name."""
    device: str | None = None
    cache: Path | None = None
    """Folder in which predictions are cached."""

    @staticmethod
    def of(values: Mapping[str, Any]) -> "Options":
        """Check options; raises `UsageError` with what is accepted."""
        for name in values:
            if name not in Options.__struct_fields__:
                raise unknown("option", name, Options.__struct_fields__)
        cache = values.get("cache")
        try:
            return msgspec.convert({**values, "cache": cache and Path(cache)}, Options, strict=False)
        except msgspec.ValidationError as error:
            raise UsageError(f"evaluate: {error}") from None


def evaluate(
    models: Source | Sequence[Source],
    *,
    bank: Bank | Path | str | None = None,
    task: Task | str | None = None,
    controls: Mapping[str, Source] | None = None,
    progress: AnyProgress = None,
    **options: Any,
) -> Results | None:
    """Evaluate models beside their bank; `report.save_report` writes the results.

    `models` are one folder or several runs of one method: what `generate` wrote, or anybody's checkpoints of
    the bank's network, then with `bank`. `controls` are the same method without the bank, by name. Every
    model is evaluated on the whole split, in its fixed order; nothing is chosen by what it shows. The task is
    the bank's own unless given; the other `options` are the fields of `Options`. Of several
    processes of a `torch.distributed` group each predicts with a share of the models, and only rank 0 returns
    results.

    Raises `InputError` for checkpoints that do not fit, `UsageError` for options that cannot work.
    """
    started, progress = perf_counter(), as_progress(progress)
    case = open_case(
        models, bank, task, controls=controls or {}, options=Options.of(options), progress=progress
    )
    predicted = predict(case, progress)
    if not is_main():
        return None
    measured = measure(case, predicted.compared)
    results = _concluded(_results(case, predicted, measured, progress), predicted)
    return replace(results, cost=_cost(case, perf_counter() - started))


def _results(case: Case, predicted: Predicted, measured: Compared[Measured], progress: Progress) -> Results:
    """Put the results together, but for findings, advice and cost."""
    options, everybody, bank = case.options, predicted.compared, case.bank
    access = _access(case, reestimated=predicted.predictor.estimates)
    front = (everybody.original, everybody.ensemble, *everybody.baselines)
    comparison = Comparison(everybody.original, everybody.runs, front)
    held_out = sorted(set.intersection(*(set(run.held_out) for run in case.runs)))
    plots = figure_data(everybody, bank, predicted.run, predicted.way)
    places = [run.place for run in measured.runs if run.place is not None]
    task, percent = case.task, case.task.metric is None or case.task.metric.percent
    scale = Scale(name=task.metric_name, higher_is_better=task.higher_is_better, percent=percent)
    return Results(
        name=case.name,
        task=TaskEntry(
            name=task.name,
            arch=case.arch,
            split=options.split,
            samples=predicted.predictor.samples,
            metric=scale,
        ),
        bank=BankEntry(
            path=str(bank.path.resolve()),
            digest=bank.digest,
            members=len(bank),
            dim=bank.dim,
            held_out=held_out,
        ),
        data_access=access,
        original=family_entry([measured.original]),
        ensemble=family_entry([measured.ensemble]),
        generated=family_entry(measured.runs),
        runs=[_run(folder, run) for folder, run in zip(case.runs, measured.runs, strict=True)],
        baselines=[family_entry([each]) for each in measured.baselines],
        controls=[family_entry([each]) for each in measured.controls],
        novelty=novelty(case, measured.original, measured.runs, places),
        geometry=geometry(bank, joined(places).products, held_out),
        delivered=delivered(case.runs, measured.runs, scale.name),
        votes=_votes(predicted, options.seed),
        verdict=decide(
            comparison, access, scale, seed=options.seed, replicates=options.replicates, progress=progress
        ),
        fronts=fronts(comparison),
        points=[point for each in measured for point in each.points(predicted.predictor.classes)],
        plots=plots,
        warnings=[
            *filter(None, [unaligned(bank)]),
            *predicted.warnings,
            *warnings(case.runs, options.split, options.baselines_n, hybrids=case.bank.manifest.base_given),
            *training_warnings(plots.training),
        ],
        cost=_cost(case, 0.0),
        provenance=provenance_entry(case, choose_device(options.device)),
    )


def _concluded(results: Results, predicted: Predicted) -> Results:
    """Add findings and advice to the verdict."""
    more, found = more_errors(predicted.compared.original, predicted.compared.runs), supported(results)
    found = replace(found, verdict=replace(found.verdict, findings=findings(found, more)))
    return replace(found, verdict=replace(found.verdict, advice=advice(found, more)))


def _access(case: Case, *, reestimated: bool) -> AccessEntry:
    """Return what baselines used: weights alone where inputs were asked for in vain."""
    kind = "weights" if case.access.kind == "inputs" and not reestimated else case.access.kind
    return replace(case.access, kind=kind, reestimated=reestimated)


def _votes(predicted: Predicted, seed: int) -> Votes | None:
    """Return what soft votes are worth, where the task has classes."""
    classes, compared = predicted.predictor.classes, predicted.compared
    if not predicted.voters or classes is None:
        return None
    gaussian = [each for each in compared.baselines if is_gaussian(each.population)]
    original, generated, draws = (
        [each.votes for each in family if each.votes is not None]
        for family in ([compared.original], compared.runs, gaussian)
    )
    return vote_table(original, generated, draws, classes, seed)


def _run(folder: Models, measured: Measured) -> RunEntry:
    """Return the entry of a folder."""
    info = None if folder.generated is None else folder.generated.info
    return RunEntry(
        path=str(folder.path.resolve()),
        seed=None if info is None else info.seed,
        run_digest="" if info is None else info.generator.digest,
        preset="" if info is None else info.generator.label,
        temperature=None if info is None else info.generator.config.get("sampler", {}).get("temperature"),
        models=family_entry([measured]),
    )


def _cost(case: Case, evaluate_s: float) -> Cost:
    """Return what a run costs once and for each model, means over runs, and what this evaluation took."""
    costs = [run.generated.info.cost for run in case.runs if run.generated is not None]
    taken = [run.access.gradient_evaluations for run in case.runs if run.access is not None]
    said = len(costs) == len(case.runs)
    return Cost(
        once_s=sum(cost.once_s for cost in costs) / len(costs) if said else None,
        per_model_s=sum(cost.per_model_s for cost in costs) / len(costs) if said else None,
        gradient_evaluations=max(taken) if said else case.options.gradient_evaluations or None,
        evaluate_s=evaluate_s,
    )


def provenance_entry(case: Case, device: torch.device) -> dict[str, Any]:
    """Return what made these numbers: versions, the seed of baselines and bootstrap, and digests."""
    data = SplitData(case.task, case.options.split).digest()
    run = case.runs[0].run if case.runs[0].generated else ""
    digests = {"bank": case.bank.digest, "run": run, "data": data}
    return {**provenance(device), "seed": case.options.seed, "digests": digests}
