"""Read what stands beside the weights of a checkpoint, so that models can be written as it was."""

import json
import re
from collections.abc import Container, Mapping, Sequence
from itertools import islice
from pathlib import Path

from pdiff._core import Checkpoint
from pdiff.bank.manifest import AGENT, METADATA, REST
from pdiff.checkpoints.agents import without_policy
from pdiff.checkpoints.folders import read_companion, read_index
from pdiff.checkpoints.listing import INDEX
from pdiff.checkpoints.records import Candidate, Example
from pdiff.common.errors import InputError

_SETTINGS = ("config.json", "generation_config.json", "adapter_config.json")
_SETTINGS_BYTES = 2**20
_MODULES = ("modules.json", "sentence_bert_config.json", "config_sentence_transformers.json")
_MODULE = "[0-9]_*/config.json"
_MODULE_WEIGHTS = ("[0-9]_*/model.safetensors", "[0-9]_*/pytorch_model.bin")
"""What makes sentence-transformers of a transformer: without them another pooling is taken in silence."""
_MOST_MODULES = 10
_TOKENIZER = (
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.json", "vocab.txt", "merges.txt", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model"),
    *("chat_template.jinja", "preprocessor_config.json", "processor_config.json"),
)
_TOKENIZER_BYTES = 32 * 2**20
_INDEX_BYTES = 10 * 2**20
_DIGEST = re.compile(r"hash|sha\d|digest|checksum|crc32", re.IGNORECASE)
"""In the name of a text that is of the weights' bytes, such as `modelspec.hash_sha256`."""


def constant(numbers: Sequence[Mapping[str, float]]) -> set[str]:
    """Return the names of the numbers that are the same beside all weights: settings, such as a rank."""
    first, *others = numbers
    return {name for name, value in first.items() if all(other.get(name) == value for other in others)}


def read_companions(example: Example, base: Checkpoint, settings: Container[str]) -> dict[str, bytes]:
    """Return what stands beside the weights, by name: in the folder of `example`, in the torch file `base`.

    Settings and index are read as JSON and written anew; what is none, or larger than 1 MiB (an index:
    10 MiB), or a link out of its folder, is left out. Files of a tokenizer or of sentence-transformers, of
    32 MiB at most, are copied, and so are what stands beside the policy in an agent's zip, and the free text
    of a safetensors header, with those of the numbers in it that are `settings`.
    """
    candidate, rest = example.candidate, _rest(base)
    if candidate.shape != "sharded" and base.parts == example.header.parts and rest is not None:
        beside = {REST: rest.encode()}
    else:
        beside = {}
    if candidate.shape != "sharded" and (text := _free_text(base, settings)):
        beside[METADATA] = text
    if candidate.shape == "file" and (agent := without_policy(base.origin.files[0])):
        beside[AGENT] = agent
    if candidate.folder is None:
        return beside
    modules = [*_below(candidate.folder, _MODULE), *module_weights(candidate)]
    names = (*_TOKENIZER, *_MODULES, *modules)
    paths = ((name, candidate.folder / name) for name in names)
    copied = ((name, read_companion(path, _TOKENIZER_BYTES, as_it_is=True)) for name, path in paths)
    beside |= {name: content for name, content in copied if content is not None}
    wanted = [(candidate.folder / name, _SETTINGS_BYTES) for name in _SETTINGS]
    if candidate.shape == "sharded":
        indices = sorted(candidate.folder.glob(f"*{INDEX}"))
        own = (path for path in indices if path.name.isprintable() and _leads_to(path, candidate))
        wanted += [(path, _INDEX_BYTES) for path in islice(own, 1)]
    found = ((path.name, read_companion(path, limit)) for path, limit in wanted)
    return beside | {name: content for name, content in found if content is not None}


def module_weights(candidate: Candidate) -> list[str]:
    """Return the weights of other modules of sentence-transformers below a checkpoint's folder, by name."""
    if candidate.folder is None or not (candidate.folder / _MODULES[0]).is_file():
        return []
    return [name for pattern in _MODULE_WEIGHTS for name in _below(candidate.folder, pattern)]


def _below(folder: Path, pattern: str) -> list[str]:
    names = (f"{path.parent.name}/{path.name}" for path in folder.glob(pattern))
    return sorted(filter(str.isprintable, names))[:_MOST_MODULES]


def _rest(base: Checkpoint) -> str | None:
    """Return what stands beside the weights in a torch file, as JSON; None if it is too much.

    A file of fastai is known by its two keys, of which the one is the optimiser's: with None for it, the
    network is loaded. It would not be with `model` alone.
    """
    rest, lost = base.rest
    if rest is None or base.parts != [["model"]] or lost != ["opt"]:
        return rest
    ((kind, entries),) = json.loads(rest).items()
    return json.dumps({kind: [*entries, ["opt", None]]}) if len(entries) == 1 else rest


def _free_text(base: Checkpoint, settings: Container[str]) -> bytes:
    """Return the text in a safetensors header, as JSON; nothing for none, or more than 1 MiB.

    The settings of an adapter, for instance. Digests are left out, and numbers but for `settings`: they tell
    of that one checkpoint.
    """
    own = {name for name in base.metadata if name == "format" or name.startswith("pdiff.")}
    own |= {name for name in base.metadata if _DIGEST.search(name)}
    own |= {name for name in base.numbers if name not in settings}
    text = {name: value for name, value in base.metadata.items() if name not in own}
    content = json.dumps(text).encode()
    return content if text and len(content) <= _SETTINGS_BYTES else b""


def _leads_to(path: Path, candidate: Candidate) -> bool:
    """Return whether the index at `path` is the candidate's."""
    try:
        return read_index(str(path)) == candidate.index
    except InputError:
        return False
