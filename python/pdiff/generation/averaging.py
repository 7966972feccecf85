"""Average the checkpoints of a folder into one, in one pass over their files.

It is the script that every lab writes by hand, and often the best single network that a folder of one
trajectory holds (Izmailov et al. 2018, arXiv 1803.05407; Wortsman et al. 2022, arXiv 2203.05482).
"""

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pdiff import _core
from pdiff._core import Layout
from pdiff.bank import Bank
from pdiff.bank.companions import constant, read_companions
from pdiff.bank.intake import find_task
from pdiff.bank.manifest import MANIFEST, Source, TaskRef
from pdiff.bank.reading import Request, read_group
from pdiff.bank.rows import restore
from pdiff.bank.safety import judge_weights, sample_columns
from pdiff.bank.selection import floating
from pdiff.bank.writer import describe_source
from pdiff.checkpoints.records import Choice, stored_bytes
from pdiff.common.arrays import Arrays, read_weights
from pdiff.common.artifacts import write_json
from pdiff.common.directories import refuse_directory, require_space, staged_directory
from pdiff.common.errors import InputError, UsageError
from pdiff.common.progress import AnyProgress, Progress, as_progress
from pdiff.common.provenance import provenance
from pdiff.generation.average_record import Record, Scores
from pdiff.generation.formats import FileFormat, write_models, written_as

if TYPE_CHECKING:
    from pdiff.generation.average_scores import Scorer
    from pdiff.tasks import Task

AVERAGE = "average.json"
REESTIMATED = 4000
"""Training inputs that BatchNorm statistics are estimated on, by default."""

Sums = npt.NDArray[np.float64]
Samples = npt.NDArray[np.float32]

_BATCH = 64
"""Checkpoints between two signs of progress."""
_SAMPLES = 2**14
"""Numbers of a checkpoint that tell one trajectory from several, at most."""
_SAMPLE_NUMBERS = 2**26
"""The same of all checkpoints together: 256 MiB as f32."""


@dataclass(frozen=True)
class Averaged:
    """What `average` wrote."""

    path: Path
    record: Record


def average(
    *paths: str | Path,
    out: str | Path = "average",
    last: int | None = None,
    every: int = 1,
    weights: str = "uniform",
    format: FileFormat = "safetensors",  # noqa: A002 (the name of the option)
    key: str | None = None,
    ema: bool | None = None,
    majority: bool = False,
    strict: bool = False,
    task: "Task | str | bool" = True,
    arch: str | None = None,
    reestimate: int = REESTIMATED,
    device: str | None = None,
    overwrite: bool = False,
    progress: AnyProgress = None,
) -> Averaged:
    """Write the average of the checkpoints below `paths`, or of a bank's members, to directory `out`.

    They are taken in natural order: the `last` N of them, of these one in `every` (the last one among them).
    `weights` is `uniform`, or `ema:DECAY`, an exponential moving average that ends at the last checkpoint.
    Every floating tensor is averaged, in f64; everything else is the last checkpoint's. `key`, `ema`,
    `majority`, `strict` and `format` are those of `collect` and `generate`. Memory is that of one checkpoint
    and its sums, however many there are.

    `average.json` beside the checkpoint says whether averaging is safe: from the weights alone (one
    trajectory or several), and with a task (`task`, else the one that bank or folder names; False: none) from
    scores of the average beside the best, the mean and the last member; BatchNorm statistics are then
    estimated anew on the first `reestimate` training inputs (0 leaves them averaged). Raises `InputError` for
    what the files hold, `UsageError` for what was asked.
    """
    out, progress = Path(out), as_progress(progress)
    refuse_directory(out, AVERAGE, overwrite)
    request = Request(tuple(map(Path, paths)), Choice(key, ema), majority, strict)
    source = _opened(request, progress)
    written_as(source.files, format)
    found = _task(task, source.task)
    scorer = None if found is None else _scorer(found, arch, source.task, device, progress)
    chosen = _chosen(len(source.names), last, every)
    factors = _factors(weights, len(chosen))
    require_space(out, source.model_bytes)
    row, samples, stride = _sum(source, chosen, factors, progress)
    safety = judge_weights(samples, sample_columns(source.layout, stride))
    progress.message(safety.sentence)
    state = source.complete(row, chosen[-1])
    scores: Scores | None = None
    if scorer is not None:
        state, scores = _scored(source, chosen, state, scorer, reestimate)
    elif any(name.endswith("running_var") for name in state):
        progress.message("BatchNorm statistics are averaged too; with --task they are estimated on data")
    with staged_directory(out, AVERAGE, overwrite) as staged:
        model = ("average", state, {"format": "pt", "pdiff.average": str(len(chosen))})
        files, digests = write_models(source.files, source.companions, format, staged, [model])
        record = Record(
            format=1,
            files=files,
            members=[source.names[index] for index in chosen],
            weights=weights,
            safety=safety,
            scores=scores,
            digests=digests,
            provenance=provenance(None if scorer is None else scorer.device),
        )
        write_json(staged / AVERAGE, record)
    return Averaged(out, record)


