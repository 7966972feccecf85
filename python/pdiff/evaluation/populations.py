"""Open whom one evaluation compares: originals, generated models, controls and baselines."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from torch import Tensor

from pdiff.bank import Bank, View
from pdiff.common.config import AverageConfig, Config
from pdiff.common.errors import UsageError
from pdiff.common.progress import Progress
from pdiff.common.provenance import DataKind
from pdiff.evaluation.metrics.matching import symmetric_groups
from pdiff.evaluation.schema import AccessEntry
from pdiff.generation.models import Models, Source, open_control, open_models, refuse_twice
from pdiff.generation.row_cache import RowCache
from pdiff.generators import fit
from pdiff.generators.base import Context
from pdiff.generators.sweeps import family_name, gradient_sweeps, weight_sweeps
from pdiff.generators.tuned import Tuned
from pdiff.tasks.base import Task
from pdiff.tasks.registry import arch_of, as_task, task_of

if TYPE_CHECKING:
    from pdiff.alignment.groups import Group
    from pdiff.evaluation.evaluate import Options

REESTIMATED = 4000
"""Training inputs that give new BatchNorm statistics where models may see inputs."""

T = TypeVar("T")
U = TypeVar("U")
_BLOCK_NUMBERS = 2**24
"""Numbers in a block of rows: 64 MiB as f32, whatever the bank's dimension."""


@dataclass(frozen=True)
class Population:
    """`size` models of one family; all families are evaluated by the same code."""

    family: str
    """`original`, `generated`, `ensemble`, a generator's family or a control's name."""
    strength: float | None
    """What the family is swept over: σ of the noise, members averaged, λ, scale of the Gaussian, rate."""
    size: int
    rows: Callable[[Sequence[int]], Tensor]
    """Indices → raw rows [B, D] f32 that the caller may write to."""
    access: DataKind = "weights"
    run: int = 0
    """Which of several generated folders the models are from."""
    files: Sequence[str] = ()
    """Of originals and generated models."""


@dataclass(frozen=True)
class Compared(Generic[T]):
    """One thing for each population: itself, its predictions, its measures."""

    original: T
    runs: tuple[T, ...]
    """One for each generated folder."""
    ensemble: T
    baselines: tuple[T, ...]
    controls: tuple[T, ...]

    def map(self, change: Callable[[T], U]) -> "Compared[U]":
        """Return what `change` makes of each, called in the order of iteration."""
        original, ensemble = change(self.original), change(self.ensemble)
        several = (tuple(map(change, some)) for some in (self.runs, self.baselines, self.controls))
        runs, baselines, controls = several
        return Compared(original, runs, ensemble, baselines, controls)

    def __iter__(self) -> Iterator[T]:
        yield from (self.original, self.ensemble, *self.runs, *self.baselines, *self.controls)


def is_gaussian(population: Population) -> bool:
    """Return whether a population is of the Gaussian that was fitted to the bank, as it is."""
    return (population.family, population.strength) == ("gaussian", 1)


