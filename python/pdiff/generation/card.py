"""Write the model card: a README.md beside generated checkpoints, for people and for model hubs.

`generate` writes it, an evaluation writes it again with what it found. A README.md without our mark is
somebody else's and stays as it is.
"""

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pdiff import _core
from pdiff.bank import Bank
from pdiff.common.config import Config
from pdiff.common.wording import counted, printable
from pdiff.generation.generated import Generated, Info

CARD = "README.md"
_MARK = "<!-- Written by pdiff, and again by `pdiff evaluate`; without this line it is left alone. -->"
_PAPER = " by [neural network diffusion](https://arxiv.org/abs/2402.13144)"


@dataclass(frozen=True)
class Judgement:
    """What an evaluation found, as far as a card says it."""

    sentence: str
    """The verdict."""
    task: str
    split: str
    samples: int
    metric: str
    percent: bool
    """Whether scores are fractions that people read as per cent."""
    rows: Sequence[tuple[str, float | None, float | None]]
    """Name, value of the generated models and of the originals; the first are the mean scores."""
    version: str
    """Of pdiff, by which they were judged."""
    date: str
    runs: int = 1
    """Folders that were judged together."""


def write_card(folder: Path, info: Info, bank: Bank, out: Path) -> None:
    """Write the card of checkpoints that are not evaluated yet to `folder`, which becomes `out`."""
    _core.write_file(folder / CARD, card(info, bank, out).encode())


def rewrite_card(generated: Generated, judgement: Judgement) -> str | None:
    """Write the card again, with an evaluation's judgement; return why not, where it was not."""
    path = generated.path / CARD
    try:
        if path.is_symlink() or (path.exists() and _MARK.encode() not in path.read_bytes()):
            return f"{path}: not written by pdiff, left as it is"
        text = card(generated.info, generated.bank, generated.path, judgement)
        _core.write_file(path, text.encode())
    except OSError as error:
        return f"{path}: not written ({error.strerror or error})"
    return None


_TEXT = """{front_matter}
{mark}

# {count:,} generated checkpoints of {network}

Not trained but drawn from the generator {family}, fitted to the weights of {members:,} checkpoints{paper}. \
Each is complete: {dim:,} numbers are generated, the others are the bank's own.

## Evaluation

{evaluation}

## How they were made

- Bank: digest `{info.bank.digest}`
- Generator: {label}, digest `{info.generator.digest}`
- Seed: {info.seed}
- Seen besides the weights: {seen}
- Versions: {versions}

The same again, from inside this folder and on the same kind of device:

```sh
{command}
```
"""
_JUDGED = """{sentence}{together}

On {judgement.samples:,} {judgement.split} samples of {task}, by {metric}{unit}:

| | generated | originals |
|---|---|---|
{rows}

Judged by pdiff {judgement.version} on {judgement.date}."""


def card(info: Info, bank: Bank, out: Path, judgement: Judgement | None = None) -> str:
    """Return the card's text; the same arguments give the same text."""
    made = info.provenance
    versions = ", ".join(f"{name} {made[name]}" for name in ("pdiff", "torch", "numpy") if name in made)
    return _TEXT.format(
        front_matter=_front_matter(info, bank, judgement),
        mark=_MARK,
        count=len(info.files),
        network=_plain(_network(bank)),
        family=_plain(info.generator.family),
        members=len(bank),
        paper=_PAPER if info.generator.family == "latent" else "",
        dim=bank.dim,
        evaluation=_evaluation(judgement),
        info=info,
        label=_plain(info.generator.label),
        seen=_seen(info),
        versions=versions or "unknown",
        command=_command(info, out),
    )


def _front_matter(info: Info, bank: Bank, judgement: Judgement | None) -> str:
    """Return the YAML that hubs read; JSON is YAML, so that no value can be taken for something else."""
    network = _network(bank)
    ours = ["neural-network-diffusion"] if info.generator.family == "latent" else []
    values: dict[str, Any] = {
        "library_name": "pdiff",
        "tags": [*ours, "weight-generation", "pytorch"],
        "base_network": network,
        "bank_digest": bank.digest,
        "generator": printable(info.generator.label),
        "generator_digest": info.generator.digest,
        "seed": info.seed,
    }
    if judgement is not None:
        values["model-index"] = [{"name": network, "results": [_metrics(judgement)]}]
    lines = (f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in values.items())
    return "\n".join(["---", *lines, "---"])


def _metrics(judgement: Judgement) -> dict[str, Any]:
    """Return an evaluation in the form that hubs show."""
    name, (_, value, _) = printable(_task(judgement.task)), judgement.rows[0]
    return {
        "task": {"type": "other"},
        "dataset": {"name": name, "type": name, "split": judgement.split},
        "metrics": [{"type": judgement.metric, "name": f"mean {judgement.metric}", "value": value}],
    }


def _evaluation(judgement: Judgement | None) -> str:
    """Return the verdict and the figures that matter."""
    if judgement is None:
        return "Not evaluated yet: `pdiff evaluate` judges them and writes this section."
    rows = (
        f"| {_plain(name)} | {_figure(ours)} | {_figure(others)} |" for name, ours, others in judgement.rows
    )
    return _JUDGED.format(
        judgement=judgement,
        sentence=_plain(judgement.sentence),
        together=f" {judgement.runs} folders, judged together." if judgement.runs > 1 else "",
        task=_plain(_task(judgement.task)),
        metric=_plain(judgement.metric),
        unit=" (fractions)" if judgement.percent else "",
        rows="\n".join(rows),
    )


def _seen(info: Info) -> str:
    """Return what the generator saw of the networks' data."""
    gradients = counted(info.access.gradient_evaluations, "minibatch gradient")
    return {
        "weights": "nothing",
        "inputs": "unlabelled training inputs",
        "gradients": f"{gradients} of training data",
    }[info.access.kind]


def _command(info: Info, out: Path) -> str:
    """Return what makes the same checkpoints again, from inside the folder that holds them."""
    if info.generator.path:
        start = shlex.quote(printable(info.generator.path))
    else:
        config = Config.from_values(info.generator.config)
        changes = (f"--set {key}={value}" for key, value in config.changes().items())
        start = " ".join([shlex.quote(printable(info.bank.path)), "--generator", config.name, *changes])
    form = f" --format {info.form}" if info.form != "safetensors" else ""
    name = shlex.quote(printable(f"../{out.resolve().name}-again"))
    return f"pdiff generate {start} --n {len(info.files)} --seed {info.seed}{form} --out {name}"


def _network(bank: Bank) -> str:
    """Return what the checkpoints are of: `mnist1d convnet`, where the bank says."""
    return "a network" if bank.task is None else printable(f"{_task(bank.task.name)} {bank.task.arch}")


def _task(name: str) -> str:
    """Return the name of a task without the folder that its file is in, which is nobody's business."""
    return name.rpartition("/")[2]


def _plain(text: str) -> str:
    """Return text in which Markdown and HTML find nothing to do."""
    return "".join(f"\\{c}" if c in "\\`*_[]<>|#&" else c for c in printable(text))


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
