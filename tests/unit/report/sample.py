"""The results of a made-up evaluation, in the form of `results.json`, computed from made-up predictions.

Each sample has a margin, each model perturbs it; where the sum is negative the model is wrong. So accuracy
and similarity hang together as they do for networks.
"""

from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pdiff.evaluation.novelty import distinct_count, iou_matrix, mean_similarity
from pdiff.evaluation.similarity import similarity_map

FAMILIES: tuple[tuple[str, float | None, float, float], ...] = (
    # family, strength, how far its models are from the bank's centre, dispersion
    ("original", None, 0.10, 1.0),
    ("generated", None, 0.14, 0.83),
    ("ensemble", None, 0.01, 0.0),
    ("noise", 0.013, 0.14, 1.05),
    ("noise", 0.026, 0.30, 1.20),
    ("noise", 0.052, 2.2, 1.62),
    ("average", 4, 0.06, 0.5),
    ("average", 16, 0.04, 0.25),
    ("interpolation", 0.5, 0.07, 0.71),
    ("gaussian", 1.0, 0.12, 1.0),
    ("gaussian", 2.0, 0.33, 2.0),
    ("pca-gaussian", 1.0, 0.13, 1.0),
)
NOT_RIVALS = {"original", "generated", "ensemble"}
SEGMENTS = {"generated": 0.94, "original": 0.87, "between": 0.75, "between_original": 0.9}
SIZES = [1, 2, 5, 10, 20, 50]
POOLS = {"original": 60, "generated": 50, "gaussian": 100}
VOTE_SPREAD = {"score": 0.0013, "nll": 0.0021, "ece": 0.0009}


@cache
def predictions(originals: int, models: int, samples: int) -> dict[tuple[str, float | None], torch.Tensor]:
    """Wrong sets of each family, bool [M, samples]."""
    generator = np.random.default_rng(0)
    margins = generator.normal(1.9, 1, samples)
    found = {}
    for family, strength, distance, _ in FAMILIES:
        count = {"original": originals, "ensemble": 1}.get(family, models)
        shift = distance * generator.normal(size=(count, samples)) + 0.02 * generator.normal(size=(count, 1))
        found[family, strength] = torch.from_numpy(margins + shift < 0)
    return found


def statistics(values: NDArray[np.float64]) -> dict[str, float]:
    return {
        "mean": float(values.mean()),
        "min": float(values.min()),
        "max": float(values.max()),
        "std": float(values.std()),
    }


def frontier(points: list[tuple[float, float]]) -> list[list[float]]:
    """The best score at each x or below, as corners; the hull of the real one does not matter here."""
    found: list[list[float]] = []
    for x, score in sorted(points):
        if not found or score > found[-1][1]:
            found.append([x, score])
    return found


def reached(vertices: list[list[float]], at: float) -> float:
    """The frontier's height."""
    x, score = zip(*vertices, strict=True)
    return float(np.interp(at, x, score))


class _Made:
    """A family, its models' scores, and how similar they are to the bank and to one another."""

    def __init__(self, wrong: torch.Tensor, bank: torch.Tensor) -> None:
        self.n = len(wrong)
        self.scores = 1 - wrong.double().mean(dim=1).numpy()
        similarity = iou_matrix(wrong, bank)
        if wrong is bank:
            similarity.fill_diagonal_(-torch.inf)
        self.largest = similarity.amax(dim=1).numpy()
        within = iou_matrix(wrong, wrong)
        self.distinct = distinct_count(within)
        self.gg = mean_similarity(within) if self.n > 1 else None
        others = (within.sum(dim=1) - 1) / (self.n - 1) if self.n > 1 else None
        self.own = [None] * self.n if others is None else others.tolist()


