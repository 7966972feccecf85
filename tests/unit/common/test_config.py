"""Configuration: presets, changes, refusals."""

from pathlib import Path
from typing import Any

import pytest

from pdiff.common.config import PRESETS, Config, ConvCodecConfig, LatentConfig, PcaCodecConfig
from pdiff.common.errors import UsageError


def latent(*arguments: Any, **options: Any) -> LatentConfig:
    config = Config.build(*arguments, **options)
    assert isinstance(config, LatentConfig)
    return config


def test_the_paper_preset_is_the_paper() -> None:
    paper = latent("paper")
    assert isinstance(paper.codec, ConvCodecConfig)
    assert paper.codec.latent_dim == 128
    assert (paper.codec.input_noise, paper.codec.latent_noise) == (0.001, 0.1)
    assert (paper.codec.train.lr, paper.codec.train.steps, paper.codec.train.batch_size) == (2e-5, 500, 50)
    assert (paper.train.lr, paper.train.steps, paper.train.batch_size) == (1e-4, 1000, 50)
    assert (paper.diffusion.timesteps, paper.diffusion.beta_first, paper.diffusion.beta_last) == (
        1000,
        1e-4,
        2e-2,
    )
    assert (paper.normalize, paper.diffusion.standardise, paper.train.ema) == ("tensor", False, 0)
    assert (paper.diffusion.schedule, paper.diffusion.objective) == ("linear", "noise")
    assert (paper.sampler.name, paper.sampler.steps, paper.sampler.temperature) == ("ddpm", 1000, 1)
    full = latent("paper-full")
    assert isinstance(full.codec, ConvCodecConfig)
    assert (full.codec.latent_dim, full.codec.train.steps, full.train.steps) == (768, 2000, 8000)
    assert full.train.weight_decay == full.codec.train.weight_decay == 1e-5


def test_settings_win_over_the_file_which_wins_over_the_preset(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text("[train]\nsteps = 7\nlr = 0.5\n")
    config = latent("paper", file, ["train.lr=1e-3", "codec.kind=pca"], seed=4)
    assert (config.train.steps, config.train.lr, config.codec, config.seed) == (7, 1e-3, PcaCodecConfig(), 4)
    assert config.train.batch_size == 50


@pytest.mark.parametrize("preset", PRESETS)
def test_values_and_toml_lead_back(preset: str, tmp_path: Path) -> None:
    config = Config.preset(preset)
    assert Config.from_values(config.values()) == config
    file = tmp_path / "c.toml"
    file.write_text(config.toml())
    assert Config.build("default", file) == config


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("train.lrr=1", "--set train.lrr=1: unknown key 'train.lrr'; did you mean 'train.lr'?"),
        ("train=1", "train is a section"),
        ("train.lr=-1", "configuration: train.lr is -1; accepted: float > 0"),
        ("train.steps=many", "configuration: train.steps is 'many'; accepted: int >= 1"),
        (
            "codec.kind=vq",
            "codec.kind is 'vq'; accepted: conv or pca or token or identity",
        ),
        ("steps", "expected section.key=value"),
        ("train.lr=inf", "configuration: lr is inf; a finite number is wanted"),
        ("diffusion.beta_last=2", "configuration: diffusion.beta_last is 2; accepted: float > 0 and < 1"),
        ("sampler.name=ddmi", "sampler.name is 'ddmi'; did you mean 'ddim'? accepted: ddpm or ddim or"),
        ("condition=[1]", "configuration: condition is [1]; accepted: list of str"),
        ("generator=vq", "configuration: generator is 'vq'; accepted: latent or average or gaussian or"),
    ],
)
def test_refusals_name_the_key(setting: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        Config.build("paper", settings=[setting])
    assert message in str(caught.value)


def test_another_kind_of_a_section_has_its_own_values() -> None:
    config = latent("default", None, ["codec.kind=conv", "codec.train.steps=3", "denoiser.kind=transformer"])
    assert isinstance(config.codec, ConvCodecConfig)
    assert (config.codec.train.steps, config.codec.train.lr) == (3, 2e-5)
    assert config.label() == "default, codec.kind=conv, codec.train.steps=3, denoiser.kind=transformer"
    with pytest.raises(UsageError, match=r"unknown key 'codec.train'; did you mean"):
        latent("default", None, ["codec.train.steps=3"])
    again = latent("default", None, ["codec.kind=conv", "codec.kind=pca"])
    assert again == Config.preset("default")


def test_the_label_names_what_was_changed() -> None:
    assert Config.build("paper", seed=3).label() == "paper"
    assert Config.build("paper", settings=["train.steps=7"]).label() == "paper, train.steps=7"


def test_a_mistyped_preset_is_suggested() -> None:
    with pytest.raises(UsageError, match="unknown preset 'papr'; did you mean 'paper'"):
        Config.preset("papr")


@pytest.mark.parametrize("preset", PRESETS)
def test_every_key_is_explained(preset: str) -> None:
    config = Config.preset(preset)
    lines = config.explanation()
    assert [line.partition(" = ")[0] for line in lines] == [
        key for key in config.flat() if key != "generator"
    ]
    for line in lines:
        key, _, rest = line.partition(" = ")
        assert rest.startswith(f"{config.flat()[key]!r}  # ")
        assert len(rest.partition(". ")[2]) > 10, line
    assert len(lines) == len(set(lines))


def test_explanations_say_what_is_accepted() -> None:
    lines = dict(line.split(" = ", 1) for line in Config.preset("paper").explanation())
    assert lines["codec.kind"].startswith(
        "'conv'  # conv or pca or token or identity. What turns a normalised row"
    )
    assert lines["train.lr"] == "0.0001  # float > 0. Learning rate of AdamW, at the beginning."
    assert lines["held_out"].startswith("0.0  # float >= 0 and < 1. Fraction of the bank")


def test_a_file_that_is_missing_or_none_is_named_once(tmp_path: Path) -> None:
    for file, message in ((tmp_path / "no.toml", "no such file"), (tmp_path, "Is a directory")):
        with pytest.raises(UsageError) as refused:
            Config.build("paper", file)
        assert str(refused.value) == f"{file}: {message}"
