"""`pdiff inspect`: say what files, folders and banks hold."""

from collections.abc import Iterable, Sequence, Sized
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pdiff.cli import options
from pdiff.common.wording import counted, shown, size_text, some

if TYPE_CHECKING:
    from pdiff.checkpoints.inspection import BankFacts, Inspection, KindFacts, LeftAside, Range, TensorFacts
    from pdiff.cli.console import Console

_KINDS = 10
_ROWS = 30
_NOTES = 10
_LISTED = 5
_METRICS = 20
_VARIES = {True: "yes", False: "no", None: "?"}


@click.command("inspect")
@options.paths
@options.weights
@click.option("--deep", is_flag=True, help="Compare byte by byte until tensors differ, not samples of them.")
@click.option("--all", "everything", is_flag=True, help="List every tensor and every file left aside.")
@options.json_output
def command(
    paths: tuple[Path, ...], key: str | None, ema: bool | None, deep: bool, everything: bool, as_json: bool
) -> None:
    """Say what the files, folders and banks at PATHS hold (./ckpts by default); nothing is written.

    Checkpoints of the same tensors are one kind; for each kind it is said which tensors vary, since that is
    what `pdiff collect` takes.
    """
    roots = options.there(paths)

    import msgspec

    from pdiff.checkpoints import Choice, inspect, none_found
    from pdiff.cli.console import Console

    console = Console(as_json)
    inspection = inspect(roots, Choice(key, ema), console, deep=deep)
    show(console, inspection, everything)
    console.result(msgspec.to_builtins(inspection))
    if not inspection.checkpoints and not inspection.banks:
        raise none_found(roots, [note.name for note in inspection.skipped])


def show(console: "Console", inspection: "Inspection", everything: bool) -> None:
    """Print an inspection; of long lists only the beginning, unless `everything` is wanted."""
    for bank in inspection.banks:
        _bank(console, bank, everything)
    kinds = inspection.kinds if everything else inspection.kinds[:_KINDS]
    for number, kind in enumerate(kinds, 1):
        name = f"kind {number} of {len(inspection.kinds):,}: " if len(inspection.kinds) > 1 else ""
        _kind(console, name, kind)
        if number == 1 or everything:
            _tensors(console, kind.tensors, everything)
    if len(kinds) < len(inspection.kinds):
        console.say(f"… and {counted(len(inspection.kinds) - len(kinds), 'kind')} more (--all)")
    if inspection.base:
        console.say(
            f"{inspection.base} is the whole network, of which the others are parts: `pdiff collect` takes "
            "it as the base (another: --base; none: --majority)"
        )
    _left_aside(console, "skipped", inspection.skipped, everything)
    _left_aside(console, "refused", inspection.refused, everything)


def _bank(console: "Console", bank: "BankFacts", everything: bool) -> None:
    task = f"{bank.task.get('task')}, {bank.task.get('arch')}" if bank.task else "none"
    size = f"{size_text(bank.bytes)} in {counted(bank.shards, 'shard')}, format {bank.format}"
    console.say(f"{bank.path}: a bank of {bank.members:,} checkpoints × {bank.dim:,} numbers")
    _facts(console, [("size", size), ("task", task), *_metrics(bank.metrics)])
    _tensors(console, bank.tensors, everything)


def _kind(console: "Console", name: str, kind: "KindFacts") -> None:
    files = "" if kind.files == 1 else f", each {kind.files} files"
    count = counted(kind.checkpoints, "checkpoint")
    console.say(f"{name}{count} like {kind.example} ({kind.format}{files}), {size_text(kind.bytes)}")
    beside = kind.numbers - kind.parameters
    tensors = counted(len(kind.tensors), "tensor")
    integers = f", {counted(beside, 'number')} of other types" if beside else ""
    facts = [("differs", f"{kind.example} {kind.difference}")] if kind.difference else []
    facts += [("parameters", f"{kind.parameters:,} in {tensors}{integers}"), ("vary", _vary(kind))]
    facts += [*_carried(kind), *_weights(kind), *_averaged(kind)]
    facts += [
        ("removed", f"{prefix} before {counted(n, 'name')}")
        for prefix, n in [*kind.prefixes.items()][:_LISTED]
    ]
    if kind.left_out:
        facts.append(("left out", some(kind.left_out)))
    if kind.adapter:
        facts.append(("adapter", ", ".join(f"{key} {value}" for key, value in kind.adapter.items())))
    _facts(console, [*facts, *_metrics(kind.metrics)])


