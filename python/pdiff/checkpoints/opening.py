"""Open checkpoints: read their headers in batches, and keep a summary of each."""

import json
import os
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path

from pdiff import _core
from pdiff.checkpoints.find import find_checkpoints
from pdiff.checkpoints.listing import ACCEPTED, distributed, is_index
from pdiff.checkpoints.records import FLOATING, Candidate, Checkpoint, Choice, Example, Found, Opened
from pdiff.checkpoints.roles import averaged_by_name
from pdiff.common.errors import CodeError, InputError
from pdiff.common.progress import SILENT, Progress
from pdiff.common.wording import agreeing, printable, shown, some

_BATCH = 256


def open_checkpoints(found: Found, choice: Choice, progress: Progress = SILENT) -> Opened:
    """Open every candidate; what is refused is listed with its cause, and stops nothing.

    Of the first of each kind, and of the shards under an index, the header is read; of others a summary.
    """
    opened = Opened([], {}, [])
    if not found.candidates:
        return opened
    with progress.track("Reading headers", len(found.candidates), "checkpoint") as tracker:
        for begin in range(0, len(found.candidates), _BATCH):
            batch = found.candidates[begin : begin + _BATCH]
            for candidate, outcome in _outcomes(batch, choice):
                try:
                    _add(opened, candidate, outcome)
                except (InputError, OSError) as error:
                    opened.refused.append((candidate.source, _cause(error, candidate)))
            tracker.advance(len(batch))
    return opened


def _outcomes(
    batch: Sequence[Candidate], choice: Choice
) -> Iterator[tuple[Candidate, _core.Summary | InputError | OSError]]:
    """Open files together; of those whose names say that they are averaged, that is not asked again."""
    asked = [None if choice.ema and averaged_by_name(each.source) else choice.ema for each in batch]
    found: dict[int, _core.Summary | InputError | OSError] = {}
    for ema in dict.fromkeys(asked):
        places = [place for place, each in enumerate(asked) if each is ema]
        files = [batch[place].files for place in places]
        found |= zip(places, _core.open_checkpoints(files, key=choice.key, ema=ema), strict=True)
    return ((candidate, found[place]) for place, candidate in enumerate(batch))


def _add(opened: Opened, candidate: Candidate, outcome: _core.Summary | InputError | OSError) -> None:
    """Add what was found of a candidate; raises for what is refused."""
    if not isinstance(outcome, _core.Summary):
        raise outcome
    kind = sys.intern(_kind(candidate, outcome.kind))  # one text for all that are alike
    if kind not in opened.examples or candidate.shape == "sharded":
        header = outcome.origin.open()
        _check(candidate, header)
        opened.examples.setdefault(kind, Example(candidate, header))
    opened.checkpoints.append(
        Checkpoint(
            candidate.source,
            outcome.origin,
            kind,
            outcome.averaged or averaged_by_name(candidate.source),
            outcome.numbers,
        )
    )


def open_one(path: Path, choice: Choice) -> Example:
    """Open the one checkpoint that `path` is: a file of any name, or a folder with an index or an adapter.

    Raises `InputError` that names `path` if it is none, or more than one; `CodeError` if it holds code.
    """
    name = printable(str(path))
    if path.is_dir() and (what := distributed(path)):
        raise CodeError(f"{name}: {what}")
    found = find_checkpoints([path])
    candidates = found.candidates
    if len(candidates) > 1:
        first = ", ".join(candidate.source for candidate in candidates[:3])
        raise InputError(f"{name}: holds {len(candidates)} checkpoints ({first}, …); give one of them")
    if not candidates and found.refused:
        source, why = found.refused[0]
        raise InputError(f"{name}: {why}" if path.is_file() else f"{name}: {source}: {why}")
    if not candidates and path.is_file() and not is_index(path.name):
        candidates = (Candidate(path.name, (path,)),)  # a name that says nothing, but the user says so
    if not candidates:
        raise InputError(f"{name}: no checkpoint ({ACCEPTED})")
    (candidate,) = candidates
    try:
        header = _core.Checkpoint(candidate.files, key=choice.key, ema=choice.ema)
        _check(candidate, header)
    except (InputError, OSError) as error:
        kind = CodeError if isinstance(error, CodeError) else InputError
        raise kind(f"{name}: {_cause(error, candidate)}") from None
    return Example(candidate, header)


