"""Generate new checkpoints from a run, or from a generator fitted to a bank for this alone."""

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pdiff import _core
from pdiff.bank import Bank
from pdiff.bank.conditions import far_outside
from pdiff.bank.manifest import Condition
from pdiff.bank.rows import NARROW, restore
from pdiff.bank.writer import rows_bytes
from pdiff.common.artifacts import relative
from pdiff.common.config import AnyConfig, LatentConfig
from pdiff.common.directories import refuse_directory, require_space, staged_directory
from pdiff.common.distributed import choose_device
from pdiff.common.errors import InputError, UsageError, unknown
from pdiff.common.progress import AnyProgress, Progress, Tracker, as_progress
from pdiff.common.provenance import DataAccess, provenance
from pdiff.common.sealing import write_sealed
from pdiff.common.wording import shown
from pdiff.generation.card import write_card
from pdiff.generation.formats import (
    FORMATS,
    Drawn,
    Format,
    Model,
    generated_by,
    model_bytes,
    model_name,
    write_models,
    write_rows,
)
from pdiff.generation.generated import (
    CONDITIONS,
    FORMAT,
    GENERATED,
    ROWS,
    Cost,
    Generated,
    GeneratorReference,
    Info,
)
from pdiff.generators import family
from pdiff.generators.base import Context, Generator
from pdiff.generators.train import load_generator, task_context, training_members
from pdiff.training.run import BankReference, Run, open_source

if TYPE_CHECKING:
    from pdiff.tasks import Task


_SAID = 3
_NUMBERS, _MOST = 2**26, 1024
"""Numbers and models that are in memory together."""


@dataclass(frozen=True)
class _Source:
    """What models are drawn from."""

    generator: Generator[Any]
    reference: GeneratorReference
    access: DataAccess
    seconds: float
    """That the fit took."""
    held_out: tuple[int, ...]


def generate(
    source: Run | Bank | Path | str,
    *,
    config: AnyConfig | None = None,
    conditions: Sequence[Mapping[str, Condition]] = (),
    n: int = 50,
    out: str | Path = "generated",
    seed: int = 0,
    format: Format = "safetensors",  # noqa: A002 (the name of the option)
    device: str | None = None,
    task: "Task | str | None" = None,
    arch: str | None = None,
    overwrite: bool = False,
    progress: AnyProgress = None,
) -> Generated:
    """Write `n` new checkpoints, each complete and loadable with `strict=True`, to directory `out`.

    `source` is a run, or a bank, to which the generator that `config` describes is fitted first, or the path
    of either; families that look at data take `task` and `arch`, or else what the bank says. For a run,
    `config` may be the run's with another sampler: `run.config.sampled(steps=20)`. `conditions` are what
    models are to have, for a generator that was fitted to them: model i the i-th, beginning again after the
    last.

    With `format` `safetensors` each is one file with plain names; `pth` is a state dict as `torch.save`
    writes it, plain names too; `source` is what the bank was collected from: the same names, nesting, shards
    and configuration; `rows` writes a bank of them instead, of which `export` makes files. A model card
    stands beside them. Model i depends on the generator, the seed and i, not on `n`.

    A model with a value that is not finite or does not fit its dtype is left out, and said so. Raises
    `InputError` if all are, `UsageError` if the disk has no room, or for a bank whose generator has to be
    trained first.
    """
    if n < 1:
        raise UsageError(f"--n {n}: at least 1 checkpoint")
    if format not in FORMATS:
        raise unknown("checkpoint format", format, FORMATS)
    target, out, progress = choose_device(device), Path(out), as_progress(progress)
    source = open_source(source) if isinstance(source, str | Path) else source
    bank = source.bank if isinstance(source, Run) else source
    refuse_directory(out, GENERATED, overwrite)
    one = model_bytes(bank)
    require_space(out, one + rows_bytes(n, bank.layout, "F32") if format == ROWS else n * one)
    if isinstance(source, Run):
        drawn = _from_run(source, config or source.config, target, out, progress)
    else:
        drawn = _from_bank(source, config, task_context(source, task, arch, device=target, progress=progress))
    if conditions:
        drawn.generator.ask(conditions)
        for note in far_outside(bank.members, drawn.reference.config["condition"], conditions):
            progress.message(note)
    elif drawn.reference.config.get("sampler", {}).get("guidance", 1) != 1:
        raise UsageError("guidance is for conditions; say which with --condition or --conditions")
    begin, left_out = time.perf_counter(), dict[str, str]()
    with staged_directory(out, GENERATED, overwrite) as staged:
        with progress.track("Generating", n, "model") as tracker:
            models = _models(drawn.generator, n, seed, left_out, tracker)
            if format == ROWS:
                files, digests = write_rows(bank, staged, models)
            else:
                states = _states(bank, models, drawn.reference.digest, seed)
                files, digests = write_models(bank.manifest.source, bank.companions(), format, staged, states)
        for name, problem in islice(left_out.items(), _SAID):
            progress.message(f"{name} is left out: {problem}")
        if len(left_out) > _SAID:
            progress.message(f"{len(left_out) - _SAID:,} more models are left out")
        info = Info(
            format=FORMAT,
            files=files,
            seed=seed,
            generator=drawn.reference,
            bank=BankReference.of(bank, out),
            access=drawn.access,
            cost=Cost(once_s=drawn.seconds, per_model_s=(time.perf_counter() - begin) / n),
            provenance=provenance(target),
            digests=digests,
            keys=bank.manifest.source.keys if format == "source" else (),
            form=format,
            held_out=drawn.held_out,
            conditions=[dict(each) for each in conditions],
            left_out=left_out,
        )
        if conditions:
            lines = "".join(f"{json.dumps(dict(each), ensure_ascii=False)}\n" for each in conditions)
            _core.write_file(staged / CONDITIONS, lines.encode())
        write_card(staged, info, bank, out)
        write_sealed(staged / GENERATED, info)
    return Generated.open(out)


