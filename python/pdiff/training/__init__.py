"""Training: a codec for the bank's rows, then a generative model of their latents."""

from pdiff.training.run import Run, choose_device, train

__all__ = ["Run", "choose_device", "train"]
