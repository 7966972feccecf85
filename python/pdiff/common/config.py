"""The configuration of a run: frozen, typed, checked when built, saved resolved beside the results.

A preset gives every value; a TOML file and then `--set section.key=value` replace some of them.
"""

import json
import math
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from pdiff.common.errors import UsageError, unknown

__all__ = ["PRESETS", "CodecConfig", "Config", "GeneratorConfig", "Optimisation"]

Positive = Annotated[int, Meta(ge=1)]
Rate = Annotated[float, Meta(gt=0)]
NonNegative = Annotated[float, Meta(ge=0)]
Variance = Annotated[float, Meta(gt=0, lt=1)]


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of every section: its numbers are finite."""

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"{name} is {value}; a finite number is wanted")


class Optimisation(_Section, frozen=True):
    """One training stage: AdamW on uniformly drawn batches."""

    steps: Positive
    batch_size: Positive
    lr: Rate
    weight_decay: NonNegative = 0.01
    schedule: Literal["cosine", "constant"] = "cosine"
    ema: Annotated[float, Meta(ge=0, lt=1)] = 0.0
    """Decay of the exponential moving average of the weights that is kept in the end; 0 keeps the last."""


class CodecConfig(_Section, frozen=True):
    """What turns a normalised row [D] into a latent [Z] and back."""

    kind: Literal["conv", "pca"]
    latent_dim: Positive
    """Z. `pca` takes fewer where the bank spans fewer directions."""
    input_noise: NonNegative = 0.0
    """Standard deviation of the noise ξ_v added to the input while training (`conv`)."""
    latent_noise: NonNegative = 0.0
    """Standard deviation of the noise ξ_z added to the latent while training (`conv`)."""


class GeneratorConfig(_Section, frozen=True):
    """What models the distribution of latents."""

    kind: Literal["ddpm", "flow"]
    denoiser: Literal["conv", "mlp"]
    standardise: bool
    """Whether latents are brought to mean 0 and std 1 in each dimension before they are modelled."""
    timesteps: Positive = 1000
    """T of the diffusion, or the number of integration steps of the flow."""
    beta_first: Variance = 1e-4
    beta_last: Variance = 2e-2
    jitter: NonNegative = 0.0
    """Standard deviation of Gaussian noise added to the (standardised) latents that are learned from."""
    width: Positive = 512
    """Hidden width of the `mlp` denoiser."""
    depth: Positive = 3
    """Residual blocks of the `mlp` denoiser."""


class Config(_Section, frozen=True):
    """Everything that decides what a run learns, besides the bank."""

    name: str
    """The preset that the values started from."""
    normalize: Literal["tensor", "element", "none"]
    codec: CodecConfig
    codec_train: Optimisation
    """How the `conv` codec is trained; `pca` has a closed form and ignores it."""
    generator: GeneratorConfig
    train: Optimisation
    """How the denoiser is trained."""
    held_out: Annotated[float, Meta(ge=0, lt=1)] = 0.0
    """Fraction of the bank that is not learned from, so that copies of the rest can be told from new models.

    At least one member of a bank of 20 or more; nothing of a smaller one.
    """
    seed: Annotated[int, Meta(ge=0)] = 0

    @staticmethod
    def preset(name: str) -> "Config":
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
    ) -> "Config":
        """Resolve a configuration: the preset, then the TOML `file`, then `section.key=value` settings."""
        values = msgspec.to_builtins(Config.preset(preset))
        if file is not None:
            try:
                _merge(values, tomllib.loads(file.read_text()), where=str(file))
            except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
                raise UsageError(f"{file}: {error}") from None
        for setting in settings:
            _merge(values, _parse(setting), where=f"--set {setting}")
        if seed is not None:
            values["seed"] = seed
        return Config.from_values(values)

    @staticmethod
    def from_values(values: Any) -> "Config":
        """Check plain values (as saved by `values`); raises `UsageError` naming the key."""
        try:
            return msgspec.convert(values, type=Config)
        except msgspec.ValidationError as error:
            raise UsageError(f"configuration: {_explained(str(error), values)}") from None

    def values(self) -> dict[str, Any]:
        """Return the resolved configuration as plain JSON values."""
        result: dict[str, Any] = msgspec.to_builtins(self)
        return result

    def label(self) -> str:
        """Return the preset's name, with the values that were changed: `paper, train.steps=10`."""
        ours, preset = _flat(self.values()), _flat(Config.preset(self.name).values())
        changes = [f"{key}={value}" for key, value in ours.items() if value != preset[key] and key != "seed"]
        return ", ".join([self.name, *changes])

    def toml(self) -> str:
        """Return the resolved configuration as TOML, which `build` reads back."""
        values = self.values()
        sections = {key: value for key, value in values.items() if isinstance(value, dict)}
        lines = _toml_lines({key: value for key, value in values.items() if key not in sections})
        for name, section in sections.items():
            lines += ["", f"[{name}]", *_toml_lines(section)]
        return "\n".join(lines)


