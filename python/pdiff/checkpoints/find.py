"""Find checkpoints: which files are weights, which belong together, which are refused."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from pdiff import _core
from pdiff.checkpoints.folders import read_adapter, read_index
from pdiff.checkpoints.listing import (
    ACCEPTED,
    ADAPTER_CONFIG,
    CONFIG,
    DISTRIBUTED,
    INDEX,
    File,
    Listing,
    Notes,
    begins_as_weights,
    distributed,
    foreign,
    is_index,
    is_piece,
    is_weights,
    listings,
    look_at,
)
from pdiff.checkpoints.records import Candidate, Found
from pdiff.common.errors import InputError
from pdiff.common.wording import printable, shown

_ADAPTERS = frozenset({"adapter_model.safetensors", "adapter_model.bin"})
_PREFERRED = {
    "pytorch_model.bin": "model.safetensors",
    "diffusion_pytorch_model.bin": "diffusion_pytorch_model.safetensors",
    "adapter_model.bin": "adapter_model.safetensors",
}
"""Where a folder holds both, the same weights twice, the second is taken."""
_OTHERS = ("pytorch_model_fsdp.bin", "pytorch_lora_weights.bin", "pytorch_lora_weights.safetensors")
_NAMED_BY_LIBRARIES = frozenset({*_PREFERRED, *_PREFERRED.values(), *_OTHERS}) - _ADAPTERS
"""Names by which libraries find the weights in a folder that is one checkpoint."""
_NAMED = 3
"""Files that an error names."""


class _Draft(NamedTuple):
    """A candidate before names are settled and links are found out."""

    candidate: Candidate
    name: str
    path: str
    linked: bool
    identity: tuple[Any, ...]
    """Equal for candidates that are the very same files."""


def find_checkpoints(paths: Iterable[Path]) -> Found:
    """Find what may be a checkpoint at and below `paths`, in natural order of the names; nothing is opened.

    Several files become one candidate where an index or an adapter's configuration says so. Links to files
    are followed, links to folders only where they are given; the same file counts once. Raises `InputError`
    for a path that does not exist.
    """
    notes = Notes([], [])
    drafts: dict[str, _Draft] = {}
    settings: dict[str, dict[str, Any]] = {}
    for listing in listings(paths, notes):
        for draft in _Folder(listing, notes, settings).drafts():
            drafts.setdefault(draft.path, draft)
    by_name = {draft.candidate.source: draft for draft in _with_distinct_names(list(drafts.values()))}
    candidates = _once([by_name[name] for name in _core.natural_sort(list(by_name))], notes)
    return Found(tuple(candidates), _sorted(notes.skipped), _sorted(notes.refused))


def none_found(roots: Iterable[Path], skipped: Sequence[str]) -> InputError:
    """Return the error for paths without a checkpoint that can be read; `skipped` files are named."""
    others = f"; other files: {', '.join(skipped[:_NAMED])}" if skipped else ""
    where = ", ".join(map(str, roots))
    return InputError(f"{where}: no checkpoints that can be read ({ACCEPTED}){others}")


@dataclass(frozen=True)
class _Folder:
    """The files of one folder, sorted out."""

    listing: Listing
    notes: Notes
    settings: dict[str, dict[str, Any]]
    """Those of the adapters found before, by their text: equal ones are kept once."""
    used: set[str] = field(default_factory=set)
    """Names that are accounted for."""

    def drafts(self) -> Iterator[_Draft]:
        """Yield what may be checkpoints; the rest goes to the notes."""
        drafts = [*self._sharded(), *self._files()]
        taken = {draft.name for draft in drafts}
        for draft in drafts:
            better = _PREFERRED.get(draft.name)
            if better in taken:
                self.notes.skipped.append((draft.candidate.source, f"{better} is taken instead"))
            else:
                yield draft

    def _sharded(self) -> Iterator[_Draft]:
        for name in filter(is_index, self.listing.names):
            self.used.add(name)
            whole = name.removesuffix(INDEX)
            try:
                if not name.isprintable():
                    raise InputError("its name is no printable text")
                index = read_index(self.listing.path(name))
                self.used.update(index.values())
                if self.listing.has(whole) and look_at(self.listing.path(whole)).problem is None:
                    self.notes.skipped.append((self.listing.source(name), f"{whole} is taken instead"))
                else:
                    yield self._joined(whole, index)
            except InputError as error:
                self.notes.refused.append((self.listing.source(name), str(error)))

    def _joined(self, whole: str, index: dict[str, str]) -> _Draft:
        """Return the draft of the shards that `index` names; raises `InputError` for an unusable one."""
        shards = [look_at(self.listing.path(name)) for name in _core.natural_sort(list(set(index.values())))]
        for shard in shards:
            if shard.problem:
                name = Path(shard.path).name
                problem = "is missing" if shard.problem == "no such file" else f"is {shard.problem}"
                raise InputError(f"its shard {shown(name)} {problem}")
        source, folder = self.listing.source(whole), Path(self.listing.folder)
        files = tuple(Path(shard.path) for shard in shards)
        candidate = Candidate(source, files, "sharded", folder, index)
        identity = tuple(shard.identity for shard in shards)
        return _Draft(candidate, whole, self.listing.path(whole), any(s.linked for s in shards), identity)

    def _files(self) -> Iterator[_Draft]:
        if parts := [name for name in self.listing.names if name.endswith(DISTRIBUTED)]:
            self.used.update(parts)
            source = printable(self.listing.prefix) or f"{Path(self.listing.folder).name}/"
            self.notes.refused.append((source, distributed(self.listing.folder) or "gone"))
        for name in self.listing.names:
            if name in self.used or name == ADAPTER_CONFIG:
                continue
            source = self.listing.source(name)
            if why := foreign(name):
                self.notes.refused.append((source, why))
            elif not is_weights(name) and not self._is_asked(name):
                self.notes.skipped.append((source, "not weights by its name"))
            elif problem := (file := look_at(self.listing.path(name))).problem:
                self.notes.refused.append((source, problem))
            elif is_piece(name):
                why = "a piece of a sharded checkpoint without an index that names it"
                self.notes.refused.append((source, why))
            elif draft := self._single(name, source, file):
                yield draft

    def _is_asked(self, name: str) -> bool:
        return self.listing.asked and begins_as_weights(name, self.listing.path(name))

    def _is_alone(self, name: str) -> bool:
        """Return whether the folder has no weights but `name`, as accelerate leaves it, or the same twice."""
        same = {name, _PREFERRED.get(name)}
        return all(
            other in same or _PREFERRED.get(other) == name for other in filter(is_weights, self.listing.names)
        )

    def _single(self, name: str, source: str, file: File) -> _Draft | None:
        """Return the draft of one file, which may be an adapter; None if its settings are refused."""
        candidate = Candidate(source, (Path(file.path),))
        if name in _NAMED_BY_LIBRARIES and (self.listing.has(CONFIG) or self._is_alone(name)):
            candidate = replace(candidate, shape="folder", folder=Path(self.listing.folder))
        if name not in _ADAPTERS or not self.listing.has(ADAPTER_CONFIG):
            return _Draft(candidate, name, file.path, file.linked, (file.identity,))
        try:
            adapter = read_adapter(self.listing.path(ADAPTER_CONFIG))
        except InputError as error:
            self.notes.refused.append((source, f"its {ADAPTER_CONFIG}: {error}"))
            return None
        text = json.dumps(adapter)
        adapter = self.settings.setdefault(text, adapter)
        candidate = replace(candidate, shape="adapter", folder=Path(self.listing.folder), adapter=adapter)
        return _Draft(candidate, name, file.path, file.linked, (file.identity, _core.digest(text.encode())))


def _with_distinct_names(drafts: list[_Draft]) -> list[_Draft]:
    """Show by their whole path the files whose names would be the same, and number what is still the same."""
    counts = Counter(draft.candidate.source for draft in drafts)
    names: set[str] = set()
    numbers: Counter[str] = Counter()
    distinct = []
    for draft in drafts:
        name = draft.candidate.source
        name = plain = printable(draft.path) if counts[name] > 1 else name
        while name in names:
            numbers[plain] += 1
            name = f"{plain} ({numbers[plain] + 1})"
        names.add(name)
        if name != draft.candidate.source:
            draft = draft._replace(candidate=replace(draft.candidate, source=name))  # noqa: PLW2901
        distinct.append(draft)
    return distinct


def _once(drafts: list[_Draft], notes: Notes) -> Iterator[Candidate]:
    """Yield each file once, not under the name of a link if it has another (`latest.pt`)."""
    first: dict[tuple[Any, ...], Candidate] = {}
    for draft in sorted(drafts, key=lambda draft: draft.linked):
        first.setdefault(draft.identity, draft.candidate)
    for draft in drafts:
        if (other := first[draft.identity]) is draft.candidate:
            yield other
        else:
            notes.skipped.append((draft.candidate.source, f"the same file as {other.source}"))


def _sorted(notes: list[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    places = {name: place for place, name in enumerate(_core.natural_sort(list({name for name, _ in notes})))}
    return tuple(sorted(dict.fromkeys(notes), key=lambda note: places[note[0]]))
