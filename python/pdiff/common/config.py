"""Configure a run: values are frozen, typed, checked when built and saved resolved beside the results.

There is one structure for each family of generators, of sections that several of them have. A preset gives
every value; a TOML file and then `--set section.key=value` replace some of them (`pdiff.common.settings`).
"""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import msgspec
from msgspec import Meta

from pdiff.common.errors import UsageError, unknown
from pdiff.common.settings import (
    described_fields,
    explained,
    merge,
    parse,
    read_toml,
    setting,
    toml,
    variants,
)

Positive = Annotated[int, Meta(ge=1)]
Rate = Annotated[float, Meta(gt=0)]
NonNegative = Annotated[float, Meta(ge=0)]
Variance = Annotated[float, Meta(gt=0, lt=1)]


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of every section: its numbers are finite."""

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"{name} is {value}; a finite number is wanted")


class Optimisation(Section, frozen=True):
    """One training stage: AdamW on uniformly drawn batches."""

    steps: Positive
    """Batches to learn from."""
    batch_size: Positive
    """Members or latents in a batch."""
    lr: Rate
    """Learning rate of AdamW, at the beginning."""
    weight_decay: NonNegative = 0.01
    """Weight decay of AdamW."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """How the learning rate goes on: down to 0 along a cosine, or not at all."""
    ema: Annotated[float, Meta(ge=0, lt=1)] = 0.0
    """Decay of the exponential moving average of the weights that is kept in the end; 0 keeps the last."""
    clip: NonNegative = 0.0
    """Norm that gradients are cut to; 0 leaves them."""
    precision: Literal["f32", "bf16"] = "f32"
    """`bf16` computes losses in bfloat16 where torch's autocast does; weights stay f32."""


class ConvCodecConfig(Section, frozen=True, tag_field="kind", tag="conv"):
    """The paper's 1-D convolutional autoencoder."""

    latent_dim: Positive = 128
    """Z, the numbers of a latent."""
    input_noise: NonNegative = 0.001
    """Standard deviation of the noise ξ_v added to the input while training."""
    latent_noise: NonNegative = 0.1
    """Standard deviation of the noise ξ_z added to the latent while training."""
    train: Optimisation = Optimisation(steps=500, batch_size=50, lr=2e-5)
    """How it is trained."""


class PcaCodecConfig(Section, frozen=True, tag_field="kind", tag="pca"):
    """Whitened principal components, which need no training."""

    latent_dim: Positive = 64
    """Z; fewer where the bank spans fewer directions."""


class TokenCodecConfig(Section, frozen=True, tag_field="kind", tag="token"):
    """A transformer over pieces of the tensors, whose memory does not grow with the network."""

    size: Positive = 4096
    """Numbers of a tensor in one token, at most."""
    axes: Positive = 16
    """Principal axes by which the network sees a token."""
    latent: Positive = 2
    """Numbers of the latent that a token takes."""
    window: Positive = 128
    """Tokens that the network sees together, at most."""
    width: Positive = 64
    """Width of a token's embedding, a multiple of `heads`."""
    depth: Positive = 2
    """Layers of encoder and decoder each."""
    heads: Positive = 4
    """Attention heads."""
    input_noise: NonNegative = 0.001
    """Standard deviation of the noise added to the coordinates while training."""
    latent_noise: NonNegative = 0.1
    """Standard deviation of the noise added to the latent while training."""
    train: Optimisation = Optimisation(steps=1000, batch_size=32, lr=1e-3, clip=1.0)
    """How it is trained; a batch is one of windows."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_heads(self.width, self.heads)


class IdentityCodecConfig(Section, frozen=True, tag_field="kind", tag="identity"):
    """None: the latent is the normalised row itself, for small networks."""


AnyCodecConfig = ConvCodecConfig | PcaCodecConfig | TokenCodecConfig | IdentityCodecConfig


class DiffusionConfig(Section, frozen=True):
    """How latents become noise, and what of it a denoiser learns to predict."""

    schedule: Literal["linear", "cosine", "line"]
    """Diffusion whose variances rise in a line or along a cosine, or the straight line of flow matching."""
    objective: Literal["noise", "data", "v", "velocity"]
    """What is predicted: ε, z_0, α ε − σ z_0, or ε − z_0."""
    standardise: bool
    """Whether latents are brought to mean 0 and std 1 in each dimension before they are modelled."""
    timesteps: Positive = 1000
    """T, the steps of the diffusion that is trained; a `line` has none."""
    beta_first: Variance = 1e-4
    """Variance that the first of the T steps of `linear` adds."""
    beta_last: Variance = 2e-2
    """Variance that the last one adds; between them it rises in a line."""
    zero_terminal_snr: bool = False
    """Whether the T-th step leaves nothing of the latent (Lin et al. 2024); not with the objective noise."""
    jitter: NonNegative = 0.0
    """Standard deviation of Gaussian noise added to the (standardised) latents that are learned from."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.objective == "noise" and (self.zero_terminal_snr or self.schedule == "line"):
            raise ValueError("objective noise says nothing of latents where all is noise; take v or velocity")