def _explained(message: str, values: Any) -> str:
    """Return msgspec's message with the key before it and the value that was given, where it is one value."""
    what, _, path = message.partition(" - at `$.")
    given = values
    for key in path.removesuffix("`").split("."):
        given = given.get(key) if isinstance(given, dict) else None
    if not path or given is None or isinstance(given, dict):
        return message
    return f"{path.removesuffix('`')} = {given!r}: {what}"


def _flat(values: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """Return nested values by their dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{path}{key}.") if isinstance(value, dict) else {f"{path}{key}": value}
    return flat


def _toml_lines(values: Mapping[str, Any]) -> list[str]:
    """Return `key = value` lines; a JSON scalar is a TOML scalar."""
    return [f"{key} = {json.dumps(value)}" for key, value in values.items()]


def _parse(setting: str) -> dict[str, Any]:
    """Turn `a.b=value` into {"a": {"b": value}}; the value is read as TOML, or else as a bare string."""
    path, equals, text = setting.partition("=")
    if not equals or not path:
        raise UsageError(f"--set {setting}: expected section.key=value")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    for key in reversed(path.split(".")):
        value = {key: value}
    return dict(value)


def _merge(values: dict[str, Any], changes: Mapping[str, Any], where: str, path: str = "") -> None:
    """Replace entries of `values` in place; a key that is not there is refused with a suggestion."""
    for key, value in changes.items():
        full = f"{path}{key}"
        if key not in values:
            raise UsageError(f"{where}: {unknown('key', full, [f'{path}{key}' for key in values])}")
        if isinstance(values[key], dict):
            if not isinstance(value, Mapping):
                raise UsageError(
                    f"{where}: {full} is a section; set one of its keys ({', '.join(values[key])})"
                )
            _merge(values[key], value, where, f"{full}.")
        else:
            values[key] = value


_PAPER = Config(
    name="paper",
    normalize="tensor",
    codec=CodecConfig(kind="conv", latent_dim=128, input_noise=0.001, latent_noise=0.1),
    codec_train=Optimisation(steps=500, batch_size=50, lr=2e-5),
    generator=GeneratorConfig(kind="ddpm", denoiser="conv", standardise=False),
    train=Optimisation(steps=1000, batch_size=50, lr=1e-4),
)

_PAPER_FULL = msgspec.structs.replace(
    _PAPER,
    name="paper-full",
    codec=CodecConfig(kind="conv", latent_dim=768, input_noise=0.001, latent_noise=0.1),
    codec_train=Optimisation(steps=2000, batch_size=50, lr=2e-5, weight_decay=1e-5),
    train=Optimisation(steps=8000, batch_size=50, lr=1e-4, weight_decay=1e-5),
)

_DEFAULT = Config(
    name="default",
    normalize="element",
    codec=CodecConfig(kind="pca", latent_dim=64),
    codec_train=Optimisation(steps=1, batch_size=1, lr=1.0),
    generator=GeneratorConfig(
        kind="flow", denoiser="mlp", standardise=True, timesteps=50, jitter=0.3, width=256, depth=3
    ),
    train=Optimisation(steps=1500, batch_size=64, lr=1e-3, ema=0.999),
    held_out=0.1,
)

PRESETS: Mapping[str, Config] = {config.name: config for config in (_DEFAULT, _PAPER, _PAPER_FULL)}
