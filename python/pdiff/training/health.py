"""Watch what a generator draws while it is trained: its loss and its models' accuracy both hide a collapse.

Samples that shrink toward the mean of the members score well, for the mean is a good model; samples that sit
on members score as the members do. How far they spread, and how near to a member they are, shows both.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

LOOKS = 10
"""How often a training is looked at."""
_SHRUNK, _WIDE = 0.3, 0.6
_AVERAGED, _COPIED, _SPREAD = 0.6, 0.3, 1.5


@dataclass(frozen=True)
class Health:
    """Draws from a network in training, and compares what it draws with the members.

    All latents are on one scale, as the denoiser sees them.
    """

    draw: Callable[[nn.Module], Tensor]
    """Network in eval mode → latents [N, Z], the same noise every time."""
    members: Tensor
    """Latents that are learned from, [K, Z]."""
    held_out: Callable[[nn.Module], float] | None = None
    """Network → its loss on members that were held out."""

    @torch.no_grad()
    def look(self, network: nn.Module) -> dict[str, float]:
        """Return `dispersion`, `nearest` and, with members held out, `held_out_loss`.

        `dispersion` is the RMS distance of samples to their mean, over that of the members. `nearest` is the
        median distance of a sample to the nearest member, over that of a member to the nearest other one.
        """
        training = network.training
        network.eval()
        drawn = self.draw(network)
        found = {"dispersion": _ratio(_spread(drawn), _spread(self.members))}
        found["nearest"] = _ratio(
            torch.cdist(drawn, self.members).amin(dim=1).median(), _to_others(self.members)
        )
        if self.held_out is not None:
            found["held_out_loss"] = self.held_out(network)
        network.train(training)
        return found


def collapsed(looks: Sequence[Mapping[str, float]]) -> bool:
    """Return whether samples that once spread as far as the members have shrunk, or are no numbers."""
    *before, now = (look["dispersion"] for look in looks)
    return math.isnan(now) or (now < _SHRUNK and any(each > _WIDE for each in before))


def distance_from_health(look: Mapping[str, float]) -> float:
    """Return how far the samples' spread is from the members': 0 is right; NaN is infinitely far."""
    return math.inf if math.isnan(look["dispersion"]) else abs(look["dispersion"] - 1)


def warnings(look: Mapping[str, float]) -> list[str]:
    """Return what to say of a finished training, each with its name and a remedy."""
    dispersion, nearest = look["dispersion"], look["nearest"]
    said = []
    if dispersion < _AVERAGED:
        said.append(
            f"averages: samples spread {dispersion:.2f} times as far as the members; train longer, or draw "
            "with --temperature above 1"
        )
    if dispersion > _SPREAD:
        said.append(
            f"degraded: samples spread {dispersion:.1f} times as far as the members; train longer, or set "
            "diffusion.standardise=true"
        )
    if nearest < _COPIED:
        said.append(
            f"near-copies: samples are {nearest:.2f} times as far from a member as members are from each "
            "other; train for fewer steps, or with more diffusion.jitter"
        )
    return said


def _spread(latents: Tensor) -> Tensor:
    return (latents - latents.mean(dim=0)).square().sum(dim=1).mean().sqrt()


def _to_others(members: Tensor) -> Tensor:
    """Return the median distance of a member to the nearest other one."""
    distances = torch.cdist(members, members)
    distances.fill_diagonal_(float("inf"))
    return distances.amin(dim=1).median()


def _ratio(ours: Tensor, theirs: Tensor) -> float:
    """Return ours / theirs, or 1 if the members have no such distance: all alike, or only one."""
    return float(ours / theirs) if 0 < float(theirs) < math.inf else 1.0
