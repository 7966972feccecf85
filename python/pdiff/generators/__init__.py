"""Collect the generators: whatever is fitted to a bank and yields new rows of it, one family a file."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pdiff.common.config import Config

if TYPE_CHECKING:
    from pdiff.bank import View
    from pdiff.generators.base import Context, Generator

__all__ = ["FAMILIES", "family", "fit"]

FAMILIES = {
    "latent": "pdiff.generators.latent:Latent",
    "average": "pdiff.generators.average:Average",
    "gaussian": "pdiff.generators.gaussian:Gaussian",
    "noise": "pdiff.generators.noise:Noise",
    "interpolation": "pdiff.generators.interpolation:Interpolation",
    "conditional": "pdiff.generators.conditional:Conditional",
    "tuned": "pdiff.generators.tuned:Tuned",
}
"""Name of each family → where its class is, imported when it is asked for."""


def family(config: Config) -> "type[Generator[Any]]":
    """Return the class of the family that a configuration is for."""
    module, _, name = FAMILIES[config.family].partition(":")
    found: type[Generator[Any]] = getattr(import_module(module), name)
    return found


def fit(config: Config, members: "View", context: "Context | None" = None) -> "Generator[Any]":
    """Fit a generator to members of a bank."""
    from pdiff.generators.base import Context  # noqa: PLC0415 (imports torch)

    return family(config).fit(config, members, context or Context())
