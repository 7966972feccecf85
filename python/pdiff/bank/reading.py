"""Read checkpoints of one network, and say which files are skipped or refused, and what can be chosen."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote

from pdiff import _core
from pdiff.bank.base import beside_base
from pdiff.bank.companions import module_weights
from pdiff.bank.manifest import AVERAGE_COUNT
from pdiff.bank.tables import Table
from pdiff.checkpoints import difference, find_checkpoints, none_found, open_checkpoints
from pdiff.checkpoints.agents import is_agent, without_policy
from pdiff.checkpoints.listing import training_state
from pdiff.checkpoints.parts import holds_more
from pdiff.checkpoints.records import Checkpoint, Choice, Example, Group, Opened
from pdiff.checkpoints.roles import of_one_kind_of_average, one_a_step
from pdiff.common.errors import InputError, noted
from pdiff.common.progress import Progress
from pdiff.common.wording import agreeing, counted, printable, shown, some

_LISTED = 10
"""Files of one sort that are reported by name; the others are counted."""
_KEYS = 5
_READ = 64
"""Checkpoints looked through at a time: often enough to show progress."""
_EXTRA = "_extra_state"
_PIPELINE = "model_index.json"
"""What diffusers writes beside the folders of a pipeline's parts."""
_STATE = re.compile(r"(^|\.)(optim(izer)?|opt_state|(max_)?exp_avg(_sq)?|momentum_buffer|grad)(\.|$)")
"""In the name of a tensor that is none of the network's."""
_TRUST = "--i-trust-this-file"


@dataclass(frozen=True)
class Request:
    """Which checkpoints are wanted."""

    roots: tuple[Path, ...]
    choice: Choice
    majority: bool = False
    """Take the largest group of several."""
    strict: bool = False
    """Refuse all if any cannot be read."""
    without: frozenset[str] = frozenset()
    """Sources to leave out, of which that has been said."""
    conditions: Table | None = None
    """What is known of the checkpoints."""


def read_group(request: Request, progress: Progress) -> Group:
    """Read every header and return the checkpoints, which are of one network; raises `InputError`."""
    return one_group(open_all(request, progress), request, progress)


def one_group(opened: Opened, request: Request, progress: Progress, base: Path | None = None) -> Group:
    """Return the checkpoints, which are of one network; raises `InputError`.

    `base`, a file that is among them but of another kind, is no member.
    """
    group, *others = opened.groups()
    example = group.example
    if base is not None:
        others = beside_base(others, example, base, progress)
    if others:
        odd = others[0].example
        what = (
            f"{1 + len(others)} kinds of checkpoint: {len(group.checkpoints)} like "
            f"{example.candidate.source}, but {odd.candidate.source} {difference(example, odd)}"
        )
        if not request.majority:
            whole = any(holds_more(other.example, example) for other in others)
            way = "name the file that all else is taken from with --base" if whole else "collect them apart"
            raise noted(InputError(f"{what}; {way}, or take the largest group with --majority"))
        if len(others[0].checkpoints) == len(group.checkpoints):
            raise InputError(f"{what}, as many; of kinds as large as each other none is taken")
        progress.message(f"{what}; the largest group is taken")
    group = replace(group, checkpoints=one_a_step(group, progress))
    check_averaged(group.checkpoints, request.choice)
    for note in describe(group.checkpoints, example):
        progress.message(note)
    check_ties(group.checkpoints, ties(example))
    return group