class ConvDenoiserConfig(Section, frozen=True, tag_field="kind", tag="conv"):
    """The paper's 1-D convolutional network over the latent's numbers."""


class MlpDenoiserConfig(Section, frozen=True, tag_field="kind", tag="mlp"):
    """A residual MLP."""

    width: Positive = 256
    """Hidden width."""
    depth: Positive = 3
    """Residual blocks."""


class TransformerDenoiserConfig(Section, frozen=True, tag_field="kind", tag="transformer"):
    """A transformer over pieces of the latent."""

    token: Positive = 16
    """Numbers of the latent in one piece."""
    width: Positive = 128
    """Width of a token's embedding, a multiple of `heads`."""
    depth: Positive = 4
    """Layers."""
    heads: Positive = 4
    """Attention heads."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_heads(self.width, self.heads)


AnyDenoiserConfig = ConvDenoiserConfig | MlpDenoiserConfig | TransformerDenoiserConfig


class SamplerConfig(Section, frozen=True):
    """How latents are drawn."""

    name: Literal["ddpm", "ddim", "dpm++2m", "euler", "heun", "midpoint"]
    """Which sampler; `ddim` is `euler`. `midpoint` and `heun` ask the denoiser twice a step."""
    steps: Positive
    """Steps from noise to latents, at most T of a diffusion."""
    temperature: NonNegative = 1.0
    """What all noise is multiplied by: less than 1 draws nearer to the mean, more spreads wider."""
    guidance: NonNegative = 1.0
    """How far a condition is followed: 0 ignores it, 1 is as trained, more exaggerates it."""


class Config(Section, frozen=True, tag_field="generator"):
    """Everything that decides what a generator learns from a bank; each family adds its own values."""

    name: str
    """The preset that the values started from."""
    held_out: Annotated[float, Meta(ge=0, lt=1)] = 0.0
    """Fraction of the bank that is not learned from, so that copies of the rest can be told from new models.

    At least one member of a bank of 20 or more; nothing of a smaller one.
    """
    seed: Annotated[int, Meta(ge=0)] = 0
    """Of all randomness in the fit."""

    @staticmethod
    def preset(name: str) -> "AnyConfig":
        """Return a preset; raises `UsageError` with a suggestion for a name that is none."""
        if name not in PRESETS:
            raise unknown("preset", name, PRESETS)
        return PRESETS[name]

    @staticmethod
    def build(
        preset: str = "default",
        file: Path | None = None,
        settings: Iterable[str] = (),
        seed: int | None = None,
    ) -> "AnyConfig":
        """Resolve a configuration: the preset, then the TOML `file`, then `section.key=value` settings.

        A file that names another `generator` than the preset starts from the preset of that name.
        """
        changes = {} if file is None else read_toml(file)
        family = changes.get("generator")
        start = Config.preset(preset)
        if family is not None and family != start.family:
            start = Config.preset("default" if family == "latent" else str(family))
        values, kinds = start.values(), variants(type(start))
        merge(values, changes, str(file), kinds)
        _set(values, settings, kinds)
        if seed is not None:
            values["seed"] = seed
        return Config.from_values(values)

    @staticmethod
    def from_values(values: Any) -> "AnyConfig":
        """Check plain values (as saved by `values`); raises `UsageError` naming the key."""
        try:
            found: AnyConfig = msgspec.convert(values, type=AnyConfig)
        except msgspec.ValidationError as error:
            families = {kind.__struct_config__.tag: kind for kind in get_args(AnyConfig)}
            family = families.get(values.get("generator")) if isinstance(values, dict) else None
            generators = {"generator": (" or ".join(map(str, families)), "")}
            accepted = described_fields(family, values) if family else generators
            raise UsageError(f"configuration: {explained(str(error), values, accepted)}") from None
        return found

    @property
    def family(self) -> str:
        """The name of the generator family that the values are for."""
        return str(self.__struct_config__.tag)

    def values(self) -> dict[str, Any]:
        """Return the resolved configuration as plain JSON values."""
        result: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(self))
        return result

    def flat(self) -> dict[str, Any]:
        """Return the values by their dotted keys: `train.lr`."""
        return _flat(self.values())

    def explanation(self) -> list[str]:
        """Return a line for each key: its value, what is accepted, and what it is for."""
        lines, flat = described_fields(type(self), self.values()), self.flat()
        return [f"{key} = {flat[key]!r}  # {accepted}. {text}" for key, (accepted, text) in lines.items()]

    def sampled(self, **changes: Any) -> "AnyConfig":
        """Return the configuration with another sampler: another `name`, `steps` or `temperature`.

        Raises `UsageError` for a family that has none.
        """
        values = self.values()
        if "sampler" not in values:
            raise UsageError(f"the generator {self.family} has no sampler, no steps and no temperature")
        if "guidance" in changes and not values["condition"]:
            raise UsageError("guidance is for conditions, and the generator was trained without any")
        return Config.from_values({**values, "sampler": {**values["sampler"], **changes}})

    def label(self) -> str:
        """Return the preset's name, with the values that were changed: `paper, train.steps=10`."""
        changes = [setting(key, value) for key, value in self.changes().items() if key != "seed"]
        return ", ".join([self.name, *changes])

    def changes(self) -> dict[str, Any]:
        """Return the values that are not the preset's, by their dotted keys.

        Of a section of another kind, those that are not the kind's defaults.
        """
        preset = Config.preset(self.name)
        defaults, ours = preset.values(), self.flat()
        kinds = {key: {"kind": ours[f"{key}.kind"]} for key in variants(type(preset))}
        merge(defaults, kinds, "", variants(type(preset)))
        told = _flat(defaults) | {f"{key}.kind": preset.flat()[f"{key}.kind"] for key in kinds}
        return {key: value for key, value in ours.items() if value != told.get(key)}

    def changed(self, settings: Iterable[str]) -> "AnyConfig":
        """Return the configuration with `section.key=value` settings put over it."""
        values = self.values()
        _set(values, settings, variants(type(self)))
        return Config.from_values(values)

    def toml(self) -> str:
        """Return the resolved configuration as TOML, which `build` reads back."""
        return toml(self.values())


