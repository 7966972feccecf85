"""A codec that cannot reconstruct ends the training before a denoiser is trained, with advice."""

import re
from pathlib import Path

import pytest

from pdiff.bank import Bank, collect
from pdiff.common.config import Config, LatentConfig
from pdiff.common.errors import PdiffError
from pdiff.generators.base import Context
from pdiff.generators.latent import Latent
from pdiff.generators.reconstruction import Reconstruction
from pdiff.generators.train import train
from tests.golden.case import write_checkpoints
from tests.support import TINY, Said

HARDLY = [*TINY, "codec.kind=conv", "codec.train.steps=1", "codec.train.batch_size=4"]


def test_without_a_task_the_variance_decides(bank: Bank, tmp_path: Path) -> None:
    config = Config.build("paper", settings=[*HARDLY, "check=true"])
    said = Said()
    with pytest.raises(PdiffError, match=r"cannot reconstruct the checkpoints.*--set codec.kind=pca"):
        train(bank, out=tmp_path / "run", config=config, progress=said)
    assert said[-1].startswith("the codec keeps -")
    assert not (tmp_path / "run" / "denoiser.safetensors").exists()
    codec = (tmp_path / "run" / "codec.safetensors").read_bytes()
    going_on = Config.build("paper", settings=HARDLY)
    run = train(bank, out=tmp_path / "run", config=going_on, resume=True)
    assert (run.path / "codec.safetensors").read_bytes() == codec
    assert run.result.facts["variance_explained"] < 0


@pytest.mark.parametrize(
    ("found", "useless"),
    [
        (Reconstruction(0.3), False),
        (Reconstruction(-0.1), True),
        (Reconstruction(-14.0, 0.9, 0.88), False),
        (Reconstruction(0.9, 0.9, 0.3), True),
    ],
)
def test_accuracy_decides_where_it_is_known(found: Reconstruction, useless: bool) -> None:
    assert bool(found.problem) is useless


def test_members_of_a_known_task_are_decoded_and_scored(tmp_path: Path) -> None:
    write_checkpoints(tmp_path / "ckpts")
    bank, said = collect(tmp_path / "ckpts", out=tmp_path / "digits"), Said()
    config = Config.build("default", settings=TINY)
    assert isinstance(config, LatentConfig)
    Latent.fit(config, bank.view(range(len(bank))), Context(reference=bank.task, progress=said))
    assert "of the variance between checkpoints in 4 numbers; decoded checkpoints get " in said[0]
    decoded, originals = (float(each) for each in re.findall(r"([\d.]+)%", said[0])[1:])
    assert decoded > 50
    assert originals > 80
