"""Compare generated models with the baselines' Pareto front, and say what follows."""
