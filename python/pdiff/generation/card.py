"""Write the model card: a README.md beside generated checkpoints, for people and for model hubs.

`generate` writes it, an evaluation writes it again with what it found. A README.md without our mark is
somebody else's and stays as it is.
"""

import json
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from pdiff import _core
from pdiff.bank import Bank
from pdiff.common.config import AnyConfig, Config, LatentConfig
from pdiff.common.settings import setting
from pdiff.common.wording import counted, printable
from pdiff.generation.generated import CONDITIONS, Generated, Info

CARD = "README.md"
_MARK = "<!-- Written by pdiff, and again by `pdiff evaluate`; without this line it is left alone. -->"


@dataclass(frozen=True)
class Judgement:
    """What an evaluation found, as far as a card says it."""

    sentence: str
    """The verdict."""
    task: str
    arch: str
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


def card(info: Info, bank: Bank, out: Path, judgement: Judgement | None = None) -> str:
    """Return the card's text; the same arguments give the same text."""
    made = info.provenance
    versions = ", ".join(f"{name} {made[name]}" for name in ("pdiff", "torch", "numpy") if name in made)
    task = bank.task
    return (
        _environment()
        .get_template("card.md")
        .render(
            info=info,
            bank=bank,
            judgement=judgement,
            mark=_MARK,
            network=_network(None if task is None else f"{task.name} {task.arch}", judgement),
            versions=versions or "unknown",
            command=_command(info, out),
        )
    )


@cache
def _environment() -> Environment:
    """Return what renders the card; its values are JSON, which is YAML too, or made `plain`."""
    made = Environment(
        autoescape=select_autoescape(),  # which Markdown is not
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
        loader=PackageLoader("pdiff.generation", "templates"),
    )
    made.filters |= {"json": partial(json.dumps, ensure_ascii=False), "thousands": "{:,}".format}
    made.filters |= {"plain": _plain, "printable": printable, "figure": _figure, "counted": counted}
    made.filters["task_name"] = _task_name
    return made


def _sampling(config: AnyConfig, info: Info) -> Iterator[str]:
    """Yield the options that say how models were drawn: all of them, since the run may have others."""
    if isinstance(config, LatentConfig):
        sampler = config.sampler
        yield f"--sampler {sampler.name} --steps {sampler.steps} --temperature {sampler.temperature:g}"
        if info.conditions:
            yield f"--guidance {sampler.guidance:g}"


def _command(info: Info, out: Path) -> str:
    """Return what makes the same checkpoints again, from inside the folder that holds them."""
    config = Config.from_values(info.generator.config)
    if info.generator.path:
        start = " ".join([shlex.quote(printable(info.generator.path)), *_sampling(config, info)])
    else:
        changes = [f"--set {shlex.quote(setting(*each))}" for each in config.changes().items()]
        start = " ".join([shlex.quote(printable(info.bank.path)), "--generator", config.name, *changes])
    if info.conditions:
        start += f" --conditions {CONDITIONS}"
    form = f" --format {info.form}" if info.form != "safetensors" else ""
    name = shlex.quote(printable(f"../{out.resolve().name}-again"))
    n = len(info.files) + len(info.left_out)
    return f"pdiff generate {start} --n {n} --seed {info.seed}{form} --out {name}"


def _network(name: str | None, judgement: Judgement | None) -> str:
    """Return what the bank says of its network, else what the models were judged as."""
    if name is not None:
        return printable(_task_name(name))
    return "a network" if judgement is None else printable(f"{_task_name(judgement.task)} {judgement.arch}")


def _task_name(name: str) -> str:
    """Return the name of a task without the folder that its file is in, which is nobody's business."""
    return name.rpartition("/")[2]


def _plain(text: str) -> str:
    """Return text in which Markdown and HTML find nothing to do."""
    return "".join(f"\\{c}" if c in "\\`*_[]<>|#&" else c for c in printable(text))


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
