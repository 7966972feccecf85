"""Cache predictions on disk from one run to the next, in one SQLite file of bounded size.

A prediction is found by what decides it: contents, numbers and versions, never places. Seen are the rows, the
bank's base and all data, the task's name, `version`, numbers and strings, and the files in which its class
and those it derives from are defined. Not seen are other files that a task imports or reads, what its
attributes hold beyond numbers and strings, environment variables, and networks of installed packages in
another version: change the task's `version` with them, or give another cache folder.

Every record is a transaction of its own, so a process that is killed loses at most the record in progress,
and several processes may write at once. The journal is SQLite's plain one, which works on network file
systems where a write-ahead log does not; nothing waits for the disk, so a power cut may damage the file.
"""

import inspect
import json
import os
import sqlite3
import time
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pdiff import _core
from pdiff.bank import Bank
from pdiff.evaluation.inference.predictions import Prediction
from pdiff.tasks.base import Task
from pdiff.tasks.data import digest_of

LIMIT = 4 * 1024**3
"""Bytes of payloads beyond which those that were not used for the longest time are removed."""
FILE = "predictions.sqlite"

_WAIT_S = 30.0
"""How long one process waits for another one's transaction."""
_RESOLUTION_S = 3600.0
"""How exactly it is known when a record was used: each note of that is a write."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS records (
    key TEXT PRIMARY KEY, used REAL NOT NULL, size INTEGER NOT NULL,
    digest BLOB NOT NULL, payload BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS by_use ON records (used, size);
"""
_SHRINK = """
DELETE FROM records WHERE rowid IN (
    SELECT rowid FROM (SELECT rowid, SUM(size) OVER (ORDER BY used DESC, rowid DESC) AS total FROM records)
    WHERE total > ?
)
"""


def default_folder() -> Path:
    """Return `$PDIFF_CACHE`, or `pdiff` in `$XDG_CACHE_HOME` or `~/.cache`."""
    if own := os.environ.get("PDIFF_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / "pdiff"


class Cache:
    """Payloads under keys, in a file in `folder`, at most about `limit` bytes of them.

    A folder or file that cannot be used is told once to `say`, and done without; nothing here raises.
    """

    def __init__(self, folder: Path, say: Callable[[str], None], limit: int = LIMIT) -> None:
        self._path, self._say, self._limit = folder / FILE, say, limit
        self._unchecked = 0  # bytes written since the size was last looked at
        self._database: sqlite3.Connection | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            database = sqlite3.connect(
                self._path, timeout=_WAIT_S, isolation_level=None, check_same_thread=False
            )
            weakref.finalize(self, database.close)
            self._database = database
            database.text_factory = bytes  # damaged text cannot be decoded
            database.execute("PRAGMA synchronous = OFF")
            database.executescript(_SCHEMA)
            database.execute(_SHRINK, (limit,))
        except (OSError, sqlite3.Error) as error:
            self._give_up(error)

    def get(self, key: str) -> bytes | None:
        """Return the payload under `key`; None if there is none or it is damaged."""
        if self._database is None:
            return None
        try:
            query = "SELECT CAST(used AS REAL), digest, CAST(payload AS BLOB) FROM records WHERE key = ?"
            found = self._database.execute(query, (key,)).fetchone()
            if found is None or found[1] != _checksum(key, found[2]):
                return None
            if found[0] < time.time() - _RESOLUTION_S:
                self._database.execute("UPDATE records SET used = ? WHERE key = ?", (time.time(), key))
        except sqlite3.Error as error:
            self._give_up(error)
            return None
        payload: bytes = found[2]
        return payload

    def put(self, key: str, payload: bytes) -> None:
        """Write a record, instead of another one under the same key."""
        if self._database is None:
            return
        record = (key, time.time(), len(payload), _checksum(key, payload), payload)
        try:
            self._database.execute("INSERT OR REPLACE INTO records VALUES (?, ?, ?, ?, ?)", record)
            self._unchecked += len(payload)
            if self._unchecked > self._limit // 64:
                self._database.execute(_SHRINK, (self._limit,))
                self._unchecked = 0
        except sqlite3.Error as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        """Say why, once, and use the file no more."""
        self._database = None
        damaged = isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError)
        remedy = "remove the file" if damaged else "see --cache"
        self._say(f"{self._path}: predictions are computed without a cache ({error}); {remedy}")


def _checksum(key: str, payload: bytes) -> bytes:
    """Return the checksum of a record."""
    return _core.digest(key.encode() + payload).encode()


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
            "task": [task.name, type(task).__qualname__, task.version, task.tolerance, task.metric_name],
            "code": [held, sources],
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
