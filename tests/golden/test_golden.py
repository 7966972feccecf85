"""The whole way from checkpoints to a verdict gives the figures that it gave when they were recorded."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from pdiff.bank import collect
from pdiff.common.config import Config
from pdiff.evaluation.evaluate import evaluate
from pdiff.generation.generated import Generated
from pdiff.generation.sample import generate
from pdiff.generators.train import train
from tests.golden import case

HERE = Path(__file__).parent
ROUNDING = 1e-6
"""Figures agreed to 1e-12 on the machine that recorded them; others round otherwise, and a sample may tip."""
ASKED: dict[str, dict[str, Any]] = {
    "weights": {},
    "inputs": {"data_access": "inputs", "reestimate": 400},
    "gradients": {"data_access": "gradients", "gradient_evaluations": 24},
}


@dataclass(frozen=True)
class Made:
    """What the case gives."""

    rows: dict[str, Tensor]
    generated: Generated
    cache: Path
    """Predictions, so that what several figures are of is run once."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    folder = tmp_path_factory.mktemp("golden")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    case.write_checkpoints(folder / "ckpts")
    bank = collect(folder / "ckpts", out=folder / "bank")
    found = {}
    for preset, settings in case.SMALL.items():
        run = train(bank, out=folder / preset, config=Config.build(preset, settings=settings))
        found[preset] = generate(run, n=case.GENERATED, seed=3, out=folder / f"generated-{preset}")
    yield Made(
        {preset: each.rows()[:3] for preset, each in found.items()}, found["default"], folder / "cache"
    )
    torch.set_num_threads(threads)


@pytest.mark.parametrize("preset", case.SMALL)
def test_generated_rows(made: Made, preset: str) -> None:
    expected = load_file(HERE / "rows.safetensors")[preset]
    torch.testing.assert_close(made.rows[preset], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ASKED)
def test_figures(made: Made, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pdiff.evaluation.verdict.support.FEWEST", 2)  # or so few members support no verdict
    expected = json.loads((HERE / "figures.json").read_text())[kind]
    options = {"baselines_n": 4, "replicates": 40, "seed": 1, "cache": made.cache}
    results = evaluate(made.generated, **options, **ASKED[kind])
    found = msgspec.to_builtins(results)
    found["findings"] = [each["kind"] for each in found["verdict"]["findings"]]
    different = [
        (place, value, seen)
        for place, value in leaves(expected)
        if not alike(value, seen := at(found, place))
    ]
    assert not different, different[:10]


def leaves(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Yield every plain value with where it is."""
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(item, (*place, key))
    else:
        yield place, value


def at(value: Any, place: tuple[Any, ...]) -> Any:
    for key in place:
        value = value[key]
    return value


def alike(expected: Any, found: Any) -> bool:
    if isinstance(expected, float) and isinstance(found, float | int):
        return abs(expected - found) <= ROUNDING
    return bool(expected == found)
