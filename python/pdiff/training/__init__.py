"""Training: a codec for the bank's rows, then a generative model of their latents."""

from pdiff.training.run import BankReference, Run, choose_device, train

__all__ = ["BankReference", "Run", "choose_device", "train"]
