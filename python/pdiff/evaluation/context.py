"""What decides a prediction besides the model's row."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pdiff import _core
from pdiff.bank import Bank
from pdiff.evaluation.fingerprint import (
    digest_of,
    engine_sources,
    network_digest,
    task_digest,
    tensor_digest,
)
from pdiff.evaluation.sources import Opaque
from pdiff.tasks.base import Task

__all__ = ["context_of"]


def context_of(
    bank: Bank,
    task: Task,
    network: nn.Module,
    data: Sequence[Tensor],
    *,
    options: Sequence[Any],
    say: Callable[[str], None],
) -> str | None:
    """Return a digest of everything but the row that decides a prediction, contents only, never paths.

    `network` is `task`'s, `data` what it is run on, `options` how. None if a part of the task has no content
    that can be told, which is said.
    """
    try:
        task_content = [task.name, task_digest(task), network_digest(network, bank.base)]
    except Opaque as held:
        say(f"predictions are not kept: the task {task.name} holds {held}, whose content cannot be told")
        return None
    base = {name: tensor_digest(t) for name, t in bank.base.items() if name not in bank.subset_names}
    code = [_core.digest_file(_core.__file__), engine_sources()]
    machine = [str(torch.__version__), torch.backends.cpu.get_cpu_capability()]
    return digest_of(
        {
            "bank": [bank.layout.fingerprint, sorted(bank.subset_names), base],
            "task": task_content,
            "data": [tensor_digest(tensor) for tensor in data],
            "options": list(options),
            "code": code,
            "machine": machine,
        }
    )
