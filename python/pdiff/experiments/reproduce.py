"""Reproduce rows of the table of recipes, and put what comes out beside what was published."""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import msgspec

from pdiff.common.artifacts import write_json
from pdiff.common.errors import UsageError, unknown
from pdiff.common.progress import AnyProgress, as_progress
from pdiff.experiments.experiment import Experiment, run_experiment
from pdiff.experiments.outcome import Outcome
from pdiff.zoo.recipes import Row, rows

SMOKE: dict[str, Any] = {"k": 6, "n": 3, "epochs": 1, "baselines_n": 2}
"""What `smoke` changes: enough to see that everything runs, too little for figures that mean anything."""
_FEW = {"train.steps": 4, "train.batch_size": 4, "sampler.steps": 4, "check": False}
_SMOKE_SETTINGS: dict[str, dict[str, Any]] = {
    "default": _FEW,
    "paper": {**_FEW, "codec.train.steps": 4, "codec.train.batch_size": 4},
}
_SMOKE_SETTINGS["paper-full"] = _SMOKE_SETTINGS["paper"]


class RowOutcome(Outcome, frozen=True, kw_only=True):
    """What a row of a table came to."""

    row: Row


def chosen(table: str, only: Sequence[str] = ()) -> list[Row]:
    """Return the rows of a table whose names, `task/arch`, match one of the globs `only`.

    Raises `UsageError` for a table that there is not, and for a glob that matches none of its rows.
    """
    tables = {row.table: [other for other in rows() if other.table == row.table] for row in rows()}
    if table not in tables:
        raise unknown("table", table, tables)
    for glob in only:
        if not any(fnmatchcase(row.name, glob) for row in tables[table]):
            raise unknown(f"row of {table}", glob, [row.name for row in tables[table]])
    return [row for row in tables[table] if not only or any(fnmatchcase(row.name, glob) for glob in only)]


def reproduce(
    table: str,
    *,
    only: Sequence[str] = (),
    out: str | Path = "reproduced",
    data_root: Path | None = None,
    init: Path | None = None,
    seeds: int = 1,
    device: str | None = None,
    smoke: bool = False,
    progress: AnyProgress = None,
    **changes: Any,
) -> list[RowOutcome]:
    """Run the rows of a table, each in `out`/TABLE/TASK-ARCH, and write `out`/TABLE/table.json.

    What is finished is not done again. `init` is a checkpoint that the zoo starts from, of one network, so
    that it goes with one row; without it networks are trained from random weights, which is not what the
    paper did for `table1`. `changes` are fields of `Experiment`. `smoke` runs everything on next to nothing.

    Raises `UsageError` for what cannot work.
    """
    wanted, progress = chosen(table, only), as_progress(progress)
    if init is not None and len(wanted) > 1:
        raise UsageError(
            f"--init is a checkpoint of one network, and {len(wanted)} rows are wanted; see --only"
        )
    outcomes = []
    for row in wanted:
        folder = Path(out) / table / f"{row.task}-{row.arch}"
        experiment = _experiment(row, init, seeds, changes, smoke=smoke)
        progress.message(f"{row.name}: {folder}")
        results = run_experiment(experiment, folder, data_root=data_root, device=device, progress=progress)
        outcomes.append(RowOutcome.of(folder, results, row=row))
    write_json(Path(out) / table / "table.json", outcomes)
    return outcomes


def _experiment(
    row: Row, init: Path | None, seeds: int, changes: dict[str, Any], *, smoke: bool
) -> Experiment:
    values: dict[str, Any] = {
        "task": row.task,
        "arch": row.arch,
        "options": row.options,
        "init": None if init is None else str(init.resolve()),
        "subset": row.subset,
        "preset": row.preset,
        "seeds": seeds,
        **(SMOKE | {"settings": _SMOKE_SETTINGS[row.preset]} if smoke else {}),
        **{name: value for name, value in changes.items() if value is not None},
    }
    return msgspec.convert(values, Experiment)
