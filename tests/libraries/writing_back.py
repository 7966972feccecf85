"""The way of checkpoints of a library: collected, and generated in the same form."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pdiff.bank import Bank, collect
from pdiff.common.config import Config
from pdiff.generation.generated import Generated
from pdiff.generation.sample import generate

MEMBERS = 4


def again(folder: Path, ckpts: Path, **options: Any) -> Generated:
    """Collect what is below `ckpts`, and return two generated models in the same form, below `folder`."""
    bank: Bank = collect(ckpts, out=folder / "bank", **options)
    made = generate(bank, config=Config.preset("gaussian"), n=2, out=folder / "made", format="source")
    assert not made.info.left_out
    return made


def written_back(folder: Path, save: Callable[[Path, int], None], **options: Any) -> Generated:
    """Collect what `save` leaves below a folder, and return two generated models in the same form."""
    (folder / "ckpts").mkdir()
    for index in range(MEMBERS):
        torch.manual_seed(index)
        save(folder / "ckpts", index)
    return again(folder, folder / "ckpts", **options)


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))


def assert_loaded(module: nn.Module, generated: dict[str, Tensor], prefix: str = "") -> None:
    state = module.state_dict()
    for name, tensor in generated.items():
        assert torch.equal(state[name.removeprefix(prefix)], tensor), name
