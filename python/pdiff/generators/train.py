"""Fit a generator to a bank and leave it in a run's directory; read it back from there."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from pdiff import _core
from pdiff.bank import Bank, View
from pdiff.bank.safety import doubts
from pdiff.common.config import AnyConfig, Config, LatentConfig
from pdiff.common.directories import prepare_directory
from pdiff.common.distributed import choose_device
from pdiff.common.errors import UsageError
from pdiff.common.progress import AnyProgress, as_progress
from pdiff.common.provenance import provenance
from pdiff.common.sealing import write_sealed
from pdiff.generators import family
from pdiff.generators.base import Context, Generator
from pdiff.generators.estimate import plan, require_memory
from pdiff.generators.stages import SECONDS
from pdiff.training.interruption import catch_signals
from pdiff.training.metrics import METRICS
from pdiff.training.run import FORMAT, RESULT, RUN, BankReference, Description, Result, Run

if TYPE_CHECKING:
    from pdiff.tasks import Task

FEWEST_TO_SPLIT = 20
"""Banks under 20 members are not split."""


def train(
    bank: Bank | Path | str,
    *,
    out: str | Path = "run",
    config: AnyConfig | str | None = None,
    device: str | None = None,
    task: "Task | str | None" = None,
    arch: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: AnyProgress = None,
) -> Run:
    """Fit the generator that `config` describes, or a preset's name, and leave the run in directory `out`.

    Members that the configuration holds out are not learned from, and listed in the result. Families that
    look at data take `task` and `arch`, or else what the bank says. `resume` goes on with what is there, by
    its own configuration, if it is of the same bank and task. Raises `UsageError` for a directory that is
    not empty, otherwise.
    """
    out, bank = Path(out), bank if isinstance(bank, Bank) else Bank.open(bank)
    if config is None and resume and (out / RUN).is_file():
        config = Config.from_values(Description.read(out).config)
    config = Config.preset(config or "default") if config is None or isinstance(config, str) else config
    target, progress = choose_device(device), as_progress(progress)
    context = task_context(bank, task, arch, device=target, folder=out, progress=progress)
    prepare_directory(out, RUN, resume=resume, overwrite=overwrite)
    if resume and not (out / RUN).is_file():
        progress.message(f"{out}: nothing to resume, training on {bank.path} from the beginning")
    named = "" if context.task is None else " ".join(filter(None, (context.task.name, arch)))
    Description(FORMAT, BankReference.of(bank, out), config.values(), named).write(out)
    if (out / RESULT).exists():
        progress.message(f"{out}: is finished")
    else:
        for doubt in doubts(bank):
            progress.message(doubt)
        try:
            result = _fitted(bank, config, out, context)
        except UsageError:  # a configuration that does not suit: leave no run if nothing else is there
            if [path.name for path in out.iterdir()] == [RUN]:
                (out / RUN).unlink()
                out.rmdir()
            raise
        write_sealed(out / RESULT, result)
    for told in out.glob(f"*{SECONDS}"):  # the result has them now
        told.unlink()
    return Run.open(out)


def _fitted(bank: Bank, config: AnyConfig, out: Path, context: Context) -> Result:
    """Fit and save the generator; return what it took and what it consists of."""
    members, held_out = training_members(bank, config)
    if isinstance(config, LatentConfig):
        require_memory(plan(config, members), context.device)
    with catch_signals() as interruption:
        fitted_in = replace(context, interruption=interruption, held_out=bank.view(held_out))
        generator = family(config).fit(config, members, fitted_in)
        files = generator.save(out)
    return Result(
        seconds=generator.seconds,
        facts=dict(generator.facts()),
        access=generator.data_access,
        digests={file: _core.digest_file(out / file) for file in (RUN, *files)},
        provenance=provenance(context.device),
        records={path.name: _core.digest_file(path) for path in sorted(out.glob(f"*{METRICS}"))},
        held_out=held_out,
    )


def load_generator(
    run: Run,
    device: str | torch.device | None = None,
    progress: AnyProgress = None,
    config: AnyConfig | None = None,
) -> Generator[Any]:
    """Read the generator of a run, ready to make rows on `device`.

    `config`, if given, is the run's but for how models are drawn.
    """
    target = device if isinstance(device, torch.device) else choose_device(device)
    context = task_context(run.bank, device=target, progress=as_progress(progress))
    return family(run.config).load(config or run.config, run.members, run.path, context)


def task_context(
    bank: Bank, task: "Task | str | None" = None, arch: str | None = None, **given: Any
) -> Context:
    """Return what fitting to `bank` needs: the task that is named, or else what the bank says of its own."""
    if task is not None:
        from pdiff.tasks.registry import as_task  # noqa: PLC0415 (not needed by those that name none)

        task = as_task(task)
    return Context(task=task, arch=arch, reference=bank.task, **given)


def training_members(bank: Bank, config: Config) -> tuple[View, tuple[int, ...]]:
    """Return the members that a generator is fitted to, and the indices of those held out.

    A function of the bank's size and the configuration's `held_out` and `seed`.
    """
    if not config.held_out or len(bank) < FEWEST_TO_SPLIT:
        return bank.view(range(len(bank))), ()
    members, held_out = bank.split(config.held_out, config.seed)
    return members, tuple(held_out.indices.tolist())