class LatentConfig(Config, frozen=True, kw_only=True, tag="latent"):
    """A codec, then diffusion or flow over its latents (*Neural Network Diffusion*, arXiv 2402.13144)."""

    normalize: Literal["tensor", "element", "none"]
    """Over what rows are brought to mean 0 and std 1: each tensor, each number, or not at all."""
    codec: AnyCodecConfig
    """What turns a normalised row [D] into a latent [Z] and back."""
    diffusion: DiffusionConfig
    denoiser: AnyDenoiserConfig
    """The network that predicts."""
    train: Optimisation
    """How the denoiser is trained."""
    sampler: SamplerConfig
    condition: tuple[str, ...] = ()
    """Names of what is known of members (accuracy, a column of a table) that models are conditioned on."""
    condition_dropout: Annotated[float, Meta(ge=0, le=1)] = 0.1
    """Share of the latents that are learned from without their condition, for guidance."""
    check: bool = True
    """Whether training ends where the codec cannot reconstruct, and where samples shrink toward the mean."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.diffusion.schedule != "line" and self.sampler.steps > self.diffusion.timesteps:
            steps, most = self.sampler.steps, self.diffusion.timesteps
            raise ValueError(f"sampler.steps is {steps}; accepted: up to diffusion.timesteps, {most}")


class AverageConfig(Config, frozen=True, tag="average"):
    """Averages of members."""

    members: Annotated[int, Meta(ge=0)] = 0
    """Members in one average; 0 takes all of them."""
    choice: Literal["random", "last"] = "random"
    """Which: drawn anew for each model, or the last ones of the bank."""
    soup: Literal["uniform", "greedy"] = "uniform"
    """`greedy` adds a member, best first, only where it helps on validation data (Wortsman et al. 2022)."""


class GaussianConfig(Config, frozen=True, tag="gaussian"):
    """Draws from a Gaussian fitted to the members."""

    covariance: Literal["diagonal", "pca", "swag"] = "diagonal"
    """One variance a number; all K − 1 principal axes; or half of each (SWAG, Maddox et al. 2019)."""
    scale: NonNegative = 1.0
    """Times the standard deviations of the bank."""
    rank: Annotated[int, Meta(ge=2)] = 20
    """Members, the last ones, whose deviations span the low-rank half of `swag`."""


class NoiseConfig(Config, frozen=True, tag="noise"):
    """White noise on members, or on their mean."""

    around: Literal["member", "mean"] = "member"
    """What noise is added to: random members, or their mean."""
    scale: NonNegative = 1.0
    """Times the spread of the bank, in units of each tensor's standard deviation."""


