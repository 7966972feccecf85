"""Reading `results.json` again: of this format, and all of it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pdiff.common.errors import InputError, UsageError

__all__ = ["REPORT", "RESULTS", "read_results"]

RESULTS = "results.json"
REPORT = "report.html"
_FORMAT = 4
_PARTS = frozenset(
    {
        *("task", "bank", "league", "original", "generated", "runs", "ensemble", "baselines", "controls"),
        *("novelty", "geometry", "votes", "verdict", "envelopes", "points", "plots", "warnings", "cost"),
        "provenance",
    }
)


def read_results(path: Path) -> Mapping[str, Any]:
    """Read an evaluation: a folder that `pdiff evaluate` wrote, or its `results.json`.

    Raises `UsageError` if there is none, `InputError` if it is damaged or of another format.
    """
    file = path / RESULTS if path.is_dir() else path
    try:
        results = json.loads(file.read_bytes())
    except FileNotFoundError:
        raise UsageError(
            f"{path}: no evaluation here (no {RESULTS}); make one with `pdiff evaluate`"
        ) from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file}: damaged ({error})") from None
    if not isinstance(results, dict) or "format" not in results:
        raise InputError(f"{file}: not the results of an evaluation")
    if results["format"] != _FORMAT:
        raise InputError(
            f"{file}: format {results['format']!r}, this version reads {_FORMAT}; run `pdiff evaluate` again"
        )
    if missing := sorted(_PARTS - results.keys()):
        raise InputError(f"{file}: damaged (no {', '.join(missing)})")
    return results
