"""Read how each network is trained and turned into a bank from `recipes.toml`, a table of experiments."""

import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from pdiff.common.errors import UsageError, unknown
from pdiff.tasks.registry import PICTURES

OPTIMIZERS = ("sgd", "adam", "adamw")

SGD_FACTOR = 2
"""SGD's rate beside Adam's where only the optimiser is chosen: about the same spread of accuracy."""

Augment = Literal["none", "flip-and-shift", "resized-crop"]
"""How training images are varied at random, in both phases (`pdiff.zoo.augment`)."""

_Positive = Annotated[int, Meta(ge=1)]


class _Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of everything in the table."""


class Phase(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the steps of one phase are taken. SGD has a momentum of 0.9."""

    optimizer: str
    lr: float
    batch_size: _Positive
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        if self.optimizer not in OPTIMIZERS:
            raise unknown("optimizer", self.optimizer, OPTIMIZERS)
        if not 0 < self.lr < float("inf"):
            raise UsageError(f"learning rate {self.lr}: expected a number above 0")


class Recipe(_Entry, frozen=True, kw_only=True):
    """Everything that decides a zoo besides the task, the seed and K."""

    epochs: _Positive
    converge: Phase
    """Training from scratch, or from weights that are given; its rate is the peak of one cycle."""
    whole: Phase
    """The bank's steps when the subset is the whole network; the rate is constant."""
    part: Phase
    """The bank's steps for any other subset; the rate is constant."""
    validation_samples: _Positive
    """How many samples of the validation split, from its start, judge each checkpoint."""
    augment: Augment = "none"
    first: str = "all"
    """What is trained to convergence, as `select_subset` reads it: of a pretrained network maybe its head."""

    def bank_phase(self, subset: str, optimizer: str | None = None, lr: float | None = None) -> Phase:
        """Return the bank's phase for a subset, with the caller's choices in place of the table's.

        Raises `UsageError` for an unknown optimiser or a rate that is not positive.
        """
        phase = self.whole if subset == "all" else self.part
        if optimizer == "sgd" and phase.optimizer != "sgd":
            phase = msgspec.structs.replace(phase, lr=phase.lr * SGD_FACTOR)
        phase = msgspec.structs.replace(phase, optimizer=phase.optimizer if optimizer is None else optimizer)
        return phase if lr is None else msgspec.structs.replace(phase, lr=lr)


class Row(_Entry, frozen=True, kw_only=True):
    """One experiment: a network of a task, its bank and its generator."""

    table: str
    """`table1` and `minis` are the paper's; `hyper`, `small`."""
    task: str
    arch: str
    subset: str
    """What goes on training while checkpoints are saved, as `select_subset` reads it."""
    numbers: int | None = None
    """Numbers of the subset, where they are published."""
    recipe: str
    preset: str
    """Configuration of the generator."""
    options: dict[str, Any] = {}
    """What the task is built with."""
    published: tuple[float, float, float] | None = None
    """Best original, average of all, best generated: accuracy in per cent."""

    @property
    def name(self) -> str:
        """Task and network: `cifar100/resnet18`."""
        return f"{self.task}/{self.arch}"


class _Table(_Entry, frozen=True, kw_only=True):
    """Rows that have most in common."""

    recipe: str
    subset: str
    preset: str
    options: dict[str, Any] = {}
    numbers: dict[str, int] = {}
    published: dict[str, dict[str, tuple[float, float, float]]] = {}
    rows: dict[str, list[str]] = {}
    recipes: dict[str, str] = {}

    def expanded(self, table: str) -> Iterator[Row]:
        """Yield the rows of the table of this name."""
        archs = self.rows or {task: list(found) for task, found in self.published.items()}
        for task, arch in ((task, arch) for task, several in archs.items() for arch in several):
            yield Row(
                table=table,
                task=task,
                arch=arch,
                subset=self.subset,
                numbers=self.numbers.get(arch),
                recipe=self.recipes.get(f"{task}/{arch}", self.recipe),
                preset=self.preset,
                options=self.options,
                published=self.published.get(task, {}).get(arch),
            )


class _Tables(_Entry, frozen=True, kw_only=True):
    """The content of `recipes.toml`."""

    recipes: dict[str, Recipe]
    tables: dict[str, _Table]


@cache
def _tables() -> _Tables:
    content = tomllib.loads(files("pdiff.zoo").joinpath("recipes.toml").read_text(encoding="utf-8"))
    recipes = content["recipes"]
    for name, values in recipes.items():
        if "like" in values:
            recipes[name] = recipes[values["like"]] | {k: v for k, v in values.items() if k != "like"}
    return msgspec.convert(content, _Tables)


@cache
def rows() -> tuple[Row, ...]:
    """Return every experiment, table by table."""
    return tuple(row for name, table in _tables().tables.items() for row in table.expanded(name))


def default_arch(task: str) -> str | None:
    """Return the network of a task's first experiment, None where it has none."""
    return next((row.arch for row in rows() if row.task == task), None)


def row_for(task: str, arch: str) -> Row:
    """Return the experiment with a network of a task.

    Of photographs without one it is that of the same network on others, of anything else a small convnet's.
    """
    for row in rows():
        if (row.task, row.arch) == (task, arch):
            return row
    for row in rows():
        if row.arch == arch and row.task in PICTURES and task in PICTURES:
            return msgspec.structs.replace(row, table="", task=task, published=None)
    return Row(table="", task=task, arch=arch, subset="all", recipe="convnet", preset="default")


def recipe_for(task: str, arch: str) -> Recipe:
    """Return the recipe of a built-in network, or that of a small convnet for any other."""
    return _tables().recipes[row_for(task, arch).recipe]
