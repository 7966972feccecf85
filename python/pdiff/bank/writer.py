"""Write what stands beside a bank's rows: base, statistics, companions and, last, the manifest."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from pdiff import _core
from pdiff._core import Checkpoint, Layout, Origin, TensorInfo
from pdiff.bank.companions import constant, read_companions
from pdiff.bank.manifest import (
    AVERAGE_COUNT,
    BASE,
    FORMAT,
    SOURCE,
    STATISTICS,
    FileEntry,
    Manifest,
    ShardEntry,
    Source,
    StoreDtype,
    TaskRef,
    TensorEntry,
)
from pdiff.bank.reading import ties
from pdiff.bank.shards import Purpose, Written
from pdiff.bank.tables import Table, conditioned
from pdiff.checkpoints.agents import is_agent
from pdiff.checkpoints.listing import ending
from pdiff.checkpoints.records import Example, Group
from pdiff.checkpoints.roles import averaged_by_name
from pdiff.common.directories import require_inside
from pdiff.common.errors import InputError
from pdiff.common.wording import counted

MINIMUM_MEMBERS = 3
_MOST_COPIES = 8
_SLACK = 2**20
"""Headers, manifest and journal of a small bank; large ones take a share of the rows besides."""


@dataclass(frozen=True)
class Plan:
    """What is to be written."""

    group: Group
    layout: Layout
    purpose: Purpose
    example: Example
    """How checkpoints are laid out: a member, or a given base that holds more than the members do."""
    base: Origin
    """The checkpoint that everything that is not generated is taken from."""
    base_given: bool
    task: TaskRef | None
    conditions: Table | None = None
    """What is known of the checkpoints, by their names."""


def finish_bank(bank: Path, plan: Plan, rows: Written) -> None:
    """Write everything but the rows, which are in `bank` already, the manifest last.

    Raises `InputError` for too few members.
    """
    if len(rows.members) < MINIMUM_MEMBERS:
        found = counted(len(rows.members), "different checkpoint")
        raise InputError(f"{found}, at least {MINIMUM_MEMBERS} are needed")
    layout, example = plan.layout, plan.example
    members = rows.members if plan.conditions is None else conditioned(rows.members, plan.conditions)
    statistics = write_statistics(bank, STATISTICS, rows.shards, layout)
    _core.write_checkpoint(bank / BASE, plan.base, {"format": "pt"})
    settings = constant([member.metrics for member in rows.members])
    companions = read_companions(example, plan.base.open(), settings)
    write_companions(bank, companions)
    digests = {name: _core.digest(content) for name, content in companions.items()}
    Manifest(
        format=FORMAT,
        layout=tuple(TensorEntry(s.name, s.dtype, s.shape) for s in layout.segments),
        fingerprint=layout.fingerprint,
        dim=layout.dim,
        dtype=plan.purpose.dtype,
        shards=tuple(rows.shards),
        base=FileEntry(BASE, _core.digest_file(bank / BASE)),
        statistics=statistics,
        members=tuple(members),
        kind=plan.group.checkpoints[0].kind,
        source=msgspec.structs.replace(describe_source(example), companions=digests),
        tied=_ties(example, layout),
        base_given=plan.base_given,
        task=plan.task,
    ).write(bank)


def write_companions(bank: Path, companions: Mapping[str, bytes]) -> None:
    """Write what stood beside the weights to the bank's folder `source`."""
    for name, content in companions.items():
        (bank / SOURCE / name).parent.mkdir(parents=True, exist_ok=True)
        _core.write_file(bank / SOURCE / name, content)


def _ties(example: Example, layout: Layout) -> dict[str, str]:
    """Return the tied names of a checkpoint, alias → name; of two, what a row holds is the name."""
    names, tied = {segment.name for segment in layout.segments}, ties(example)
    owners = {name: alias for alias, name in tied.items() if alias in names and name not in names}
    pairs = ((other, owners.get(name, name)) for alias, name in tied.items() for other in (alias, name))
    return {other: owner for other, owner in pairs if other != owner}


def describe_source(example: Example) -> Source:
    """Return how `example` is laid out, without companions; `InputError` for a file outside its folder."""
    candidate, header = example.candidate, example.header
    tensors = header.tensors
    files: dict[str, str] = {}
    if candidate.shape == "sharded":
        files = {t.name: candidate.index[t.source_name] for t in tensors}
    require_inside(candidate.source, files.values())
    return Source(
        shape=candidate.shape,
        file=candidate.files[0].name if candidate.shape in {"folder", "adapter"} else "",
        ending=_ending(example),
        format=header.format,
        keys=tuple(header.keys),
        parts=tuple(map(tuple, header.parts if header.parts != [header.keys] else [])),
        places={t.name: t.part for t in tensors if t.part},
        averaged=header.averaged or averaged_by_name(candidate.source),
        counted=AVERAGE_COUNT in header.left_out,
        names={t.name: t.source_name for t in tensors if t.name != t.source_name},
        copies=tuple(_copies(header)) if header.averaged and header.format != "safetensors" else (),
        files=files,
        adapter=candidate.adapter,
    )


def _ending(example: Example) -> str:
    """Return how the name of a single file ends; "" for an agent, which is written as a zip or not."""
    candidate = example.candidate
    if candidate.shape != "file" or is_agent(candidate.files[0]):
        return ""
    return ending(candidate.files[0].name)


def _copies(header: Checkpoint) -> Iterator[tuple[str, tuple[str, ...], str]]:
    """Yield where tensors have to be written again, so that the file holds what its averages are averages of.

    These are weights that were passed over, with the names, dtypes and shapes that an average has.
    """

    def under(found: Checkpoint) -> dict[str, TensorInfo]:
        return {".".join([*found.parts[t.part], t.source_name]): t for t in found.tensors}

    taken = under(header)
    for key in header.passed_over[:_MOST_COPIES]:
        try:
            left = _core.Checkpoint(header.origin.files, key=key)
        except InputError:  # what cannot be read, or two of one key
            continue
        names = {full.removeprefix(f"{key}."): t for full, t in under(left).items()}
        ends = next(iter(names))
        outer = (full.removesuffix(ends) for full in taken if full.endswith(f".{ends}"))
        for begin in filter(averaged_by_name, outer):
            ours = [(taken.get(begin + name), theirs) for name, theirs in names.items()]
            if all(t and (t.dtype, t.shape) == (other.dtype, other.shape) for t, other in ours):
                yield from ((t.name, tuple(left.parts[o.part]), o.source_name) for t, o in ours if t)
                break


def write_statistics(bank: Path, file: str, shards: Sequence[ShardEntry], layout: Layout) -> FileEntry:
    """Write statistics over the rows of all shards to `file`."""
    _core.write_statistics(bank / file, [_core.Shard(bank / shard.file) for shard in shards], layout)
    return FileEntry(file, _core.digest_file(bank / file))


def rows_bytes(members: int, layout: Layout, dtype: StoreDtype) -> int:
    """Return the bytes that `members` rows and the statistics take on disk, generously."""
    statistics = 16 * layout.dim + 40 * len(layout.segments)
    size = 4 if dtype == "F32" else 2
    return members * (size * layout.dim + 512) + statistics + _SLACK
