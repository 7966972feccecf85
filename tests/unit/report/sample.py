"""The results of a made-up evaluation, computed from made-up predictions.

Each sample has a margin, each model perturbs it; where the sum is negative the model is wrong. So accuracy
and similarity hang together as they do for networks.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from pdiff.evaluation.schema import (
    ZU,
    AccessEntry,
    Advice,
    BankEntry,
    Bootstrap,
    Cost,
    Curve,
    Difference,
    FamilyEntry,
    Finding,
    Fronts,
    Geometry,
    Histogram,
    MapData,
    MapPopulation,
    Nearest,
    Novelty,
    PlaneEntry,
    Plots,
    Point,
    Results,
    ReverseData,
    RunEntry,
    Scale,
    Segments,
    Selected,
    SimilarityData,
    Spread,
    TaskEntry,
    TrainingData,
    Verdict,
    VoteFigures,
    Votes,
    VoteSpread,
)

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
RMSE = Scale(name="RMSE", higher_is_better=False, percent=False)
SIZES = [1, 2, 5, 10, 20, 50]
POOLS = {"original": 60, "generated": 50, "gaussian": 100}
VOTE_SPREAD = {"score": 0.0013, "nll": 0.0021, "ece": 0.0009}


Wrong = NDArray[np.bool_]
Front = list[tuple[float, float]]
Part = TypeVar("Part")


def changed(whole: Part, changes: Mapping[str, Any]) -> Part:
    """The same with other values at `changes`, dotted paths of attributes and places: `runs.0.seed`."""
    for path, value in changes.items():
        whole = _changed(whole, path.split("."), value)
    return whole


def _changed(whole: Any, path: list[str], value: Any) -> Any:
    if not path:
        return value
    first, *rest = path
    if isinstance(whole, list):
        place = int(first)
        return [*whole[:place], _changed(whole[place], rest, value), *whole[place + 1 :]]
    return replace(whole, **{first: _changed(getattr(whole, first), rest, value)})


@cache
def predictions(originals: int, models: int, samples: int) -> dict[tuple[str, float | None], Wrong]:
    """Wrong sets of each family, bool [M, samples]."""
    generator = np.random.default_rng(0)
    margins = generator.normal(1.9, 1, samples)
    found = {}
    for family, strength, distance, _ in FAMILIES:
        count = {"original": originals, "ensemble": 1}.get(family, models)
        shift = distance * generator.normal(size=(count, samples)) + 0.02 * generator.normal(size=(count, 1))
        found[family, strength] = margins + shift < 0
    return found


def spread(values: NDArray[np.float64]) -> Spread:
    return Spread(
        mean=float(values.mean()),
        min=float(values.min()),
        max=float(values.max()),
        std=float(values.std()),
    )


def iou(a: Wrong, b: Wrong) -> NDArray[np.float64]:
    """Intersection over union of every pair of wrong sets, of which none is empty."""
    both = a.astype(np.float64) @ b.T.astype(np.float64)
    return np.asarray(both / (a.sum(axis=1)[:, None] + b.sum(axis=1) - both))


def corners(points: Front) -> Front:
    """The best score at each x or below, as corners; the hull of the real one does not matter here."""
    found: Front = []
    for x, score in sorted(points):
        if not found or score > found[-1][1]:
            found.append((x, score))
    return found


def reached(vertices: Front, at: float) -> float:
    """The frontier's height."""
    x, score = zip(*vertices, strict=True)
    return float(np.interp(at, x, score))


class _Made:
    """A family, its models' scores, and how similar they are to the bank and to one another."""

    def __init__(self, wrong: Wrong, bank: Wrong) -> None:
        self.n = len(wrong)
        self.scores = 1 - wrong.mean(axis=1)
        similarity = iou(wrong, bank)
        if wrong is bank:
            np.fill_diagonal(similarity, -np.inf)
        self.largest = similarity.max(axis=1)
        self.own: list[float | None] = [None] * self.n
        self.gg: float | None = None
        if self.n > 1:
            others = (iou(wrong, wrong).sum(axis=1) - 1) / (self.n - 1)
            self.own, self.gg = others.tolist(), float(others.mean())


