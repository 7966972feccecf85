"""Define what every generator can do: be fitted to members of a bank, and yield new rows of it.

A generator is fitted once; then row i is a function of (fit, seed, i), whatever the number of rows asked for.
The paper's latent diffusion, an average, a Gaussian and noise are all generators, one file a family, and what
the evaluation calls baselines are these very objects, swept over their strength.
"""

from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Self, TypeVar

import torch
from torch import Tensor

from pdiff.bank import View
from pdiff.bank.manifest import Condition, TaskRef
from pdiff.common.config import Config
from pdiff.common.errors import UsageError
from pdiff.common.progress import SILENT, Progress
from pdiff.common.provenance import DataAccess, DataKind
from pdiff.common.tensors import read_tensors, write_tensors
from pdiff.training.interruption import NEVER, Interruption

if TYPE_CHECKING:
    from pdiff.tasks import Task

C = TypeVar("C", bound=Config)

_STATE = "generator.safetensors"


@dataclass(frozen=True)
class Context:
    """What fitting needs besides a configuration and members."""

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    folder: Path | None = None
    """Where a fit of several stages keeps the finished ones, to go on with them; None keeps nothing."""
    task: "Task | None" = None
    """The task of the checkpoints, for families that look at data; None takes what `reference` names."""
    arch: str | None = None
    reference: TaskRef | None = None
    """The task that the bank names, loaded only for families that ask for it."""
    held_out: View | None = None
    """Members that are not learned from, whose loss is only written down."""
    progress: Progress = SILENT
    interruption: Interruption = NEVER
    shared: dict[Hashable, Any] = field(default_factory=dict)
    """What took long to make and serves several fits with this context: a mean that was fine-tuned."""

    def require_task(self, family: str) -> "tuple[Task, str]":
        """Return task and architecture; raises `UsageError` if there is none."""
        task, found = self.task, self.reference
        if task is None and found is not None:
            from pdiff.tasks import load_task  # noqa: PLC0415 (few families look at data)

            task = load_task(found.name, **found.options)
        if task is None:
            raise UsageError(f"the generator {family} looks at data: name a task with --task")
        return task, self.arch or (found.arch if found is not None else task.architectures[0])


class Generator(ABC, Generic[C]):
    """One family of generators, fitted to `members`, a view of a bank.

    A subclass takes what it needs in its constructor beside `config` and `members`, and implements `fit`,
    `load` if it has a state, and `rows` or, where models are made one by one, `row`.
    """

    access: ClassVar[DataKind] = "weights"

    def __init__(self, config: C, members: View) -> None:
        self.config = config
        self.members = members
        self.seconds: dict[str, float] = {}
        """How long each stage of the fit took."""

    @classmethod
    @abstractmethod
    def fit(cls, config: C, members: View, context: Context) -> Self:
        """Fit to the members; raises `UsageError` for a configuration that does not suit them."""

    def rows(self, indices: Sequence[int], seed: int) -> Tensor:
        """Return the rows of the models `indices` (ascending): raw f32 [n, D] on the CPU, new memory.

        Row i depends on (fit, seed, i) alone.
        """
        rows = torch.empty(len(indices), self.members.dim)
        for row, index in zip(rows, indices, strict=True):
            row.copy_(self.row(index, seed))
        return rows

    def row(self, index: int, seed: int) -> Tensor:
        """Return the row of one model: raw f32 [D]."""
        return self.rows([index], seed)[0]

    def ask(self, conditions: Sequence[Mapping[str, Condition]]) -> None:
        """Take the conditions that models are to have: model i the i-th, beginning again after the last.

        Raises `UsageError` for a generator without conditions, and for values that it does not know.
        """
        label = self.config.label()
        raise UsageError(f"{label} was not fitted to conditions; train a generator with --condition NAME")

    @property
    def strength(self) -> float | None:
        """What a curve of the family is swept over (a scale, a number of members), None for none."""
        return None

    @property
    def gradient_evaluations(self) -> int:
        """Minibatches of training data whose gradient was taken, for all models together."""
        return 0

    @property
    def data_access(self) -> DataAccess:
        """What the fit has seen."""
        return DataAccess(self.access, self.gradient_evaluations)

    def facts(self) -> Mapping[str, float]:
        """Return numbers about the fit that the run's result should name (latent_dim, variance kept)."""
        return {}

    def state(self) -> Mapping[str, Tensor]:
        """Return the tensors that `load` needs to give the same rows; {} if the bank has them all."""
        return {}

    def save(self, folder: Path) -> list[str]:
        """Write the state to a run's folder and return the names of its files."""
        state = self.state()
        if not state:
            return []
        write_tensors(folder / _STATE, state)
        return [_STATE]

    @classmethod
    def load(cls, config: C, members: View, folder: Path, context: Context) -> Self:
        """Return the generator that `save` wrote to `folder`."""
        path = folder / _STATE
        return cls.restore(config, members, read_tensors(path) if path.is_file() else {}, context)

    @classmethod
    def restore(cls, config: C, members: View, state: Mapping[str, Tensor], context: Context) -> Self:
        """Return the generator whose `state` this is; a family without one is fitted again."""
        return cls.fit(config, members, context)
