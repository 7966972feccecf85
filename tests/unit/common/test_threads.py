"""One thread for small networks, all for large ones, and what was asked for before either."""

import os
from pathlib import Path

import pytest
import torch
from torch import nn

from pdiff.bank import Bank
from pdiff.codecs.conv import ConvAutoencoder
from pdiff.common.config import Config
from pdiff.common.threads import LARGE, multiplications, on_threads, suitable_threads
from pdiff.generators.train import load_generator, train
from pdiff.tasks import load_task
from tests.command import pdiff
from tests.support import TINY


@pytest.fixture
def several(monkeypatch: pytest.MonkeyPatch) -> None:
    """As for a user: two threads, and nothing in the environment."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


@pytest.mark.parametrize(
    ("network", "shape", "expected"),
    [
        (nn.Linear(7, 5), (3, 7), [3 * 5 * 7]),
        (nn.Sequential(nn.Linear(7, 5), nn.ReLU(), nn.Linear(5, 1)), (3, 7), [3 * 35, 3 * 5]),
        (nn.Conv1d(2, 4, 3, padding=1), (3, 2, 10), [3 * 10 * 4 * 2 * 3]),
        (nn.Conv2d(4, 4, 3, groups=2, stride=2, padding=1), (1, 4, 8, 8), [4 * 4 * 4 * 2 * 9]),
        (nn.ConvTranspose1d(2, 4, 3, stride=2), (3, 2, 10), [3 * 10 * 2 * 4 * 3]),
        (
            nn.TransformerEncoderLayer(8, 2, 16, batch_first=True),
            (3, 5, 8),
            [3 * 5 * (4 * 8 * 8 + 2 * 5 * 8), 3 * 5 * 8 * 16, 3 * 5 * 16 * 8],
        ),
        (nn.ReLU(), (3, 7), []),
    ],
)
def test_multiplications_are_those_of_each_layer(
    network: nn.Module, shape: tuple[int, ...], expected: list[int]
) -> None:
    assert multiplications(network, lambda: network(torch.zeros(shape))) == expected


def test_counting_changes_nothing() -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout()).train()
    network[1].eval()
    state, before = torch.random.get_rng_state(), {k: v.clone() for k, v in network.state_dict().items()}
    multiplications(network, lambda: network(torch.rand(5, 3)))
    assert [module.training for module in network] == [True, False, True]
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert not network[0]._forward_hooks


@pytest.mark.usefixtures("several")
def test_small_networks_run_on_one_thread_and_large_ones_on_all() -> None:
    small = load_task("mnist1d").build("convnet")
    codec = ConvAutoencoder(2048, 128)
    rows = torch.zeros(50, 2048)
    with on_threads(2):
        assert suitable_threads(small, lambda: small(torch.zeros(1000, 40))) == 1
        assert suitable_threads(codec, lambda: codec.decode(codec.encode(rows))) == 2
        assert suitable_threads(nn.ReLU(), lambda: None) == 2, "nothing is known of it"
        with on_threads(1):
            assert suitable_threads(codec, lambda: pytest.fail("asked for nothing")) == 1
        assert torch.get_num_threads() == 2
    assert max(multiplications(small, lambda: small(torch.zeros(1000, 40)))) < LARGE / 10


def test_what_the_environment_says_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    with on_threads(2):
        assert suitable_threads(nn.Linear(1, 1), lambda: pytest.fail("asked for nothing")) == 2


@pytest.mark.parametrize("command", ["train", "generate", "evaluate", "average", "zoo", "demo"])
def test_every_command_that_computes_takes_threads(command: str, tmp_path: Path) -> None:
    assert "--threads N" in pdiff(tmp_path, command, "--help").stdout


@pytest.mark.usefixtures("several")
def test_runs_of_small_networks_do_not_depend_on_the_number_of_threads(bank: Bank, tmp_path: Path) -> None:
    small = ["codec.kind=conv", "codec.train.steps=3", "codec.train.batch_size=4"]
    settings = [*TINY, *small, "denoiser.kind=conv"]
    rows = []
    for number in (1, 2):
        with on_threads(number):
            run = train(bank, out=tmp_path / str(number), config=Config.build("paper", settings=settings))
            rows.append(load_generator(run).rows(range(3), seed=0))
    assert torch.equal(*rows)


def test_threads_are_set_for_torch_and_the_core(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMP_NUM_THREADS", "RAYON_NUM_THREADS"):
        monkeypatch.setenv(name, "1")  # so that it is taken back
    with on_threads(1):
        pdiff(tmp_path, "train", "--threads", "3")
        assert torch.get_num_threads() == 3
    assert os.environ["OMP_NUM_THREADS"] == os.environ["RAYON_NUM_THREADS"] == "3"
