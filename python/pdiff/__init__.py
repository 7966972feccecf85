"""pdiff: learn from a folder of checkpoints, generate new parameters of the same network, judge them."""