def _from_run(run: Run, config: AnyConfig, device: torch.device, out: Path, progress: Progress) -> _Source:
    if {**config.values(), "sampler": None} != {**run.config.values(), "sampler": None}:
        raise UsageError(f"{run.path}: a run has a generator already; name a bank to fit another one to")
    reference = _reference(config, relative(run.path, out), run.digest)
    generator, result = load_generator(run, device, progress, config), run.result
    return _Source(generator, reference, result.access, sum(result.seconds.values()), result.held_out)


def _from_bank(bank: Bank, config: AnyConfig | None, context: Context) -> _Source:
    """Fit the generator in memory; raises `UsageError` for one that has to be trained."""
    if config is None:
        raise UsageError(f"{bank.path}: a bank, so name a generator with --generator, or train one first")
    if isinstance(config, LatentConfig):
        raise UsageError(
            f"{bank.path}: the generator {config.name!r} has to be trained: "
            f"`pdiff train {bank.path}`, then `pdiff generate`"
        )
    members, held_out = training_members(bank, config)
    begin = time.perf_counter()
    generator = family(config).fit(config, members, context)
    seconds = time.perf_counter() - begin
    digest = _core.digest(json.dumps([bank.digest, config.values()], sort_keys=True).encode())
    return _Source(generator, _reference(config, "", digest), generator.data_access, seconds, held_out)


def _reference(config: AnyConfig, path: str, digest: str) -> GeneratorReference:
    return GeneratorReference(config.family, config.label(), path, digest, config.values())


def _models(
    generator: Generator[Any], n: int, seed: int, left_out: dict[str, str], tracker: Tracker
) -> Iterator[Drawn]:
    """Yield the models in order; those that cannot be used go to `left_out`, with why.

    Raises `InputError` if there is no other.
    """
    together = min(max(1, _NUMBERS // generator.members.dim), _MOST)
    for begin in range(0, n, together):
        indices = range(begin, min(begin + together, n))
        for index, row in zip(indices, generator.rows(indices, seed), strict=True):
            tracker.advance()
            if problem := _problem(generator.members.bank, row):
                left_out[model_name(index, n)] = problem
            else:
                yield index, model_name(index, n), row.numpy()
    if len(left_out) == n:
        first = next(iter(left_out.values()))
        raise InputError(f"no model can be used, the generator has diverged; in the first, {first}")


def _problem(bank: Bank, row: Tensor) -> str:
    """Say which value of a row [D] is not finite or does not fit its dtype; an empty string for none."""
    bad = torch.nonzero(~row.isfinite())[:, 0]
    if not len(bad):
        if any(segment.dtype in NARROW for segment in bank.layout.segments):
            try:
                restore(bank.layout, row.numpy())
            except InputError as error:
                return str(error)
        return ""
    first = int(bad[0])
    segment = next(segment for segment in bank.layout.segments if first < segment.end)
    place = [int(axis) for axis in np.unravel_index(first - segment.begin, segment.shape)]
    more = f", and so are {len(bad) - 1:,} more values" if len(bad) > 1 else ""
    return f"tensor {shown(segment.name)} at {place} is {float(row[first])}{more}"


def _states(bank: Bank, models: Iterable[Drawn], digest: str, seed: int) -> Iterator[Model]:
    """Yield each model whole."""
    for index, name, row in models:
        yield name, bank.complete(row), generated_by(digest, seed, index)
