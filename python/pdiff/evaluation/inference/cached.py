"""Find predictions that were made before, by what decides them: contents, numbers and versions, never places.

Seen are the rows, the bank's base and all data, the task's name, `version`, numbers and strings, and the
files in which its class and those it derives from are defined. Not seen are other files that a task imports
or reads, what its attributes hold beyond numbers and strings, environment variables, and networks of
installed packages in another version: change the task's `version` with them, or give another cache folder.
"""

import inspect
import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pdiff import _core
from pdiff.bank import Bank
from pdiff.evaluation.inference.cache import Cache
from pdiff.evaluation.inference.prediction import Prediction
from pdiff.tasks.base import Task
from pdiff.tasks.data import digest_of


class CachedPredictions:
    """Predictions on `samples` samples in a cache, of one setting."""

    def __init__(self, cache: Cache, setting: str, samples: int) -> None:
        self._cache, self._setting, self._samples = cache, setting, samples

    def find(self, row: Tensor, votes: bool) -> Prediction | None:
        """Return what was predicted with a model, a raw row [D]; with votes if they are asked for."""
        for key in prediction_keys(self._setting, row, votes):
            data = self._cache.get(key)
            prediction = None if data is None else Prediction.unpacked(data)
            if prediction is not None and prediction.samples == self._samples:
                return prediction
        return None

    def keep(self, row: Tensor, votes: bool, prediction: Prediction) -> None:
        """Cache what was predicted."""
        self._cache.put(prediction_keys(self._setting, row, votes)[0], prediction.packed())


def setting(bank: Bank, task: Task, data: Sequence[str], options: Sequence[Any]) -> str | None:
    """Return the digest of everything but the row that decides a prediction.

    `data` holds digests of data, `options` what can be written as JSON. None if the task's class is in no
    file, as one that was typed into a session is.
    """
    sources = _sources(task)
    if sources is None:
        return None
    held = {k: v for k, v in getattr(task, "__dict__", {}).items() if isinstance(v, str | int | float | bool)}
    base = bank.base
    names = sorted(base.keys() - bank.subset_names)
    return _digest(
        {
            "bank": [bank.layout.fingerprint, sorted(bank.subset_names)],
            "base": [names, digest_of(base[name] for name in names)],
            "task": [task.name, task.version, task.tolerance, task.metric_name, held, sources],
            "data": list(data),
            "options": list(options),
            "versions": [str(torch.__version__), _core.__version__],
        }
    )


def prediction_keys(setting: str, row: Tensor, votes: bool) -> list[str]:
    """Return the keys under which a prediction may be, its own first: one with votes serves both."""
    content = _core.digest(row.contiguous().numpy())
    return [_digest([setting, content, kind]) for kind in ([True] if votes else [False, True])]


def _sources(task: Task) -> list[str] | None:
    """Return the digests of the files that define a task's class and its bases; None if it is in no file."""
    files = [_source_file(kind) for kind in type(task).__mro__]
    return None if files[0] is None else sorted({_core.digest_file(file) for file in files if file})


def _source_file(kind: type) -> str | None:
    """Return the file that defines a class, if it is there."""
    with suppress(TypeError, OSError):  # built in, or typed into a session
        file = inspect.getsourcefile(kind)
        return file if file is not None and Path(file).is_file() else None
    return None


def _digest(value: Any) -> str:
    """Return the BLAKE3 of a JSON value."""
    return _core.digest(json.dumps(value, sort_keys=True).encode())
