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
from pdiff.common.settings import described_fields, explained, merge, parse, read_toml, toml

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


class CodecConfig(Section, frozen=True):
    """What turns a normalised row [D] into a latent [Z] and back."""

    kind: Literal["conv", "pca"]
    """A 1-D convolutional autoencoder, which is trained, or whitened principal components, which are not."""
    latent_dim: Positive
    """Z. `pca` takes fewer where the bank spans fewer directions."""
    input_noise: NonNegative = 0.0
    """Standard deviation of the noise ξ_v added to the input while training (`conv`)."""
    latent_noise: NonNegative = 0.0
    """Standard deviation of the noise ξ_z added to the latent while training (`conv`)."""


class DiffusionConfig(Section, frozen=True):
    """What models the distribution of latents."""

    kind: Literal["ddpm", "flow"]
    """Denoising diffusion, or flow matching along straight lines."""
    denoiser: Literal["conv", "mlp"]
    """The network: a 1-D convolutional U-Net over the latent's numbers, or a residual MLP."""
    standardise: bool
    """Whether latents are brought to mean 0 and std 1 in each dimension before they are modelled."""
    timesteps: Positive = 1000
    """T of the diffusion, or the number of integration steps of the flow."""
    beta_first: Variance = 1e-4
    """Variance that the first of the T steps of `ddpm` adds."""
    beta_last: Variance = 2e-2
    """Variance that the last one adds; between them it rises in a line."""
    jitter: NonNegative = 0.0
    """Standard deviation of Gaussian noise added to the (standardised) latents that are learned from."""
    width: Positive = 512
    """Hidden width of the `mlp` denoiser."""
    depth: Positive = 3
    """Residual blocks of the `mlp` denoiser."""


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
        values = start.values()
        merge(values, changes, where=str(file))
        for setting in settings:
            merge(values, parse(setting), where=f"--set {setting}")
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
            accepted = described_fields(family) if family else None
            raise UsageError(f"configuration: {explained(str(error), values, accepted)}") from None
        return found

    @property
    def family(self) -> str:
        """The name of the generator family that the values are for."""
        return str(self.__struct_config__.tag)

    def values(self) -> dict[str, Any]:
        """Return the resolved configuration as plain JSON values."""
        result: dict[str, Any] = msgspec.to_builtins(self)
        return result

    def flat(self) -> dict[str, Any]:
        """Return the values by their dotted keys: `train.lr`."""
        return _flat(self.values())

    def explanation(self) -> list[str]:
        """Return a line for each key: its value, what is accepted, and what it is for."""
        lines, flat = described_fields(type(self)), self.flat()
        return [f"{key} = {flat[key]!r}  # {accepted}. {text}" for key, (accepted, text) in lines.items()]

    def label(self) -> str:
        """Return the preset's name, with the values that were changed: `paper, train.steps=10`."""
        changes = [f"{key}={value}" for key, value in self.changes().items() if key != "seed"]
        return ", ".join([self.name, *changes])

    def changes(self) -> dict[str, Any]:
        """Return the values that are not the preset's, by their dotted keys."""
        ours, preset = self.flat(), Config.preset(self.name).flat()
        return {key: value for key, value in ours.items() if value != preset.get(key)}

    def toml(self) -> str:
        """Return the resolved configuration as TOML, which `build` reads back."""
        return toml(self.values())


class LatentConfig(Config, frozen=True, kw_only=True, tag="latent"):
    """A codec, then diffusion or flow over its latents (*Neural Network Diffusion*, arXiv 2402.13144)."""

    normalize: Literal["tensor", "element", "none"]
    """Over what rows are brought to mean 0 and std 1: each tensor, each number, or not at all."""
    codec: CodecConfig
    codec_train: Optimisation
    """How the `conv` codec is trained; `pca` has a closed form and ignores it."""
    diffusion: DiffusionConfig
    train: Optimisation
    """How the denoiser is trained."""


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


def _flat(values: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """Return nested values by their dotted keys."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= _flat(value, f"{path}{key}.") if isinstance(value, dict) else {f"{path}{key}": value}
    return found


AnyConfig = LatentConfig | AverageConfig | GaussianConfig | NoiseConfig | InterpolationConfig | TunedConfig

_PAPER = LatentConfig(
    name="paper",
    normalize="tensor",
    codec=CodecConfig("conv", 128, input_noise=0.001, latent_noise=0.1),
    codec_train=Optimisation(steps=500, batch_size=50, lr=2e-5),
    diffusion=DiffusionConfig("ddpm", "conv", standardise=False),
    train=Optimisation(steps=1000, batch_size=50, lr=1e-4),
)
_PAPER_FULL = msgspec.structs.replace(
    _PAPER,
    name="paper-full",
    codec=msgspec.structs.replace(_PAPER.codec, latent_dim=768),
    codec_train=Optimisation(steps=2000, batch_size=50, lr=2e-5, weight_decay=1e-5),
    train=Optimisation(steps=8000, batch_size=50, lr=1e-4, weight_decay=1e-5),
)
_DEFAULT = LatentConfig(
    name="default",
    normalize="element",
    codec=CodecConfig("pca", 64),
    codec_train=Optimisation(steps=1, batch_size=1, lr=1.0),
    diffusion=DiffusionConfig("flow", "mlp", standardise=True, timesteps=50, jitter=0.3, width=256, depth=3),
    train=Optimisation(steps=1500, batch_size=64, lr=1e-3, ema=0.999),
    held_out=0.1,
)
_SIMPLE = (AverageConfig, GaussianConfig, NoiseConfig, InterpolationConfig, TunedConfig)

PRESETS: Mapping[str, AnyConfig] = {
    **{config.name: config for config in (_DEFAULT, _PAPER, _PAPER_FULL)},
    **{(tag := str(kind.__struct_config__.tag)): kind(name=tag) for kind in _SIMPLE},
}
"""Named configurations; each family without a recipe has one with its default values, of its name."""