def open_all(request: Request, progress: Progress) -> Opened:
    """Open every checkpoint, and report what is skipped or left out; raises `InputError` if there is none."""
    found = find_checkpoints(request.roots)
    _report(progress, "skipped", [each for each in found.skipped if not each[0].endswith(".json")])
    found, note = of_one_kind_of_average(found, request.choice)
    if note:
        progress.message(note)
    if request.without:
        found = replace(
            found, candidates=tuple(c for c in found.candidates if c.source not in request.without)
        )
    opened = open_checkpoints(found, request.choice, progress)
    refused = [*found.refused, *opened.refused]
    if refused and (request.strict or not opened.checkpoints):
        left = len(refused) - 1
        more = f"; and {left:,} more {agreeing(left, 'are')} refused" if left else ""
        raise InputError(f"{refused[0][0]}: {refused[0][1]}{more}{_way_out(request, refused)}")
    if not opened.checkpoints:
        raise none_found(request.roots, [name for name, _ in found.skipped])
    _report(progress, "left out", refused)
    return opened


def _way_out(request: Request, refused: Sequence[tuple[str, str]]) -> str:
    """Return the command that converts a folder of files that hold code, if there are any."""
    folders = [root for root in request.roots if root.is_dir()]
    if len(refused) < 2 or not folders or not any(_TRUST in why for _, why in refused):
        return ""
    folder = quote(str(folders[0]))
    return f"; all of them: `pdiff convert {folder} --out converted {_TRUST}`, then `pdiff collect converted`"


def not_finite(checkpoints: Sequence[Checkpoint], layout: _core.Layout, progress: Progress) -> frozenset[str]:
    """Return the sources of checkpoints whose rows would hold NaN or infinity; they are said to be left out.

    Reads every row. Raises `InputError` if there is no other checkpoint.
    """
    found: list[tuple[str, str]] = []
    with progress.track("Looking for NaN and infinity", len(checkpoints), "checkpoint") as tracker:
        for begin in range(0, len(checkpoints), _READ):
            part = checkpoints[begin : begin + _READ]
            told = _core.non_finite(layout, [each.origin for each in part])
            found += [(each.source, why) for each, why in zip(part, told, strict=True) if why]
            tracker.advance(len(part))
    if found and len(found) == len(checkpoints):
        raise InputError(f"{found[0][0]}: {found[0][1]}, as does every other checkpoint; none is left")
    _report(progress, "left out", found)
    return frozenset(source for source, _ in found)


def _report(progress: Progress, what: str, files: Sequence[tuple[str, str]]) -> None:
    for source, why in files[:_LISTED]:
        progress.message(f"{what} {source}: {why}")
    if len(files) > _LISTED:
        progress.message(f"{what} {len(files) - _LISTED:,} more files")


def describe(checkpoints: Sequence[Checkpoint], example: Example) -> Iterator[str]:
    """Yield one line for each choice that was made on the way to the weights."""
    header, source = example.header, example.candidate.source
    keys = Counter(checkpoint.origin.key for checkpoint in checkpoints)
    parts = some([".".join(part) or "the top level" for part in header.parts])
    together = " together" if len(header.parts) > 1 else ""
    if len(keys) > 1:
        counts = ", ".join(f"{count} of {_key(key)}" for key, count in keys.most_common(_KEYS))
        counts += f" and {len(keys) - _KEYS} more" if len(keys) > _KEYS else ""
        yield f"weights are taken from different entries: {counts}; name one with --key"
    elif header.passed_over:
        others = some([key or "the top level" for key in header.passed_over])
        yield f"{source}: the weights of {parts} are taken{together}, not {others}; choose with --key"
    elif together:
        yield f"{source}: the weights of {parts} are taken together; --key takes one of them"
    elif header.key:
        yield f"{source}: the weights are those of {_key(header.key)}, the only ones"
    for prefix, count in header.prefixes:
        yield f"{source}: prefix {shown(prefix)} is taken off {counted(count, 'name')}"
    if state := [t.name for t in header.tensors if _STATE.search(t.name)]:
        yield (
            f"{source}: {some(state)} {agreeing(len(state), 'look')} like the state of an optimiser, and "
            f"{agreeing(len(state), 'are')} taken as weights; collect files without it, or --select the "
            "others and say with --base FILE whose values the state has"
        )
    beside = header.key and any(key == "" for key, _, _ in header.candidates)
    way = "; --key '' takes the tensors among them too" if beside else ""
    yield from _left_out(source, header.left_out, way)
    if example.candidate.shape == "file" and is_agent(example.candidate.files[0]):
        whole = without_policy(example.candidate.files[0]) is not None
        written = (
            "whole agents, with all else as one of these has it, the pickled objects in its settings too"
            if whole
            else "policies alone, as what stands beside is damaged or takes more than 64 MiB; such a file is "
            "for agent.policy.load_state_dict(torch.load(FILE))"
        )
        yield f"{source}: the policy of a Stable-Baselines3 agent; --format source writes {written}"
    folder = example.candidate.folder
    if state := training_state(folder) if folder else []:
        yield (
            f"{source}: --format source writes folders like this one again, without {some(state)}: "
            "the state of a training, which a generated model has not"
        )
    if folder and (folder.parent / _PIPELINE).is_file():
        yield (
            f"{source}: a part of a diffusers pipeline; --format source writes the part alone, to be put in "
            f"a copy of the pipeline in place of its {printable(folder.name)}/"
        )
    if modules := module_weights(example.candidate):
        yield (
            f"{source}: {some(modules)} {agreeing(len(modules), 'belong')} to the same model, and "
            f"{agreeing(len(modules), 'are')} not generated; --format source writes those of one checkpoint"
        )
    if lost := header.rest[1]:
        yield f"{source}: --format source writes what stands beside the weights again, but for {some(lost)}"


