"""Bring the hidden units of independently trained networks into one order."""
