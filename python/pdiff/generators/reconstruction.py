"""Check what a codec makes of the members before a denoiser is trained: of their weights, and as networks."""

from dataclasses import dataclass

import torch

from pdiff.bank import View
from pdiff.codecs import Codec
from pdiff.common.errors import PdiffError
from pdiff.generators.base import Context
from pdiff.generators.stages import Latents
from pdiff.tasks import calls, load_task
from pdiff.tasks.data import SplitData
from pdiff.tasks.scoring import load, score

_SAMPLES = 256
_LOST = 0.5
"""Share of what the members get right below which their reconstructions are useless."""


@dataclass(frozen=True)
class Reconstruction:
    """How well members come back from their latents."""

    variance: float
    """Share of the variance between members that is kept; below 0 it is worse than their mean."""
    members: float | None = None
    """Mean score of a few members, on training data; None where the task is not known or has a metric."""
    reconstructed: float | None = None
    """Mean score of the same, decoded."""

    def sentence(self, codec: Codec) -> str:
        """Say it."""
        said = (
            f"the codec keeps {self.variance:.1%} of the variance between checkpoints in "
            f"{codec.latent_dim:,} numbers"
        )
        if self.members is None or self.reconstructed is None:
            return said
        decoded, originals = f"{self.reconstructed:.1%}", f"{self.members:.1%}"
        return f"{said}; decoded checkpoints get {decoded} right on training data, the originals {originals}"

    @property
    def problem(self) -> str:
        """What is wrong with it, in a sentence with a remedy; an empty string for nothing."""
        if self.members is not None and self.reconstructed is not None:
            useless = self.reconstructed < _LOST * self.members
        else:
            useless = self.variance < 0
        if not useless:
            return ""
        return (
            "the codec cannot reconstruct the checkpoints, and no denoiser could mend that; with another "
            "--out, train it longer (--set codec.train.steps=…) or take principal components, which need no "
            "training (--set codec.kind=pca)"
        )


@torch.no_grad()
def reconstruction(
    codec: Codec, latents: Latents, members: View, variance: float, context: Context
) -> Reconstruction:
    """Decode two members and score them on some training data, where the context has a task.

    `variance` is the share that the codec keeps. A task that cannot be loaded, or whose data is not there, is
    passed over.
    """
    try:
        task, reference = context.task, context.reference
        if task is None and reference is not None:
            task = load_task(reference.name, **reference.options)
        if task is None or task.metric is not None:
            return Reconstruction(variance)
        arch = context.arch or (reference.arch if reference is not None else task.architectures[0])
        data, network = SplitData(task, "train", limit=_SAMPLES), calls.build(task, arch)
        bank, normalizer = members.bank, members.normalizer(codec.kind)
        scores = []
        for member in {0, len(members) - 1}:
            codes = latents.restore(latents.values[member : member + 1])
            decoded = codec.decode(codes).cpu().contiguous()
            normalizer.invert(decoded.numpy())
            pair = []
            for row in (members.batch([member])[0], decoded[0]):
                load(network, bank.state_dict(row), f"{task.name} {arch}")
                pair.append(score(task, network.eval(), data))
            scores.append(pair)
    except PdiffError:
        return Reconstruction(variance)
    ours, theirs = torch.tensor(scores).mean(dim=0).tolist()
    return Reconstruction(variance, ours, theirs)
