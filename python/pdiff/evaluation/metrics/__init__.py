"""Measure models: their errors, their weights, and what they are worth together."""