def _left_out(source: str, names: Sequence[str], way: str) -> Iterator[str]:
    if AVERAGE_COUNT in names:
        yield f"{source}: {AVERAGE_COUNT} is no part of the network; --format source writes it again, as 1"
    names = [name for name in names if name != AVERAGE_COUNT]
    if not names:
        return
    strict = any(name.rpartition(".")[2] == _EXTRA for name in names)
    failing = ", and load with strict=False only" if strict else ""
    yield (
        f"{source}: entries beside the weights are left out: {some(names)}{way}; "
        f"generated checkpoints will not have them{failing}; with --format source, plain values come back"
    )


def _key(key: str) -> str:
    return shown(key) or "the top level"


def ties(example: Example) -> dict[str, str]:
    """Return the tensors of a checkpoint that are the very same as another: alias → that one's name."""
    return {t.name: t.tied_to for t in example.header.tensors if t.tied_to is not None}


def check_ties(checkpoints: Sequence[Checkpoint], wanted: dict[str, str]) -> None:
    """Raise `InputError` unless the tensors that are one in the bank (alias → name) are one in each.

    Only then does writing the first of them, for all, lose nothing. Headers are read again, one at a time.
    """
    for checkpoint in checkpoints if wanted else ():
        found = {t.name: t.tied_to for t in checkpoint.origin.open().tensors}
        for alias, name in wanted.items():
            if found.get(alias) != name:
                raise InputError(
                    f"{checkpoint.source}: {shown(alias)} and {shown(name)} are two tensors here and one in "
                    "others; collect such checkpoints apart"
                )


def check_averaged(checkpoints: Sequence[Checkpoint], choice: Choice, averaged: bool | None = None) -> None:
    """Raise `InputError` if some weights are averaged (EMA) ones, some are not, and nobody asked for that.

    `averaged` says which the checkpoints have to be like, if there are others already.
    """
    if choice.key is not None or choice.ema is not None:
        return
    examples = {checkpoint.averaged: checkpoint.source for checkpoint in reversed(checkpoints)}
    if len({*examples, averaged} - {None}) < 2:
        return
    counts = Counter(checkpoint.averaged for checkpoint in checkpoints)
    said = {True: "hold averaged (EMA) weights", False: "do not"}
    parts = [f"{counts[key]} {what} (like {examples[key]})" for key, what in said.items() if key in examples]
    others = "" if averaged is None else f", those of the bank {'do' if averaged else 'do not'}"
    raise noted(InputError(f"{', '.join(parts)}{others}; say which with --ema, --no-ema or --key"))
