"""Evaluate models: how good, how new, and whether noise, averaging or a Gaussian would have done."""