def difference(example: Example, odd: Example) -> str:
    """Say in a few words how `odd` differs from `example`, after its name: `lacks fc.bias`."""
    ours, theirs = example.candidate.adapter, odd.candidate.adapter
    if bool(ours) != bool(theirs):
        return "is an adapter" if theirs else "is no adapter"
    for name in [*ours, *theirs]:
        if ours.get(name) != theirs.get(name):
            return f"has {name} = {_setting(theirs.get(name))}, not {_setting(ours.get(name))}"
    tensors = {t.name: (t.dtype, t.shape) for t in example.header.tensors}
    found = {t.name: (t.dtype, t.shape) for t in odd.header.tensors}
    for name, (dtype, shape) in tensors.items():
        if name not in found:
            return f"lacks {shown(name)}"
        if found[name] != (dtype, shape):
            other, size = found[name]
            return f"holds {shown(name)} as {other} {_sizes(size)}, not {dtype} {_sizes(shape)}"
    more = [name for name in found if name not in tensors]
    return f"has {shown(more[0])} besides" if more else "has the same tensors"


def _sizes(shape: Sequence[int]) -> str:
    return shown(str(list(shape)), 60)


def _setting(value: object) -> str:
    text = "unset" if value is None else value if isinstance(value, str) else json.dumps(value)
    return shown(text, 60)


def _cause(error: InputError | OSError, candidate: Candidate) -> str:
    """Return why a candidate is refused, without the path before it; of several files, the name stays."""
    if isinstance(error, OSError):
        return f"cannot be read ({error.strerror or error})"
    message = str(error)
    for file in candidate.files:
        text = os.fsencode(file).decode("utf-8", "replace")
        path = "".join("\ufffd" if unicodedata.category(c) == "Cc" else c for c in text)
        if message.startswith(f"{path}: "):
            why = message[len(path) + 2 :]
            return f"{shown(file.name)}: {why}" if len(candidate.files) > 1 else why
    return message


def _check(candidate: Candidate, header: _core.Checkpoint) -> None:
    """Raise `InputError` if there are no tensors, or those of a sharded checkpoint contradict its index."""
    if not header.tensors:
        raise InputError("no weights found: it holds no tensors")
    _check_whole(header)
    if candidate.shape != "sharded":
        return
    files = [file.name for file in candidate.files]
    missing = dict(candidate.index)
    for tensor in header.tensors:
        name, file = tensor.source_name, files[tensor.file]
        if name not in missing:
            raise InputError(f"{shown(file)} holds {shown(name)}, which the index does not name")
        if (said := missing.pop(name)) != file:
            raise InputError(f"{shown(name)} is in {shown(file)}, but its index says {shown(said)}")
    if missing:
        name, file = next(iter(missing.items()))
        raise InputError(f"{shown(name)} is missing in {shown(file)}, where its index says that it is")


def _check_whole(header: _core.Checkpoint) -> None:
    """Raise `InputError` if most weights are placeholders without numbers, as those of sharded trainings.

    These keep small tensors whole, such as biases and those of norms, so that half of what is called `weight`
    is enough.
    """
    floating = [t for t in header.tensors if t.dtype in FLOATING and ".running_" not in t.name]
    empty = [t.name for t in floating if 0 in t.shape]
    named = [0 in t.shape for t in floating if t.name.endswith("weight")]
    if 2 * len(empty) > len(floating) or (named and 2 * sum(named) >= len(named)):
        raise InputError(
            f"{some(empty)} {agreeing(len(empty), 'hold')} no numbers: placeholders for weights that are in "
            "other files, as DeepSpeed's ZeRO-3 leaves them; make whole checkpoints with its zero_to_fp32.py"
        )


def _kind(candidate: Candidate, kind: str) -> str:
    """Return what is equal for checkpoints that may be mixed; of adapters, the settings count too."""
    if not candidate.adapter:
        return kind
    settings = json.dumps(candidate.adapter, sort_keys=True)
    return _core.digest(f"{kind}\n{settings}".encode())
