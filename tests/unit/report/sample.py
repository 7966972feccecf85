"""The results of a made-up evaluation, in the form of `results.json`."""

import math
from typing import Any

FAMILIES = (
    # family, strength, models, accuracy, max-similarity, dispersion
    ("original", None, 30, 0.9713, 0.905, 1.0),
    ("generated", None, 8, 0.9710, 0.872, 0.83),
    ("ensemble", None, 1, 0.9734, 0.893, None),
    ("noise", 0.013, 8, 0.9700, 0.860, 1.05),
    ("noise", 0.026, 8, 0.9652, 0.699, 1.20),
    ("noise", 0.052, 8, 0.8000, 0.457, 1.62),
    ("average", 16, 8, 0.9727, 0.914, 0.25),
    ("gaussian", 1.0, 8, 0.9716, 0.857, 1.0),
)


def points(
    family: str, strength: float | None, n: int, accuracy: float, similarity: float
) -> list[dict[str, Any]]:
    """Models spread a little around the family's means."""
    spread = [math.sin(1 + 2.3 * index) if n > 1 else 0.0 for index in range(n)]
    return [
        {
            "family": family,
            "strength": strength,
            "accuracy": accuracy + 0.002 * x,
            "max_similarity": similarity - 0.02 * x,
        }
        for x in spread
    ]


def summary(models: list[dict[str, Any]]) -> dict[str, Any]:
    accuracies = [model["accuracy"] for model in models]
    mean = sum(accuracies) / len(accuracies)
    std = math.sqrt(sum((a - mean) ** 2 for a in accuracies) / len(accuracies))
    return {"best": max(accuracies), "mean": mean, "min": min(accuracies), "std": std}


def sample_results(name: str = "mnist1d") -> dict[str, Any]:
    """Results of a task called `name`."""
    models = {row[:2]: points(*row[:5]) for row in FAMILIES}
    parts = {
        family: {"n": len(models[family, None]), **summary(models[family, None])}
        for family in ("original", "generated", "ensemble")
    }
    parts["ensemble"]["max_similarity"] = 0.893
    return {
        "format": 1,
        "task": {"name": name, "arch": "convnet", "split": "test", "samples": 10_000},
        "bank": {"path": "/data/bank", "digest": "9f2c" * 16, "members": 30, "dim": 2618},
        **parts,
        "baselines": [
            {
                "family": family,
                "strength": strength,
                "n": n,
                "accuracy": summary(models[family, strength]),
                "max_similarity": similarity,
                "dispersion": dispersion,
            }
            for family, strength, n, _, similarity, dispersion in FAMILIES
            if family in {"noise", "average", "gaussian"}
        ],
        "novelty": {
            "max_similarity": {"mean": 0.872, "min": 0.84, "max": 0.901},
            "original_max_similarity": 0.905,
            "containment": 0.93,
            "original_containment": 0.951,
            "oo": 0.742,
            "gg": 0.802,
            "og": 0.768,
            "gg_nearest": 0.884,
            "distinct": 3,
            "dispersion": 0.83,
            "l2_nearest": {"mean": 3.214, "min": 2.7},
            "l2_nearest_original": {"mean": 1.92, "min": 1.1},
        },
        "points": [model for each in models.values() for model in each],
        "cost": {"once_s": 38.2, "per_model_s": 0.014, "evaluate_s": 127.0},
        "verdict": {
            "sentence": "8 generated models: 97.10% mean accuracy; 0.24 ± 0.46 points.",
            "covered_by": [],
        },
        "provenance": {
            "pdiff": "0.1.0",
            "python": "3.11.9",
            "torch": "2.10.0",
            "numpy": "2.3.4",
            "platform": "Linux",
            "processor": "x86_64",
            "threads": 2,
            "device": "cpu",
            "date": "2025-01-01T00:00:00+00:00",
            "seed": 5,
            "generation": {"seed": 7, "preset": "default"},
            "digests": {
                name: f"{index}" * 64 for index, name in enumerate(("bank", "run", "inputs", "targets"))
            },
            "sample_counts": {"samples": 10_000, "original": 30, "generated": 8, "each_baseline": 8},
        },
    }
