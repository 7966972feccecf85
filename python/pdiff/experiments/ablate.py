"""Vary an experiment, one change after the other, and put the outcomes in one table."""

import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from itertools import product
from pathlib import Path
from typing import Any

import msgspec

from pdiff.common.artifacts import write_json
from pdiff.common.errors import UsageError, unknown
from pdiff.common.progress import AnyProgress, as_progress
from pdiff.common.settings import read_toml
from pdiff.evaluation.schema import RESULTS, read_results
from pdiff.experiments.experiment import BANK, Experiment, run_experiment
from pdiff.experiments.outcome import Outcome
from pdiff.report import make_report

FIELDS = Experiment.__struct_fields__


class Cell(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One change: fields of `Experiment`, and values of the generator's configuration by dotted keys."""

    change: dict[str, Any]
    published: tuple[float, float] | None = None
    """Best and mean accuracy of the generated models, in per cent."""

    @property
    def name(self) -> str:
        """The changes in one word: `k=10,codec.latent_noise=0.0`."""
        return _name(self.change)

    def experiment(self, base: Experiment) -> Experiment:
        """Return an experiment with the change; raises `UsageError` for values that it does not take."""
        fields = {key: value for key, value in self.change.items() if key in FIELDS}
        settings = {key: value for key, value in self.change.items() if key not in FIELDS}
        if base.bank is not None and (decides := fields.keys() & set(BANK) - {"bank"}):
            raise UsageError(f"{self.name}: {min(decides)} decides the bank, and one is given")
        values = msgspec.structs.asdict(base) | fields | {"settings": base.settings | settings}
        try:
            changed = msgspec.convert(values, Experiment)
        except msgspec.ValidationError as error:
            raise UsageError(f"{self.name}: {error}") from None
        changed.config(changed.seed)  # checks the settings
        return changed


class Grid(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The cells of an ablation."""

    cells: list[Cell]
    about: str = ""

    @staticmethod
    def built_in(name: str) -> "Grid":
        """Return one of the paper's; raises `UsageError` for a name that is none."""
        content = tomllib.loads(files("pdiff.experiments").joinpath("ablations.toml").read_text("utf-8"))
        if name not in content:
            raise UsageError(f"{unknown('ablation', name, content)}, or a file GRID.toml")
        return msgspec.convert(content[name], Grid)

    @staticmethod
    def read(file: Path) -> tuple["Grid", dict[str, Any]]:
        """Read `[[vary]]` tables, each of lists whose combinations are cells, and the experiment they change.

        What is no field of it is a value of the generator's configuration. Raises `UsageError` that names the
        file.
        """
        content = read_toml(file)
        vary = content.pop("vary", None)
        if not isinstance(vary, list) or not all(isinstance(each, dict) for each in vary) or not vary:
            raise UsageError(f"{file}: has no [[vary]] table, whose lists are what is varied")
        cells = [Cell(change) for table in vary for change in _combinations(file, _flat(table))]
        fields = {key: value for key, value in content.items() if key in FIELDS}
        others = {key: value for key, value in content.items() if key not in FIELDS}
        if settings := fields.get("settings", {}) | _flat(others):
            fields["settings"] = settings
        return Grid(cells), fields


def _combinations(file: Path, lists: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for key, values in lists.items():
        if not isinstance(values, list) or not values:
            raise UsageError(f"{file}: {key} is {values!r}; a list of values is wanted")
    for values in product(*lists.values()):
        yield dict(zip(lists, values, strict=True))


def _flat(table: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """Return nested tables by dotted keys."""
    found: dict[str, Any] = {}
    for key, value in table.items():
        nested = isinstance(value, dict)
        found |= _flat(value, f"{path}{key}.") if nested else {f"{path}{key}": value}
    return found


def _name(change: Mapping[str, Any]) -> str:
    return ",".join(f"{key}={value}" for key, value in change.items()) or "base"


class CellOutcome(Outcome, frozen=True, kw_only=True):
    """What a cell of a grid came to."""

    cell: Cell


def ablate(
    grid: Grid,
    base: Experiment,
    *,
    out: str | Path = "ablation",
    data_root: Path | None = None,
    device: str | None = None,
    progress: AnyProgress = None,
) -> list[CellOutcome]:
    """Run the cells of a grid in `out`/cells and write `out`/ablation.json and `out`/report.html.

    Cells whose bank is the same share it, in `out`/banks. What is finished is not done again. Of the
    processes that `torchrun` started each takes the cells of some of the banks; what is finished by then is
    returned. Raises `UsageError` before anything starts for a cell that cannot work.
    """
    out, progress = Path(out), as_progress(progress)
    experiments = [cell.experiment(base) for cell in grid.cells]
    names = [cell.name for cell in grid.cells]
    if twice := {name for name in names if names.count(name) > 1}:
        raise UsageError(f"the grid has {min(twice)} more than once")
    banks = [_name({key: value for key, value in cell.change.items() if key in BANK}) for cell in grid.cells]
    mine = _share(sorted(set(banks)))
    for cell, experiment, bank in zip(grid.cells, experiments, banks, strict=True):
        if bank in mine:
            progress.message(f"{cell.name}")
            place = out / "banks" / bank
            run_experiment(
                experiment, out / "cells" / cell.name, place=place, data_root=data_root, device=device,
                progress=progress,
            )  # fmt: skip
    outcomes = [
        CellOutcome.of(folder, read_results(folder / "evaluation"), cell=cell)
        for cell in grid.cells
        if ((folder := out / "cells" / cell.name) / "evaluation" / RESULTS).is_file()
    ]
    write_json(out / "ablation.json", outcomes)
    if len(outcomes) > 1:
        folders = [Path(outcome.folder) / "evaluation" for outcome in outcomes]
        make_report(folders, out=out / "report.html", overwrite=True)
    return outcomes


def _share(items: Sequence[str]) -> Sequence[str]:
    """Return those of the items that are this process's, of several that `torchrun` started."""
    return items[int(os.environ.get("RANK", "0")) :: int(os.environ.get("WORLD_SIZE", "1"))]
