"""Fixtures that several test packages share: a small folder of checkpoints, its bank, a run of it."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from pdiff.bank import Bank, collect
from pdiff.common.config import Config
from pdiff.generators.train import train
from pdiff.training import Run
from tests.support import MEMBERS, TINY, checkpoint


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    """Networks this small are slower on several threads, and on a busy machine much slower."""
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")  # for the processes that the tests start
        yield


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or writes the predictions of the person who runs it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PDIFF_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True, scope="session")
def heard_ctrl_c() -> None:
    """Processes in the background of a shell ignore Ctrl-C, and so would those that the tests start."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def ckpts(tmp_path: Path) -> Path:
    """A folder of `MEMBERS` safetensors checkpoints."""
    folder = tmp_path / "ckpts"
    folder.mkdir()
    for index in range(MEMBERS):
        save_file(checkpoint(index), folder / f"step-{index}.safetensors", {"accuracy": f"0.{90 + index}"})
    return folder


@pytest.fixture
def bank(ckpts: Path, tmp_path: Path) -> Bank:
    """The bank of `ckpts`."""
    return collect(ckpts, out=tmp_path / "bank")


@pytest.fixture
def make_run(bank: Bank, tmp_path: Path) -> Callable[..., Run]:
    """Train a tiny run of `bank`: `make_run(preset, *settings)`."""

    def make(preset: str = "default", *settings: str, out: str = "run", **options: bool) -> Run:
        config = Config.build(preset, settings=[*TINY, *settings])
        return train(bank, out=tmp_path / out, config=config, **options)

    return make