def blocks(size: int, dim: int) -> Iterator[range]:
    """Cut `size` rows of `dim` numbers into blocks of bounded memory."""
    step = max(1, _BLOCK_NUMBERS // dim)
    for start in range(0, size, step):
        yield range(start, min(start + step, size))


@dataclass(frozen=True)
class Case:
    """What is compared on what."""

    bank: Bank
    runs: Sequence[Models]
    controls: Mapping[str, Models]
    rows: RowCache
    task: Task
    arch: str
    access: AccessEntry
    """`reestimated` says whether it is asked for."""
    inputs: int
    """Training inputs that every model's BatchNorm statistics are estimated on; 0 leaves them alone."""
    align: "Sequence[Group]"
    """Groups of hidden units to match; none unless asked for."""
    name: str
    options: "Options"


def open_case(
    models: Source | Sequence[Source],
    bank: Bank | Path | str | None,
    task: Task | str | None,
    *,
    controls: Mapping[str, Source],
    options: "Options",
    progress: Progress,
) -> Case:
    """Open what is compared.

    Raises `UsageError` for what cannot be compared, `InputError` for files that do not fit.
    """
    rows = RowCache()
    bank, runs = open_models(models, bank, rows, progress)
    others = {name: open_control(name, source, bank, rows) for name, source in controls.items()}
    refuse_twice([*runs, *others.values()])
    if len(bank) < 2:
        raise UsageError(f"{bank.path}: a bank of {len(bank)}; at least 2 members are wanted")
    task = task_of(bank) if task is None else as_task(task)
    arch = arch_of(bank, task, options.arch)
    name = options.name or _name(runs[0])
    groups = symmetric_groups(bank, task, arch) if options.align else ()
    access, inputs = access_of(runs, options)
    return Case(bank, runs, others, rows, task, arch, access, inputs, groups, name, options)


def _name(run: Models) -> str:
    """Return what models are called: by their generator, where `generate` drew them, else by their folder."""
    if run.generated is None:
        return run.path.resolve().name
    family = run.generated.info.generator.family
    return "p-diff" if family == "latent" else family


def access_of(runs: Sequence[Models], options: "Options") -> tuple[AccessEntry, int]:
    """Return what was asked for, by default what the models' makers used, and inputs for BatchNorm.

    Raises `UsageError` for more than the data access allows, and for one that allows less than the makers say
    they took.
    """
    known = [run.access for run in runs if run.access is not None]
    own = max((each.gradient_evaluations for each in known), default=0)
    given, inputs, kind = options.gradient_evaluations, options.reestimate, options.data_access
    if kind is None:
        kinds = {each.kind for each in known}
        gradients = own or given or "gradients" in kinds
        kind = "gradients" if gradients else "inputs" if inputs or "inputs" in kinds else "weights"
    refused = ""
    if given and kind != "gradients":
        refused = f"--gradient-evaluations {given}: only with --data-access gradients, not {kind}"
    elif inputs and kind == "weights":
        refused = f"--reestimate {inputs}: only with --data-access inputs or gradients"
    elif kind == "gradients" and not (given or own):
        refused = "--data-access gradients: say how many were taken (--gradient-evaluations G)"
    elif own and kind != "gradients":
        refused = f"--data-access {kind}: the generator took {own:,} gradients; its data access is gradients"
    elif given and given < own:
        refused = (
            f"--gradient-evaluations {given}: the generator took {own:,}, baselines get at least as many"
        )
    if refused:
        raise UsageError(refused)
    inputs = inputs or (REESTIMATED if kind == "inputs" else 0)
    gradients = (given or own) if kind == "gradients" else 0
    entry = AccessEntry(kind=kind, asked=kind, gradient_evaluations=gradients, reestimated=inputs > 0)
    return entry, inputs


def compare(case: Case, context: Context, voters: int) -> Compared[Population]:
    """Return all populations; of the Gaussian ×1 as many models as vote, if those are more.

    Baselines are fitted to all members, those that look at training data with the case's gradients. Raises
    `UsageError` for a control whose name is taken, and for a bank that cannot be fine-tuned.
    """
    bank, size, seed = case.bank, case.options.baselines_n, case.options.seed
    members = bank.view(range(len(bank)))
    configs = [*weight_sweeps(members), *gradient_sweeps(case.access.gradient_evaluations, size, seed)]
    baselines = [_baseline(config, members, context, case) for config in configs]
    taken = {"original", "generated", "ensemble", *(each.family for each in baselines)}
    if clash := taken & case.controls.keys():
        raise UsageError(f"control {min(clash)!r}: the name of another row of the table; choose another one")
    baselines = [replace(each, size=max(size, voters)) if is_gaussian(each) else each for each in baselines]
    average = fit(AverageConfig(name="average"), members, context)
    kind = case.access.kind
    runs = (
        Population("generated", None, each.size, each.rows, kind, run, each.files)
        for run, each in enumerate(case.runs)
    )
    sources = [member.source for member in bank.members]
    return Compared(
        Population("original", None, len(bank), bank.batch, files=sources),
        tuple(runs),
        Population("ensemble", None, 1, partial(average.rows, seed=seed)),
        tuple(replace(each, rows=case.rows.of(each.rows, each.size, bank.dim)) for each in baselines),
        tuple(Population(name, None, each.size, each.rows) for name, each in case.controls.items()),
    )


def _baseline(config: Config, members: View, context: Context, case: Case) -> Population:
    """Fit a baseline; models that share gradients are as many as these pay for."""
    made, size = fit(config, members, context), case.options.baselines_n
    size = min(size, made.models) if isinstance(made, Tuned) else size
    rows = partial(made.rows, seed=case.options.seed)
    return Population(family_name(config), made.strength, size, rows, made.data_access.kind)