@dataclass(frozen=True)
class _Checkpoints:
    """What is averaged: checkpoints of one network, in order, as rows of their floating tensors."""

    names: list[str]
    layout: Layout
    add: Callable[[Sequence[int], Sequence[float], Sums, Samples, int], None]
    """Adds the weighted rows of some to sums [D], and keeps every n-th number of each as its sample."""
    member: Callable[[int], Arrays]
    """Reads one of them whole."""
    complete: Callable[[Samples, int], Arrays]
    """Completes a row [D] with everything that is not in it from one of them."""
    files: Source
    companions: Mapping[str, bytes]
    model_bytes: int
    task: TaskRef | None


def _opened(request: Request, progress: Progress) -> _Checkpoints:
    """Open a bank, or checkpoints as `collect` does; raises `InputError`, `UsageError`."""
    banks = [root for root in request.roots if (root / MANIFEST).is_file()]
    if banks and len(request.roots) > 1:
        raise UsageError(f"{banks[0]}: is a bank; average one bank, or files and folders of checkpoints")
    return _members(Bank.open(banks[0])) if banks else _files(request, progress)


def _files(request: Request, progress: Progress) -> _Checkpoints:
    group = read_group(request, progress)
    tensors = group.example.header.tensors
    modelled = floating(tensors)
    if not modelled:
        raise InputError(f"{group.checkpoints[0].source}: no floating tensors, so nothing to average")
    layout = Layout([(t.name, t.dtype, t.shape) for t in modelled])
    others = {t.name for t in tensors if t.tied_to is None} - {t.name for t in modelled}
    origins = [checkpoint.origin for checkpoint in group.checkpoints]

    def add(
        indices: Sequence[int], weights: Sequence[float], sums: Sums, samples: Samples, stride: int
    ) -> None:
        _core.add_rows(layout, [origins[index] for index in indices], weights, sums, samples, stride)

    def member(index: int, names: Container[str] | None = None) -> Arrays:
        origin = origins[index]
        return read_weights(origin.files, origin.keys, names, origin.ema)

    def complete(row: Samples, index: int) -> Arrays:
        found = member(index, others) | restore(layout, row)
        return {t.name: found[t.tied_to or t.name] for t in tensors}

    return _Checkpoints(
        names=[checkpoint.source for checkpoint in group.checkpoints],
        layout=layout,
        add=add,
        member=member,
        complete=complete,
        files=describe_source(group.example),
        companions=read_companions(
            group.example, group.example.header, constant([each.metrics for each in group.checkpoints])
        ),
        model_bytes=stored_bytes(tensors),
        task=find_task(request.roots),
    )


def _members(bank: Bank) -> _Checkpoints:
    def add(
        indices: Sequence[int], weights: Sequence[float], sums: Sums, samples: Samples, stride: int
    ) -> None:
        for sample, index, weight in zip(samples, indices, weights, strict=True):
            row = bank.gathered([index])[0]
            sums += weight * row.astype(np.float64)
            sample[:] = row[::stride]

    return _Checkpoints(
        names=[member.source for member in bank.members],
        layout=bank.layout,
        add=add,
        member=lambda index: bank.complete(bank.gathered([index])[0]),
        complete=lambda row, _: bank.complete(row),
        files=bank.manifest.source,
        companions=bank.companions(),
        model_bytes=(bank.path / bank.manifest.base.file).stat().st_size,
        task=bank.task,
    )


