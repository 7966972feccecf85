"""The self-test: members that can be learned by heart are, and what cannot learn is named."""

import pytest

from pdiff.bank import Bank
from pdiff.common.config import Config, LatentConfig
from pdiff.common.errors import InputError, PdiffError
from pdiff.generators.base import Context
from pdiff.generators.self_test import MEMBERS, SelfTest, self_test
from tests.support import TINY

WIDER = ("denoiser.width=64", "train.batch_size=32")


def tried(bank: Bank, *settings: str) -> SelfTest:
    config = Config.build("default", settings=[*TINY, "codec.latent_dim=7", *WIDER, *settings])
    assert isinstance(config, LatentConfig)
    return self_test(config, bank, Context())


def test_a_configuration_that_learns_gives_the_members_back(bank: Bank) -> None:
    found = tried(bank, "train.steps=300", "train.lr=3e-3", "sampler.steps=20", "diffusion.jitter=0.5")
    assert found.members == MEMBERS
    assert found.variance == pytest.approx(1)
    assert found.distance < 0.3
    found.check()
    assert found.sentence.startswith("of 8 checkpoints the codec keeps 100.0% of the variance")


def test_a_denoiser_that_does_not_learn_is_named(bank: Bank) -> None:
    with pytest.raises(PdiffError, match=r"self-test failed: .*; the denoiser does not learn"):
        tried(bank, "train.steps=1").check()


def test_a_codec_that_does_not_learn_is_named(bank: Bank) -> None:
    hardly = ("codec.kind=conv", "codec.latent_dim=4", "codec.train.steps=1", "codec.train.batch_size=4")
    with pytest.raises(PdiffError, match=r"the codec does not learn: .*--set codec.kind=pca"):
        tried(bank, *hardly).check()


def test_two_members_are_too_few(bank: Bank) -> None:
    config = Config.build("default")
    assert isinstance(config, LatentConfig)
    few = SelfTest(8, 0.95, 0.4)
    few.check()
    with pytest.raises(InputError, match="2 checkpoints; a self-test needs 3 or more"):
        self_test(config, _Few(bank), Context())


class _Few(Bank):
    """A bank of which two members are left."""

    def __init__(self, bank: Bank) -> None:
        super().__init__(bank.path, bank.manifest, bank.digest)

    def __len__(self) -> int:
        return 2
