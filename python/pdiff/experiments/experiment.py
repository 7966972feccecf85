"""Run one experiment: a zoo, its bank, generators of several seeds, and one evaluation of all of them.

Each step is what a command does, in a folder of its own. A step whose folder is finished is not done again,
so that an interrupted experiment goes on where it was, and experiments on one bank share it.
"""

from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from pdiff.bank import Bank, collect
from pdiff.bank.manifest import MANIFEST, ZOO
from pdiff.common.artifacts import read_record, write_json
from pdiff.common.config import AnyConfig, Config
from pdiff.common.errors import UsageError
from pdiff.common.progress import Progress
from pdiff.common.settings import setting
from pdiff.evaluation.evaluate import evaluate
from pdiff.evaluation.schema import RESULTS, Results, read_results
from pdiff.generation.generated import GENERATED, Generated
from pdiff.generation.sample import generate
from pdiff.generators.train import train
from pdiff.report import save_report
from pdiff.tasks import load_task
from pdiff.training.run import RUN
from pdiff.zoo import build_zoo

Positive = Annotated[int, Meta(ge=1)]


class Experiment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that decides an experiment, but for the data and the device."""

    task: str
    """Built-in name or `file.py:NAME`."""
    arch: str
    options: dict[str, Any] = {}
    """What the task is built with."""
    init: str | None = None
    """Checkpoint that the zoo starts from; random weights without one."""
    subset: str = "all"
    """What goes on training while checkpoints are saved, as `pdiff zoo --subset` reads it."""
    k: Annotated[int, Meta(ge=2)] = 300
    """Checkpoints of the bank."""
    optimizer: str | None = None
    """Of the bank's steps; the recipe's if None, as are `lr` and `epochs`."""
    lr: float | None = None
    epochs: Positive | None = None
    preset: str = "default"
    """Configuration of the generator."""
    settings: dict[str, Any] = {}
    """Values of it that are changed, by dotted keys."""
    n: Positive = 200
    """Models of each seed."""
    seeds: Positive = 1
    """Seeds of the generator, which share one bank."""
    seed: Annotated[int, Meta(ge=0)] = 0
    """Of the bank, and the first of the generator."""
    baselines_n: Annotated[int, Meta(ge=2)] = 30
    """Models of each baseline."""
    bank: str | None = None
    """A bank that is there: none is trained, and what else would decide one says nothing."""

    def config(self, seed: int) -> AnyConfig:
        """Return the generator's configuration; raises `UsageError` for settings that it has not."""
        changes = [setting(key, value) for key, value in self.settings.items()]
        return Config.preset(self.preset).changed([*changes, f"seed={seed}"])


BANK = ("task", "arch", "options", "init", "subset", "k", "optimizer", "lr", "epochs", "seed", "bank")
"""Fields of an experiment that decide its bank."""


def run_experiment(
    experiment: Experiment,
    out: Path,
    *,
    place: Path | None = None,
    data_root: Path | None = None,
    device: str | None = None,
    progress: Progress,
) -> Results:
    """Do what is left of an experiment in folder `out` and return its evaluation.

    `place` is the folder of checkpoints and bank, if it is not `out`. Raises `UsageError` and `InputError` as
    the steps do, and for folders of another experiment.
    """
    _describe(experiment, out)
    if (out / "evaluation" / RESULTS).is_file():
        return read_results(out / "evaluation")
    options = experiment.options | ({} if data_root is None else {"data_root": str(data_root)})
    found = _bank(experiment, place or out, options, device, progress)
    named: dict[str, Any] = (
        {} if found.task is not None else {"task": experiment.task, "arch": experiment.arch}
    )
    folders = [
        _generated(experiment, found, out, seed, device=device, progress=progress, **named)
        for seed in range(experiment.seed, experiment.seed + experiment.seeds)
    ]
    results = evaluate(
        folders,
        device=device,
        seed=experiment.seed,
        baselines_n=experiment.baselines_n,
        progress=progress,
        **named,
    )
    assert results is not None  # this process is alone
    save_report(results, out / "evaluation")
    return results


def _generated(experiment: Experiment, bank: Bank, out: Path, seed: int, **how: Any) -> Generated:
    """Return the models of one seed of the generator, which is trained if it is not there."""
    folder, place = out / f"generated-{seed}", out / f"run-{seed}"
    if (folder / GENERATED).is_file():
        return Generated.open(folder)
    config, begun = experiment.config(seed), (place / RUN).is_file()
    run = train(bank, out=place, config=config, resume=begun, **how)
    return generate(run, n=experiment.n, out=folder, seed=seed, format="rows", **how)


def _bank(
    experiment: Experiment, folder: Path, options: dict[str, Any], device: str | None, progress: Progress
) -> Bank:
    """Return the bank of an experiment, trained and collected if it is not there."""
    if experiment.bank is not None:
        return Bank.open(experiment.bank)
    if (folder / "bank" / MANIFEST).is_file():
        return Bank.open(folder / "bank")
    ckpts = folder / "ckpts"
    if not (ckpts / ZOO).is_file():
        build_zoo(
            load_task(experiment.task, **options),
            task_name=experiment.task,
            options=options,
            arch=experiment.arch,
            out=ckpts,
            k=experiment.k,
            subset=experiment.subset,
            optimizer=experiment.optimizer,
            lr=experiment.lr,
            epochs=experiment.epochs,
            init=None if experiment.init is None else Path(experiment.init),
            seed=experiment.seed,
            device=device,
            parts=experiment.subset != "all",
            progress=progress,
        )
    return collect(ckpts, out=folder / "bank", progress=progress)


def _describe(experiment: Experiment, out: Path) -> None:
    """Write `experiment.json`; raises `UsageError` where another experiment was begun."""
    path = out / "experiment.json"
    if not path.is_file():
        out.mkdir(parents=True, exist_ok=True)
        write_json(path, experiment)
    elif read_record(path, Experiment) != experiment:
        raise UsageError(f"{path}: is of another experiment; choose another folder with --out")