def sample_results(
    name: str = "mnist1d", *, originals: int = 30, models: int = 8, samples: int = 1000
) -> dict[str, Any]:
    """Results of a task called `name`."""
    wrong = predictions(originals, models, samples)
    bank = wrong["original", None]
    made = {key: _Made(each, bank) for key, each in wrong.items()}
    original, ours, mean = (made[key, None] for key in ("original", "generated", "ensemble"))
    rivals = [row for row in FAMILIES if row[0] not in NOT_RIVALS]
    baselines = [_baseline(*row, made[row[:2]]) for row in rivals]
    envelopes = {
        "max_similarity": frontier([(b["max_similarity"], b["score"]["mean"]) for b in baselines]),
        "gg": frontier([(b["gg"], b["score"]["mean"]) for b in baselines]),
    }
    return {
        "format": 4,
        "task": {
            "name": name,
            "arch": "convnet",
            "split": "test",
            "samples": samples,
            "metric": {"name": "accuracy", "higher_is_better": True, "percent": True},
        },
        "bank": {
            "path": "/data/bank",
            "digest": "9f2c" * 16,
            "members": originals,
            "dim": 2618,
            "held_out": [],
        },
        "league": {"name": "weights", "asked": "weights", "gradient_evaluations": 0, "reestimated": False},
        "original": _scores(original),
        "generated": _scores(ours),
        "runs": [
            {
                "path": "/data/generated",
                "seed": 7,
                "run_digest": "1" * 64,
                "preset": "default",
                "n": models,
                "mean": float(ours.scores.mean()),
                "max_similarity": float(ours.largest.mean()),
                "gg": ours.gg,
            }
        ],
        "ensemble": {
            "n": 1,
            "mean": float(mean.scores.mean()),
            "max_similarity": float(mean.largest.mean()),
        },
        "baselines": baselines,
        "controls": [],
        "novelty": _novelty(original, ours, wrong),
        "geometry": {"affine_hull": None, "segments": SEGMENTS},
        "votes": _votes(),
        "verdict": _verdict(ours, envelopes, models),
        "envelopes": envelopes,
        "points": _points(made),
        "plots": _plots(wrong),
        "warnings": ["The denoiser's loss was still falling when training ended: more steps may help."],
        "cost": {
            "once_s": 38.2,
            "per_model_s": 0.014,
            "gradient_evaluations": 0,
            "evaluate_s": 127.0,
        },
        "provenance": _provenance(originals, models, samples),
    }


def lean_results(name: str = "mnist1d") -> dict[str, Any]:
    """The same without what may be missing, whose figures take most of the time."""
    results = sample_results(name)
    results["votes"] = None
    results["plots"]["parameters"] = []
    for part in ("map", "reverse", "training"):
        results["plots"][part] = {"reason": f"no {part}"}
    return results


def _scores(made: _Made) -> dict[str, Any]:
    each = statistics(made.scores)
    return {"n": made.n, "best": each["max"], "selected": None, **each}


def _baseline(
    family: str, strength: float | None, _: float, dispersion: float, made: _Made
) -> dict[str, Any]:
    return {
        "family": family,
        "strength": strength,
        "league": "weights",
        "n": made.n,
        "score": statistics(made.scores),
        "max_similarity": float(made.largest.mean()),
        "containment": 0.9,
        "gg": made.gg,
        "dispersion": dispersion,
    }


def _novelty(
    original: _Made, ours: _Made, wrong: dict[tuple[str, float | None], torch.Tensor]
) -> dict[str, Any]:
    across = iou_matrix(wrong["generated", None], wrong["original", None])
    largest = statistics(ours.largest)
    return {
        "max_similarity": {key: largest[key] for key in ("mean", "min", "max")},
        "original_max_similarity": float(original.largest.mean()),
        "containment": 0.93,
        "original_containment": 0.951,
        "oo": original.gg,
        "gg": ours.gg,
        "og": float(across.mean()),
        "gg_nearest": 0.884,
        "distinct": ours.distinct,
        "distinct_original": original.distinct,
        "dispersion": 0.83,
        "l2_nearest": {"mean": 3.214, "min": 2.7},
        "l2_nearest_original": {"mean": 1.92, "min": 1.1},
        "l2_nearest_raw": {"mean": 0.32, "min": 0.27},
        "l2_nearest_raw_original": {"mean": 0.19, "min": 0.11},
        "l2_nearest_aligned": None,
        "z_u": {"value": None, "reason": "no member was held out"},
    }


