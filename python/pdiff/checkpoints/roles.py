"""Tell files of one step apart by name: averaged weights, ranks of a model, networks trained together."""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import NoReturn, TypeVar

from pdiff.checkpoints.records import Candidate, Checkpoint, Choice, Found, Group, judged
from pdiff.common.errors import InputError
from pdiff.common.progress import Progress
from pdiff.common.wording import counted, some

_BEGIN, _END = r"(?:^|(?<=[/._-]))", r"(?=$|[/._-])"
_AVERAGED = re.compile(
    rf"{_BEGIN}(?:(?:ema|swa|polyak|averaged?)(?:[_-]?\d*\.\d+)?(?=$|[/._-]|\d)"
    r"|av[eg](?:[_-]?\d+(?:best)?)?(?=\.\w+$))",
    re.IGNORECASE,
)
_ONE_RANK = (
    r"(?:(?:(?:zero|pp|tp|mp|dp|ep|cp|model|data|tensor|pipeline|global|local|fsdp)_?)*rank[_-]?\d+"
    r"|shard[_-]?\d+|layer_\d+(?=-model))"
)
_RANK = re.compile(rf"{_BEGIN}{_ONE_RANK}(?:_{_ONE_RANK})*|(?<=consolidated\.)\d\d(?=\.)", re.IGNORECASE)
_NETWORKS = (
    *("actor", "critic", "teacher", "student", "online", "target", "policy", "value"),
    *("generator", "discriminator", "encoder", "decoder"),
    *(r"qf\d?", r"critic[12](?=[_-]\d)", r"(?<=\d/)critic[12]"),  # twins, not steps
)
_NETWORK = re.compile(rf"{_BEGIN}(?:net_?[A-Z]+(?:_[A-Z])?|[GDQ]\d?|{'|'.join(_NETWORKS)}){_END}")

_NUMBER = re.compile(r"\d+")

File = TypeVar("File", Checkpoint, Candidate)


def averaged_by_name(source: str) -> bool:
    """Return whether a path says that its weights are averaged: `ema_0.9999_010000.pt`, `unet_ema/`."""
    return bool(_AVERAGED.search(source))


def of_one_kind_of_average(found: Found, choice: Choice) -> tuple[Found, str]:
    """Return the candidates without the plain ones, or the averaged ones, of the same steps, and what to say.

    Paths that differ in their role alone belong to one step. The averaged weights are taken, unless `choice`
    says otherwise; nothing is left out where there are no two of a step.
    """
    plain, averaged = (
        tuple(each for each in found.candidates if averaged_by_name(each.source) is wanted)
        for wanted in (False, True)
    )
    together = any(len(dict(files)) > 1 for files in _roles(found.candidates, _AVERAGED))
    if not plain or not averaged or (choice.ema is None and not together):
        return found, ""
    taken, left = (plain, averaged) if choice.ema is False else (averaged, plain)
    what = "plain" if choice.ema is False else "averaged"
    asked = "" if choice.ema is not None else "; choose with --ema or --no-ema"
    note = f"{what} weights are taken, like {taken[0].source}, not {left[0].source}{asked}"
    return replace(found, candidates=taken), note


def one_a_step(group: Group, progress: Progress) -> list[Checkpoint]:
    """Return the checkpoints of a group without copies: of ranks that each saved the same network, the first.

    Raises `InputError` for other files of one step: ranks with different weights, or networks that were
    trained together. Such files have equal shapes by chance, and are no members of one bank.
    """
    for files in _roles(group.checkpoints, _NETWORK):
        if len({name for name, _ in files} - {""}) > 1:
            _refuse(group, _NETWORK, "networks that were trained together; name the files of one of them")
    ranks = [part for files in _roles(group.checkpoints, _RANK) for part in _ranks(files)]
    if not ranks:
        return group.checkpoints
    names = [tensor.name for tensor in group.example.header.tensors]
    with progress.track("Comparing ranks", sum(map(len, ranks)) - len(ranks), "checkpoint") as tracker:
        for found in ranks:
            told = judged([each.origin for each in found], names, tracker)
            if differing := [name for name, differs in told.items() if differs]:
                which = f"{some(differing, 1)} of {found[0].source} and of {found[1].source}"
                _refuse(
                    group,
                    _RANK,
                    f"ranks of one model, whose weights differ ({which}); merge them first if each has a "
                    "part of the tensors, else name the files of one rank",
                )
    copies = {each.source for found in ranks for each in found[1:]}
    progress.message(
        f"{counted(len(ranks), 'step')} in several files each, the same network in each rank: one is taken, "
        f"like {ranks[0][0].source}, not {ranks[0][1].source}"
    )
    return [each for each in group.checkpoints if each.source not in copies]


def _ranks(found: Sequence[tuple[str, Checkpoint]]) -> list[list[Checkpoint]]:
    """Return the ranks of a step that may be one network: those of each run, if each has several."""
    runs = defaultdict[str, dict[str, Checkpoint]](dict)
    for name, each in found:
        if name:
            runs[_RANK.sub("", each.source)][name] = each
    if all(len(run) > 1 for run in runs.values()):
        return [list(run.values()) for run in runs.values()]
    names = {name for run in runs.values() for name in run}
    return [[each for name, each in found if name]] if len(names) > 1 else []


def _refuse(group: Group, pattern: re.Pattern[str], why: str) -> NoReturn:
    roles = [{name for name, _ in found} - {""} for found in _roles(group.checkpoints, pattern)]
    steps = sum(len(names) > 1 for names in roles)
    listed = some(sorted(set.union(*roles), key=str.lower))
    raise InputError(f"{counted(steps, 'step')} in several files each ({listed}): {why}")


def _roles(files: Sequence[File], pattern: re.Pattern[str]) -> list[list[tuple[str, File]]]:
    """Return the files of each step, which the numbers of a path without its role tell, with their roles.

    The role is "" for a file without one.
    """
    found = defaultdict[tuple[int, ...], list[tuple[str, File]]](list)
    for each in files:
        role = pattern.search(each.source)
        step = tuple(map(int, _NUMBER.findall(pattern.sub("", each.source))))
        found[step].append((role.group() if role else "", each))
    return list(found.values())


def sorts_of_one_step(sources: Sequence[str]) -> str:
    """Say that files whose names differ in more than numbers are of the same steps; "" if there are none.

    They may be other networks, or averages or gradients, that have the shapes of the network. Numbers that
    are the same in all files of a sort are no steps.
    """
    sorts = defaultdict[str, list[str]](list)
    for source in sources:
        sorts[_NUMBER.sub("#", source)].append(source)
    first, *others = sorted(sorts.values(), key=len, reverse=True)
    steps = _steps(first)
    beside = [other for other in others if len(other) > 1 and 2 * len(_steps(other) & steps) >= len(other)]
    if not beside:
        return ""
    more = f", and those of {len(beside) - 1} more sorts," if len(beside) > 1 else ""
    return (
        f"{counted(len(first), 'checkpoint')} like {first[0]} and {len(beside[0])} like {beside[0][0]}{more} "
        "are of the same steps: if a sort holds another network, averages or gradients, collect without it"
    )


def _steps(sources: Sequence[str]) -> set[tuple[int, ...]]:
    """Return the numbers in each of several paths that are not the same in all of them."""
    numbers = [tuple(map(int, _NUMBER.findall(source))) for source in sources]
    told = [place for place, column in enumerate(zip(*numbers, strict=True)) if len(set(column)) > 1]
    return {tuple(each[place] for place in told) for each in numbers}