def _vary(kind: "KindFacts") -> str:
    if kind.varying is None:
        return f"unknown: {kind.compared}"
    number = sum(t.taken for t in kind.tensors)
    how = "byte by byte" if kind.compared == "bytes" else "by samples and checksums; --deep compares all"
    tensors = counted(len(kind.tensors), "tensor")
    none = not kind.varying and not any(t.sampled for t in kind.tensors)
    refused = ": nothing to learn, so `pdiff collect` refuses them" if none else ""
    return f"{number} of {tensors}, {counted(kind.varying, 'number')} (compared {how}){refused}"


def _carried(kind: "KindFacts") -> list[tuple[str, str]]:
    names = [t.name for t in kind.tensors if t.varies and t.tied_to is None and not t.taken]
    if not names:
        return []
    return [("carried", f"{some(names)}: {'varies' if len(names) == 1 else 'vary'} but cannot be generated")]


def _weights(kind: "KindFacts") -> list[tuple[str, str]]:
    """Say under which keys the weights are, and what else could be taken, where there is a choice."""
    if set(kind.keys) <= {""} and not kind.together and not kind.passed_over:
        return []
    keys = ", ".join(
        f"{'under ' if key else ''}{_key(key)} in {n:,}" for key, n in list(kind.keys.items())[:_LISTED]
    ) + _and_more(kind.keys)
    if kind.together:
        keys += f": {', '.join(map(_key, kind.together[:_LISTED]))}{_and_more(kind.together)} together"
    sizes = {
        d.key: f" ({counted(d.tensors, 'tensor')}, {counted(d.numbers, 'number')})" for d in kind.dictionaries
    }
    others = [f"{_key(key)}{sizes.get(key, '')}" for key in kind.passed_over if key not in kind.keys]
    more = ", ".join(others[:_LISTED]) + _and_more(others)
    return [("weights", keys), *([("also there", f"{more}; --key takes it")] if more else [])]


def _and_more(values: Sized) -> str:
    return f" and {len(values) - _LISTED:,} more" if len(values) > _LISTED else ""


def _averaged(kind: "KindFacts") -> list[tuple[str, str]]:
    """Say that averaged weights are mixed with others, which `collect` does not do unasked."""
    if kind.averaged in {0, kind.checkpoints}:
        return []
    return [("averaged", f"{kind.averaged:,} of {kind.checkpoints:,}; choose with --ema, --no-ema or --key")]


def _key(key: str) -> str:
    return f"`{shown(key)}`" if key else "at the top"


def _metrics(metrics: dict[str, "Range"]) -> Iterable[tuple[str, str]]:
    for name, seen in list(metrics.items())[:_METRICS]:
        span = f"{seen.low:.6g}" if seen.low == seen.high else f"{seen.low:.6g} … {seen.high:.6g}"
        yield name, f"{span} (in {seen.checkpoints:,})"
    if len(metrics) > _METRICS:
        yield "…", f"and {len(metrics) - _METRICS:,} more numbers (--json)"


def _facts(console: "Console", facts: Sequence[tuple[str, str]]) -> None:
    width = max(len(name) for name, _ in facts)
    for name, text in facts:
        console.say(f"  {shown(name):<{width}}  {shown(text, 1000)}")


def _tensors(console: "Console", tensors: Sequence["TensorFacts"], everything: bool) -> None:
    """Print the table of tensors; where it would be long, those that vary come first."""
    listed = list(tensors)
    if len(tensors) > _ROWS and not everything:
        listed = sorted(tensors, key=lambda t: t.varies is not True)[:_ROWS]
    rows = [
        (
            shown(f"{t.name} = {t.tied_to}" if t.tied_to else t.name),
            *(t.dtype, "×".join(map(str, t.shape)) or "scalar", f"{t.numbers:,}"),
            "not seen" if t.sampled else _VARIES[t.varies],
        )
        for t in listed
    ]
    console.table("", ["tensor", "dtype", "shape", "numbers", "varies"], rows)
    if len(listed) < len(tensors):
        console.say(f"… and {len(tensors) - len(listed):,} more (--all)\n")


def _left_aside(console: "Console", what: str, notes: Sequence["LeftAside"], everything: bool) -> None:
    """Print files that are not taken: each, or a line for each reason with the first names."""
    if not notes:
        return
    console.say(f"{len(notes):,} {what}:")
    if everything or len(notes) <= _NOTES:
        for note in notes:
            console.say(f"  {note.name}: {note.why}")
        return
    reasons: dict[str, list[str]] = {}
    for note in notes:
        reasons.setdefault(note.why, []).append(note.name)
    largest = sorted(reasons.items(), key=lambda item: -len(item[1]))
    for why, names in largest[:_NOTES]:
        console.say(f"  {len(names):,} × {why}: {some(names)}")
    if len(largest) > _NOTES:
        console.say(f"  … and {len(largest) - _NOTES:,} more reasons (--all)")