def _votes() -> dict[str, Any]:
    families = {}
    for place, family in enumerate(("original", "generated", "gaussian", "mixed")):
        gain = np.log2(SIZES) * (0.0005 + 0.0003 * place)
        families[family] = {
            "score": (0.971 + gain).tolist(),
            "nll": (0.12 - 5 * gain).tolist(),
            "ece": (0.02 - 2 * gain).tolist(),
            "draws": [POOLS.get(family, 0), *[8] * 4, 1 if family == "generated" else 8],
            "std": {
                name: [*[size] * 5, None if family == "generated" else size]
                for name, size in VOTE_SPREAD.items()
            },
        }
    for values in (families["mixed"], families["mixed"]["std"]):  # one model is no mixture
        values |= {name: [None, *values[name][1:]] for name in VOTE_SPREAD}
    return {"sizes": SIZES, "pools": POOLS, "families": families}


def _verdict(ours: _Made, envelopes: dict[str, list[list[float]]], models: int) -> dict[str, Any]:
    score = float(ours.scores.mean())
    assert ours.gg is not None
    planes = {}
    for plane, at in (("max_similarity", float(ours.largest.mean())), ("gg", ours.gg)):
        height = reached(envelopes[plane], at)
        planes[f"at_{plane}"] = {
            "at": at,
            "score": score,
            "frontier": height,
            "margin": score - height,
            "interval": [score - height - 0.002, score - height + 0.003],
            "position": "on",
            "rival": "Gaussian ×1",
        }
    return {
        "league": "weights",
        "position": "on",
        "sentence": f"{models} generated models are on the frontier: 0.24 ± 0.46 points.",
        **planes,
        "findings": [{"kind": "concentrated", "sentence": "Generated models are more alike than originals."}],
        "bootstrap": {"replicates": 200, "level": 0.95, "seed": 5, "over": ["samples", "models"]},
    }


def _points(made: dict[tuple[str, float | None], _Made]) -> list[dict[str, Any]]:
    return [
        {
            "family": family,
            "strength": strength,
            "run": 0,
            "score": float(score),
            "max_similarity": float(largest),
            "gg": own,
        }
        for (family, strength), each in made.items()
        for score, largest, own in zip(each.scores, each.largest, each.own, strict=True)
    ]


def _plots(wrong: dict[tuple[str, float | None], torch.Tensor]) -> dict[str, Any]:
    generator = np.random.default_rng(1)
    places = [
        (family, strength, generator.normal(size=(len(wrong[family, strength]), 2)) * size)
        for family, strength, size, _ in FAMILIES
        if (family, strength) != ("noise", 0.052)
    ]
    bins = np.histogram(generator.normal(size=4000), bins=32, range=(-4, 4))[0] / 4000
    steps = list(range(0, 2000, 40))
    return {
        "similarity": similarity_map(wrong["original", None], wrong["generated", None], 100),
        "map": {
            "explained": [0.41, 0.12],
            "populations": [{"family": f, "strength": s, "xy": xy.tolist()} for f, s, xy in places],
        },
        "parameters": [
            {
                "name": f"features.{index}.weight",
                "shape": [16, 8],
                "edges": [-0.4, 0.4],
                "shares": {family: bins.tolist() for family in ("original", "generated", "gaussian")},
            }
            for index in range(12)
        ],
        "training": {
            "stages": {"denoiser": {"step": steps, "loss": [1 / (1 + 0.01 * step) for step in steps]}},
            "variance_kept": 0.97,
        },
        "reverse": {
            "n": 8,
            "progress": [0, 0.25, 0.5, 0.75, 1],
            "score": {
                "mean": [0.1, 0.2, 0.6, 0.95, 0.971],
                "min": [0.08, 0.1, 0.4, 0.93, 0.969],
                "max": [0.12, 0.3, 0.7, 0.96, 0.973],
            },
        },
    }


def _provenance(originals: int, models: int, samples: int) -> dict[str, Any]:
    return {
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
        "digests": {name: f"{index}" * 64 for index, name in enumerate(("bank", "run", "inputs", "targets"))},
        "sample_counts": {
            "samples": samples,
            "original": originals,
            "generated": models,
            "each_baseline": models,
        },
    }
