"""A bank of the small problem's checkpoints, and generated ones beside it."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from safetensors.torch import save_file
from torch import Tensor, nn

from pdiff import _core
from pdiff.bank import Bank
from pdiff.common.sealing import write_sealed
from pdiff.generation.generated import FORMAT, GENERATED, Generated
from tests.unit.evaluation.waves import NORMS, Waves, lived_in, save_bank, save_whole_bank


@pytest.fixture
def task() -> Waves:
    return Waves()


@pytest.fixture
def few_suffice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a bank of a few members support a verdict."""
    monkeypatch.setattr("pdiff.evaluation.verdict.support.FEWEST", 2)


@pytest.fixture
def network() -> nn.Module:
    return lived_in()


@pytest.fixture
def norm_bank(tmp_path: Path, network: nn.Module) -> Bank:
    """Checkpoints that differ in the second norm layer."""
    return save_bank(tmp_path / "norms", network, NORMS)


@pytest.fixture
def whole_bank(tmp_path: Path, network: nn.Module) -> Bank:
    return save_whole_bank(tmp_path / "whole", network)


@pytest.fixture
def save_generated(tmp_path: Path) -> Callable[..., Generated]:
    """Write raw rows [N, D] the way `generate` does: `save_generated(bank, rows)`.

    Other folders than `generated`, each of a run of its own, other seeds, held-out members, gradients and
    families are for the asking.
    """

    def save(
        bank: Bank,
        rows: Tensor,
        *,
        out: str = "generated",
        seed: int = 7,
        held_out: Sequence[int] = (),
        gradient_evaluations: int = 0,
        family: str = "latent",
    ) -> Generated:
        folder = tmp_path / out
        folder.mkdir()
        files = [f"model-{index:04d}.safetensors" for index in range(len(rows))]
        for file, row in zip(files, rows, strict=True):
            save_file(bank.state_dict(row), folder / file)
        info = {
            "format": FORMAT,
            "provenance": {},
            "files": files,
            "digests": {file: _core.digest_file(folder / file) for file in files},
            "seed": seed,
            "generator": {
                "family": family,
                "label": "default",
                "path": "run",
                "digest": _core.digest(out.encode()),
                "config": {},
            },
            "access": {
                "kind": "gradients" if gradient_evaluations else "weights",
                "gradient_evaluations": gradient_evaluations,
            },
            "bank": {"path": str(bank.path), "digest": bank.digest},
            "cost": {"once_s": 12.5, "per_model_s": 0.25},
            "held_out": list(held_out),
        }
        write_sealed(folder / GENERATED, info)
        return Generated.open(folder)

    return save