class InterpolationConfig(Config, frozen=True, tag="interpolation"):
    """Points on the segment between two random members."""

    weight: Annotated[float, Meta(ge=0, le=1)] = 0.5
    """Share of the second member."""


class ConditionalConfig(Config, frozen=True, tag="conditional"):
    """Combinations of members that a regression on their conditions gives."""

    condition: tuple[str, ...] = ()
    """Names of what is known of members: what models are asked for by."""
    method: Literal["nearest", "average", "ridge", "kernel-ridge"] = "kernel-ridge"
    """The member with the nearest condition, an average of the nearest, or a regression."""
    neighbours: Positive = 16
    """Members in an `average`."""
    degree: Annotated[int, Meta(ge=1, le=2)] = 1
    """Of `ridge`: 2 adds products of two numbers of the condition."""


class TunedConfig(Config, frozen=True, tag="tuned"):
    """Members, draws or the mean, fine-tuned on training data: uses gradients."""

    start: Literal["mean", "cyclic", "gaussian"] = "mean"
    """`mean`: the bank's mean, tuned, then Gaussian noise. `cyclic`: a random member at a cyclic rate, its
    snapshots averaged in fours. `gaussian`: draws of the diagonal Gaussian, each tuned."""
    gradient_evaluations: Positive = 1000
    """Minibatch gradients for all models together."""
    models: Positive = 50
    """Models that share the gradients, where each has its own."""
    rate: Rate = 1e-2
    """Learning rate of Adam at the beginning of a cycle."""
    scale: NonNegative = 1.0
    """Of the noise around the tuned mean, or of the draws, in the bank's standard deviations."""


def _set(values: dict[str, Any], settings: Iterable[str], kinds: Any) -> None:
    """Put `section.key=value` settings over values."""
    for each in settings:
        merge(values, parse(each), f"--set {each}", kinds)


def _check_heads(width: int, heads: int) -> None:
    if width % heads:
        raise ValueError(f"width {width} is not a multiple of heads {heads}")


def _flat(values: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """Return nested values by their dotted keys."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= _flat(value, f"{path}{key}.") if isinstance(value, dict) else {f"{path}{key}": value}
    return found


AnyConfig = (
    LatentConfig
    | AverageConfig
    | GaussianConfig
    | NoiseConfig
    | InterpolationConfig
    | ConditionalConfig
    | TunedConfig
)

_PAPER = LatentConfig(
    name="paper",
    normalize="tensor",
    codec=ConvCodecConfig(),
    diffusion=DiffusionConfig("linear", "noise", standardise=False),
    denoiser=ConvDenoiserConfig(),
    train=Optimisation(steps=1000, batch_size=50, lr=1e-4),
    sampler=SamplerConfig("ddpm", 1000),
)
_PAPER_FULL = msgspec.structs.replace(
    _PAPER,
    name="paper-full",
    codec=ConvCodecConfig(768, train=Optimisation(steps=2000, batch_size=50, lr=2e-5, weight_decay=1e-5)),
    train=Optimisation(steps=8000, batch_size=50, lr=1e-4, weight_decay=1e-5),
)
_DEFAULT = LatentConfig(
    name="default",
    normalize="element",
    codec=PcaCodecConfig(64),
    diffusion=DiffusionConfig("line", "velocity", standardise=True, jitter=0.4),
    denoiser=MlpDenoiserConfig(width=256, depth=3),
    train=Optimisation(steps=1500, batch_size=64, lr=1e-3, ema=0.999),
    sampler=SamplerConfig("dpm++2m", 20),
    held_out=0.1,
)
_SIMPLE = (AverageConfig, GaussianConfig, NoiseConfig, InterpolationConfig, ConditionalConfig, TunedConfig)

PRESETS: Mapping[str, AnyConfig] = {
    **{config.name: config for config in (_DEFAULT, _PAPER, _PAPER_FULL)},
    **{(tag := str(kind.__struct_config__.tag)): kind(name=tag) for kind in _SIMPLE},
}
"""Named configurations; each family without a recipe has one with its default values, of its name."""