def sample_results(
    name: str = "mnist1d", *, originals: int = 30, models: int = 8, samples: int = 1000
) -> Results:
    """Results of a task called `name`."""
    wrong = predictions(originals, models, samples)
    bank = wrong["original", None]
    made = {key: _Made(each, bank) for key, each in wrong.items()}
    original, ours, mean = (_family(*row, made[row[:2]]) for row in FAMILIES[:3])
    baselines = [_family(*row, made[row[:2]]) for row in FAMILIES[3:]]
    fronts = Fronts(
        max_similarity=corners([(b.max_similarity, b.score.mean) for b in baselines]),
        gg=corners([(b.gg, b.score.mean) for b in baselines if b.gg is not None]),
    )
    metric = Scale(name="accuracy", higher_is_better=True, percent=True)
    run = RunEntry(path="/data/generated", seed=7, run_digest="1" * 64, preset="default", models=ours)
    return Results(
        name="p-diff",
        task=TaskEntry(name=name, arch="convnet", split="test", samples=samples, metric=metric),
        bank=BankEntry(path="/data/bank", digest="9f2c" * 16, members=originals, dim=2618, held_out=[]),
        data_access=AccessEntry(kind="weights", asked="weights", gradient_evaluations=0, reestimated=False),
        original=original,
        ensemble=mean,
        generated=ours,
        runs=[run],
        baselines=baselines,
        controls=[],
        novelty=_novelty(made["generated", None], wrong),
        geometry=Geometry(
            affine_hull=None,
            segments=Segments(generated=0.94, original=0.87, between=0.75, between_original=0.9),
        ),
        votes=_votes(),
        verdict=_verdict(made["generated", None], fronts, models),
        fronts=fronts,
        points=_points(made),
        plots=_plots(wrong),
        warnings=["The denoiser's loss was still falling when training ended: more steps may help."],
        cost=Cost(once_s=38.2, per_model_s=0.014, gradient_evaluations=0, evaluate_s=127.0),
        provenance=_provenance(),
    )


def lean_results(name: str = "mnist1d") -> Results:
    """The same without what may be missing, whose figures take most of the time."""
    missing = {part: f"no {part}" for part in ("map", "reverse", "training")}
    gone = {f"plots.{part}": None for part in missing}
    return changed(
        sample_results(name), {"votes": None, "plots.parameters": [], **gone, "plots.missing": missing}
    )


def control(results: Results, name: str) -> FamilyEntry:
    """A control that is like the first baseline."""
    return replace(results.baselines[0], family=name, strength=None, containment=0.25)


def _family(family: str, strength: float | None, _: float, dispersion: float, made: _Made) -> FamilyEntry:
    score = spread(made.scores)
    selected = Selected(index=0, file=f"{family}/0.safetensors", validation=score.max, test=score.max)
    return FamilyEntry(
        family=family,
        strength=strength,
        access="weights",
        n=made.n,
        score=score,
        best=selected if family in {"original", "generated"} else None,
        max_similarity=float(made.largest.mean()),
        containment={"original": 0.951, "generated": 0.93}.get(family, 0.9),
        gg=made.gg,
        dispersion=None if made.n == 1 else dispersion,
    )


def _novelty(ours: _Made, wrong: dict[tuple[str, float | None], Wrong]) -> Novelty:
    return Novelty(
        similarities=(float(ours.largest.min()), float(ours.largest.max())),
        og=float(iou(wrong["generated", None], wrong["original", None]).mean()),
        gg_nearest=0.884,
        distinct=3,
        distinct_original=5,
        l2_nearest=Nearest(mean=3.214, min=2.7),
        l2_nearest_original=Nearest(mean=1.92, min=1.1),
        l2_nearest_raw=Nearest(mean=0.32, min=0.27),
        l2_nearest_raw_original=Nearest(mean=0.19, min=0.11),
        l2_nearest_aligned=None,
        cosine=0.97,
        z_u=ZU(value=None, reason="no member was held out"),
    )


def _votes() -> Votes:
    families = {}
    for place, family in enumerate(("original", "generated", "gaussian", "mixed")):
        gain = np.log2(SIZES) * (0.0005 + 0.0003 * place)
        means = {"score": 0.971 + gain, "nll": 0.12 - 5 * gain, "ece": 0.02 - 2 * gain}
        first: list[None] = [None] if family == "mixed" else []  # one model is no mixture
        families[family] = VoteFigures(
            draws=[POOLS.get(family, 0), *[8] * 4, 1 if family == "generated" else 8],
            **{name: [*first, *values.tolist()[len(first) :]] for name, values in means.items()},
            std=VoteSpread(
                **{
                    name: [*first, *[size] * (5 - len(first)), None if family == "generated" else size]
                    for name, size in VOTE_SPREAD.items()
                }
            ),
        )
    return Votes(sizes=SIZES, pools=POOLS, families=families)


