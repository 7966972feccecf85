"""Tell files of one step apart by name: averaged weights, ranks of a model, networks trained together."""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from pdiff.checkpoints.records import Candidate, Checkpoint, Choice, Found
from pdiff.common.errors import InputError
from pdiff.common.wording import counted, some

_BEGIN, _END = r"(?:^|(?<=[/._-]))", r"(?=$|[/._-])"
_AVERAGED = re.compile(
    rf"{_BEGIN}(?:ema|swa|polyak|averaged?)(?:[_-]?\d*\.\d+)?(?=$|[/._-]|\d)", re.IGNORECASE
)
_ONE_RANK = r"(?:(?:zero|pp|tp|mp|dp|ep|cp|model|data|tensor|pipeline|global|local|fsdp)_?)*rank[_-]?\d+"
_RANK = re.compile(rf"{_BEGIN}{_ONE_RANK}(?:_{_ONE_RANK})*|(?<=consolidated\.)\d\d(?=\.)", re.IGNORECASE)
_NETWORKS = (
    *("actor", "critic", "teacher", "student", "online", "target", "policy", "value"),
    *("generator", "discriminator", "encoder", "decoder"),
)
_NETWORK = re.compile(rf"{_BEGIN}(?:net_?[A-Z]+(?:_[A-Z])?|[GDQ]\d?|{'|'.join(_NETWORKS)}){_END}")
_REFUSED = (
    (_RANK, "ranks of one model, each with a part of its tensors; merge them first"),
    (_NETWORK, "networks that were trained together; name the files of one of them"),
)


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
    together = any(len(names) > 1 for names in _roles(found.candidates, _AVERAGED))
    if not plain or not averaged or (choice.ema is None and not together):
        return found, ""
    taken, left = (plain, averaged) if choice.ema is False else (averaged, plain)
    what = "plain" if choice.ema is False else "averaged"
    asked = "" if choice.ema is not None else "; choose with --ema or --no-ema"
    note = f"{what} weights are taken, like {taken[0].source}, not {left[0].source}{asked}"
    return replace(found, candidates=taken), note


def refuse_parts(checkpoints: Sequence[Checkpoint]) -> None:
    """Raise `InputError` for several files a step: ranks of one model, networks that were trained together.

    `checkpoints` are of one kind: such files have equal shapes by chance, and are no members of one bank.
    """
    for pattern, why in _REFUSED:
        roles = [names - {""} for names in _roles(checkpoints, pattern)]
        if steps := sum(len(names) > 1 for names in roles):
            listed = some(sorted(set.union(*roles), key=str.lower))
            raise InputError(f"{counted(steps, 'step')} in several files each ({listed}): {why}")


def _roles(files: Sequence[Checkpoint | Candidate], pattern: re.Pattern[str]) -> list[set[str]]:
    """Return the roles of each step, which the numbers of a path without its role tell; "" for none."""
    found = defaultdict[tuple[int, ...], set[str]](set)
    for each in files:
        role = pattern.search(each.source)
        step = tuple(map(int, re.findall(r"\d+", pattern.sub("", each.source))))
        found[step].add(role.group() if role else "")
    return list(found.values())