def _task(asked: "Task | str | bool", named: TaskRef | None) -> "Task | None":
    """Return the task asked for: by name, the checkpoints' own, or none."""
    if asked is False or (asked is True and named is None):
        return None
    from pdiff.tasks import load_task  # noqa: PLC0415 (imports torch)

    if asked is True:
        return None if named is None else load_task(named.name, **named.options)
    return load_task(asked) if isinstance(asked, str) else asked


def _scorer(
    task: "Task", arch: str | None, named: TaskRef | None, device: str | None, progress: Progress
) -> "Scorer":
    from pdiff.common.distributed import choose_device  # noqa: PLC0415 (imports torch)
    from pdiff.generation.average_scores import Scorer  # noqa: PLC0415

    own = named.arch if named else None
    arch = arch or (own if own in task.architectures else task.architectures[0])
    return Scorer(task, arch, choose_device(device), progress)


def _scored(
    source: _Checkpoints, chosen: Sequence[int], average: Arrays, scorer: "Scorer", reestimate: int
) -> tuple[Arrays, Scores]:
    """Return the average with BatchNorm statistics estimated anew, and its scores."""
    from pdiff.common.tensors import to_arrays, to_tensors  # noqa: PLC0415 (imports torch)

    state = scorer.reestimated(to_tensors(average), reestimate)
    scores = scorer.score(state, chosen, lambda index: to_tensors(source.member(index)))
    return to_arrays(state), scores


def _chosen(count: int, last: int | None, every: int) -> list[int]:
    """Return the indices to average, ascending, the last checkpoint among them."""
    if every < 1 or (last is not None and last < 1):
        raise UsageError(f"--last {last}, --every {every}: 1 or more is wanted")
    if last is not None and last > count:
        raise UsageError(f"--last {last}: there are {count} checkpoints")
    begin = 0 if last is None else count - last
    chosen = list(range(count - 1, begin - 1, -every))[::-1]
    if len(chosen) < 2:
        raise UsageError(f"{len(chosen)} checkpoint left to average; at least 2 are wanted")
    return chosen


def _factors(weights: str, count: int) -> list[float]:
    """Return the weight of each checkpoint: all 1 for an even average, else they add up to 1."""
    if weights == "uniform":
        return [1.0] * count
    kind, _, decay = weights.partition(":")
    try:
        d = float(decay)
    except ValueError:
        d = -1.0
    if kind != "ema" or not 0 <= d < 1:
        raise UsageError(f"--weights {weights}: uniform or ema:DECAY, 0 <= DECAY < 1, is wanted")
    return [d ** (count - 1), *((1 - d) * d ** (count - 1 - index) for index in range(1, count))]


def _sum(
    source: _Checkpoints, chosen: Sequence[int], factors: Sequence[float], progress: Progress
) -> tuple[Samples, Samples, int]:
    """Return the averaged row f32 [D], samples f32 [K, D / stride] of the rows, and the stride."""
    dim = source.layout.dim
    columns = max(1, min(_SAMPLES, _SAMPLE_NUMBERS // len(chosen), dim))
    stride = ceil(dim / columns)
    sums = np.zeros(dim)
    samples = np.empty((len(chosen), ceil(dim / stride)), dtype=np.float32)
    with progress.track("Averaging", len(chosen), "checkpoint") as tracker:
        for begin in range(0, len(chosen), _BATCH):
            part = slice(begin, begin + _BATCH)
            source.add(chosen[part], factors[part], sums, samples[part], stride)
            tracker.advance(len(chosen[part]))
    row = np.empty(dim, dtype=np.float32)
    np.divide(sums, sum(factors), out=row, casting="same_kind")
    return row, samples, stride