def _verdict(ours: _Made, fronts: Fronts, models: int) -> Verdict:
    assert ours.gg is not None
    return Verdict(
        position="on",
        advice=Advice(
            quality="as good",
            headline="The generated models are as accurate as your checkpoints, and new.",
            novelty="Their errors overlap with those of the nearest checkpoint by 0.75.",
            simpler="Something simpler does as well: Gaussian ×1.",
            next="Use the Gaussian ×1:",
            command="pdiff train /data/bank --generator gaussian && pdiff generate run --n 50",
        ),
        sentence=f"{models} generated models are on the Pareto front: 0.24 ± 0.46 points.",
        at_max_similarity=_stand(ours, fronts.max_similarity, float(ours.largest.mean())),
        at_gg=_stand(ours, fronts.gg, ours.gg),
        over_originals=Difference(difference=-0.001, interval=(-0.004, 0.002)),
        concentration=None,
        findings=[Finding(kind="concentrated", sentence="Generated models are more alike than originals.")],
        bootstrap=Bootstrap(replicates=200, level=0.95, seed=5, over=["samples", "models"]),
    )


def _stand(ours: _Made, front: Front, at: float) -> PlaneEntry:
    score, height = float(ours.scores.mean()), reached(front, at)
    return PlaneEntry(
        at=at,
        score=score,
        front=height,
        margin=score - height,
        interval=(score - height - 0.002, score - height + 0.003),
        position="on",
        reached_by="Gaussian ×1",
    )


def _points(made: dict[tuple[str, float | None], _Made]) -> list[Point]:
    return [
        Point(
            family=family,
            strength=strength,
            run=0,
            score=float(score),
            max_similarity=float(largest),
            containment=0.9,
            gg=own,
            nll=0.12 if family == "generated" else None,
            validation=float(score) if family in {"original", "generated"} else None,
            file=f"{family}/{place}.safetensors" if family in {"original", "generated"} else "",
        )
        for (family, strength), each in made.items()
        for place, (score, largest, own) in enumerate(zip(each.scores, each.largest, each.own, strict=True))
    ]


def _similarity(wrong: dict[tuple[str, float | None], Wrong]) -> SimilarityData:
    original, generated = wrong["original", None], wrong["generated", None]
    both = np.concatenate([original, generated])
    levels = np.round(255 * iou(both, both)).astype(np.uint8)
    return SimilarityData(
        original=list(range(len(original))),
        generated=list(range(len(generated))),
        rows=[row.tobytes().hex() for row in levels],
    )


def _plots(wrong: dict[tuple[str, float | None], Wrong]) -> Plots:
    generator = np.random.default_rng(1)
    places = [
        (family, strength, generator.normal(size=(len(wrong[family, strength]), 2)) * size)
        for family, strength, size, _ in FAMILIES
        if (family, strength) != ("noise", 0.052)
    ]
    bins = np.histogram(generator.normal(size=4000), bins=32, range=(-4, 4))[0] / 4000
    steps = list(range(0, 2000, 40))
    return Plots(
        similarity=_similarity(wrong),
        map=MapData(
            explained=[0.41, 0.12],
            populations=[
                MapPopulation(family=f, strength=s, xy=[(x, y) for x, y in xy.tolist()])
                for f, s, xy in places
            ],
        ),
        parameters=[
            Histogram(
                name=f"features.{index}.weight",
                shape=[16, 8],
                edges=(-0.4, 0.4),
                shares={family: bins.tolist() for family in ("original", "generated", "gaussian")},
            )
            for index in range(12)
        ],
        training=TrainingData(
            stages={"denoiser": Curve(step=steps, loss=[1 / (1 + 0.01 * step) for step in steps])},
            variance_kept=0.97,
        ),
        reverse=ReverseData(
            n=8,
            progress=[0, 0.25, 0.5, 0.75, 1],
            score={
                "mean": [0.1, 0.2, 0.6, 0.95, 0.971],
                "min": [0.08, 0.1, 0.4, 0.93, 0.969],
                "max": [0.12, 0.3, 0.7, 0.96, 0.973],
            },
        ),
        missing={},
    )


def _provenance() -> dict[str, Any]:
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
        "digests": {name: f"{index}" * 64 for index, name in enumerate(("bank", "run", "inputs", "targets"))},
    }
