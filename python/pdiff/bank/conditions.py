"""Turn what is known of checkpoints into the vectors of conditions."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pdiff.bank.manifest import Condition, Member
from pdiff.bank.tables import parsed
from pdiff.common.errors import UsageError, unknown
from pdiff.common.wording import some

_FAR = 0.5
"""Beyond the values that members have by more than this part of their range, a value is far outside."""


@dataclass(frozen=True)
class Encoder:
    """Turns conditions into vectors of C numbers, by what the members of a bank have.

    Numbers are standardised over the members, lists of numbers place by place; a text is one of the members'
    texts, as ones and zeros.
    """

    names: tuple[str, ...]
    texts: Mapping[str, tuple[str, ...]]
    """Of each condition that is a text: what there is, sorted."""
    mean: Tensor
    std: Tensor
    """Of the raw vectors, f64 [C]: 0 and 1 for texts."""

    @staticmethod
    def of(members: Sequence[Member], names: Sequence[str]) -> "Encoder":
        """Return the encoder of `names`, which members have from a table or their own metadata.

        Raises `UsageError` for a name that not every member has, or has in another form.
        """
        known = condition_names(members)
        for name in names:
            if name not in known:
                raise unknown("condition", name, known)
        rows = [known_of(member) for member in members]
        texts = {}
        for name in names:
            kinds = {(type(row[name]), len(v) if isinstance(v := row[name], list) else 0) for row in rows}
            if len(kinds) > 1:
                raise UsageError(f"condition {name!r} has several forms: numbers, texts or lists are wanted")
            if isinstance(rows[0][name], str):
                texts[name] = tuple(sorted({str(row[name]) for row in rows}))
        raw = Encoder(tuple(names), texts, torch.zeros(1), torch.ones(1))
        vectors = torch.stack([raw.encode(row) for row in rows]).double()
        std, mean = torch.std_mean(vectors, dim=0, correction=0)
        is_text = torch.cat([torch.full((raw.width(rows[0], n),), n in texts) for n in names])
        mean, std = mean.masked_fill(is_text, 0), std.masked_fill(is_text, 1)
        return Encoder(tuple(names), texts, mean, std.where(std > 0, 1.0))

    def width(self, row: Mapping[str, Condition], name: str) -> int:
        """Return how many numbers of a vector are of one condition."""
        value = row[name]
        return len(self.texts[name]) if name in self.texts else len(value) if isinstance(value, list) else 1

    def encode(self, row: Mapping[str, Condition]) -> Tensor:
        """Return the vector of one model's conditions: f32 [C].

        Raises `UsageError` for one that is missing, of another form, or a text that no member has.
        """
        parts = []
        for name in self.names:
            if name not in row:
                raise UsageError(f"condition {name!r} is missing; {some(self.names)} are asked for")
            value = row[name]
            if name in self.texts:
                value = next((t for t in self.texts[name] if value in (t, parsed(t))), value)
                if value not in self.texts[name]:
                    raise unknown(f"value of {name}", str(value), self.texts[name])
                parts.append(torch.tensor([float(value == each) for each in self.texts[name]]))
            elif isinstance(value, str):
                raise UsageError(f"condition {name!r} is {value!r}; a number is wanted")
            else:
                parts.append(torch.tensor(value if isinstance(value, list) else [value]))
        vector = torch.cat(parts).double()
        if len(self.mean) not in {1, len(vector)}:
            raise UsageError(f"{len(vector)} numbers of {some(self.names)}; {len(self.mean)} are wanted")
        return ((vector - self.mean) / self.std).float()

    def of_members(self, members: Sequence[Member]) -> Tensor:
        """Return the members' vectors: f32 [K, C]."""
        return torch.stack([self.encode(known_of(member)) for member in members])


def condition_names(members: Sequence[Member]) -> list[str]:
    """Return the sorted names of the conditions that every member has; `UsageError` if there are none."""
    known = sorted(set.intersection(*(set(known_of(member)) for member in members)))
    if not known:
        some_have = any(map(known_of, members))
        what = "no condition that all its checkpoints have" if some_have else "no conditions"
        raise UsageError(f"the bank has {what}; `pdiff collect --conditions TABLE` adds them")
    return known


def known_of(member: Member) -> dict[str, Condition]:
    """Return what is known of a member: its own metadata, and over it what a table says."""
    return {**member.metrics, **member.conditions}


def far_outside(
    members: Sequence[Member], names: Sequence[str], asked: Sequence[Mapping[str, Condition]]
) -> Iterator[str]:
    """Yield what to say of each condition of which values far outside those of the members are asked for."""
    for name in names:
        seen, wanted = ([_numbers(row[name]) for row in rows] for rows in (map(known_of, members), asked))
        for place, known in enumerate(zip(*seen, strict=True)):
            least, most = min(known), max(known)
            margin = _FAR * (most - least)
            values = dict.fromkeys(row[place] for row in wanted)
            far = [f"{v:g}" for v in values if not least - margin <= v <= most + margin]
            if far:
                what = f"{name}, number {place + 1}" if len(seen[0]) > 1 else name
                yield (
                    f"condition {what} = {some(far)}: far outside what the bank has seen, {least:g} to "
                    f"{most:g}; {'such models are' if len(far) > 1 else 'such a model is'} extrapolated"
                )


def _numbers(value: Condition) -> list[float]:
    """Return the numbers of a condition: none of a text."""
    return [] if isinstance(value, str) else value if isinstance(value, list) else [value]
