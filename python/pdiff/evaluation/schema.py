"""Describe `results.json`: every field of an evaluation, typed, with one format version.

Scores are in the metric's unit (fractions where people read per cent), similarities are IoU of wrong
predictions, distances are L2 in units of each tensor's standard deviation unless said otherwise. None is a
figure that is not defined. The evaluation writes this; report, model card and command line read it.
"""

import json
from html import escape
from pathlib import Path
from typing import Any, Literal

import msgspec

from pdiff.common.errors import InputError, UsageError
from pdiff.common.provenance import DataKind

FORMAT = 9
RESULTS = "results.json"

Position = Literal["above", "on", "below"]
"""Where an interval of margins lies relative to the Pareto front of the baselines."""
Kind = Literal["copies", "averages", "damaged", "concentrated", "another", "control", "delivered"]
Quality = Literal["better", "as good", "worse", "ruined", "unknown"]
"""How good the generated models are beside the originals."""


class _Entry(msgspec.Struct, frozen=True):
    """Base of every part."""


class Scale(_Entry, frozen=True, kw_only=True):
    """What the task's metric is called, and how its values are written and drawn."""

    name: str
    higher_is_better: bool
    percent: bool

    @property
    def axis(self) -> str:
        """What an axis of scores is called; better is up or right, so that it may run backwards."""
        unit = f"{self.name} (%)" if self.percent else self.name
        return unit if self.higher_is_better else f"{unit}, lower is better"

    @property
    def points(self) -> str:
        """The unit of a difference."""
        return "points" if self.percent else self.name

    def drawn(self, score: float) -> float:
        """Return a score in the unit of the axis."""
        return 100 * score if self.percent else score

    def bare(self, score: float | None, significant: int = 4) -> str:
        """Format a score for a column whose heading has the unit: 0.9712 → `97.12`.

        Of what is not read as per cent `significant` digits are left: 12.3456 → `12.35`, 123456 → `1.235e5`.
        """
        if score is None:
            return "–"
        if self.percent:
            return f"{100 * score:.2f}"
        return f"{score:.{significant}g}".replace("e+0", "e").replace("e-0", "e-").replace("e+", "e")

    def text(self, score: float | None) -> str:
        """Format a score with its unit: 0.9712 → `97.12%`."""
        return f"{self.bare(score)}%" if self.percent and score is not None else self.bare(score)

    def difference(self, value: float) -> str:
        """Format a difference of two scores with its sign: 0.0024 → `+0.24`, −0.0024 → `−0.24`."""
        text = f"{100 * value:+.2f}" if self.percent else f"{value:+.4g}"
        return f"−{text[1:]}" if text.startswith("-") else text

    def best(self, scores: "Spread") -> float:
        """Return the best of some scores."""
        return scores.max if self.higher_is_better else scores.min

    def better(self, a: float, b: float) -> bool:
        """Return whether score `a` is better than `b`."""
        return a > b if self.higher_is_better else a < b


class TaskEntry(_Entry, frozen=True, kw_only=True):
    """What the models were judged on."""

    name: str
    arch: str
    split: str
    samples: int
    metric: Scale


class BankEntry(_Entry, frozen=True, kw_only=True):
    """The bank that the models are compared with; members, by index, that no run has learned from."""

    path: str
    digest: str
    members: int
    dim: int
    held_out: list[int]


class AccessEntry(_Entry, frozen=True, kw_only=True):
    """What maker and baselines use besides the weights.

    `kind` is `weights` where `inputs` was asked for and there was no BatchNorm to re-estimate.
    """

    kind: DataKind
    asked: DataKind
    gradient_evaluations: int
    reestimated: bool


class Spread(_Entry, frozen=True, kw_only=True):
    """Scores of some models; `std` is the population's."""

    max: float
    mean: float
    min: float
    std: float


class Selected(_Entry, frozen=True, kw_only=True):
    """The model that is best on validation: its place in its family, its file and its scores."""

    index: int
    file: str
    validation: float
    test: float


class FamilyEntry(_Entry, frozen=True, kw_only=True):
    """Models of one family at one strength, whoever made them; measures are means over models.

    The family is `original`, `generated`, `ensemble` (the paper's word for the average of all members), a
    generator's or the name of a control. Of several runs, `gg` and `dispersion` are within runs.
    """

    family: str
    strength: float | None
    access: DataKind
    """What the maker saw."""
    n: int
    score: Spread
    best: Selected | None = None
    """Of originals and generated models."""
    max_similarity: float
    containment: float
    gg: float | None
    """Similarity of two models; the paper's OO, of originals."""
    dispersion: float | None


class RunEntry(_Entry, frozen=True, kw_only=True):
    """One folder of generated models."""

    path: str
    seed: int | None
    run_digest: str
    preset: str
    temperature: float | None = None
    """Of the sampler, where there is one."""
    models: FamilyEntry


class Nearest(_Entry, frozen=True, kw_only=True):
    """Distances to the nearest member: mean and smallest over models."""

    mean: float
    min: float


class ZU(_Entry, frozen=True, kw_only=True):
    """The test of copying; `reason` says why there is no value."""

    value: float | None
    generated: int = 0
    held_out: int = 0
    reason: str = ""


class Novelty(_Entry, frozen=True, kw_only=True):
    """How new the generated models are, besides what their entry says; `distinct` is over all runs.

    Raw distances are in the weights' own units, aligned ones are after the hidden units were matched.
    `cosine` is that of a model's weight matrices with those of the bank's mean, mean over models.
    """

    similarities: tuple[float, float]
    """Smallest and largest max-similarity of a model."""
    og: float
    gg_nearest: float | None
    distinct: int
    distinct_original: int
    l2_nearest: Nearest
    l2_nearest_original: Nearest
    l2_nearest_raw: Nearest
    l2_nearest_raw_original: Nearest
    l2_nearest_aligned: Nearest | None
    cosine: float
    z_u: ZU


class Delivered(_Entry, frozen=True, kw_only=True):
    """The score that models were asked for, least and greatest, and the one that they have.

    The slope says by how much a model's score rises with what was asked for: 1 is full control. It is None
    where all were asked for the same.
    """

    condition: str
    n: int
    asked: tuple[float, float]
    mean_asked: float
    mean: float
    slope: float | None
    interval: tuple[float, float] | None


class Hull(_Entry, frozen=True, kw_only=True):
    """Distance off the affine hull of the training members over the distance to their mean."""

    generated: float
    held_out: float | None


class Segments(_Entry, frozen=True, kw_only=True):
    """Distance to the nearest segment of two members over that to the nearest member; share between ends."""

    generated: float
    original: float
    between: float
    between_original: float


class Geometry(_Entry, frozen=True, kw_only=True):
    """Where models lie among the members; no hull where it is the whole space."""

    affine_hull: Hull | None
    segments: Segments


class VoteSpread(_Entry, frozen=True, kw_only=True):
    """Standard deviations over draws, one a size."""

    score: list[float | None]
    nll: list[float | None]
    ece: list[float | None]


class VoteFigures(VoteSpread, frozen=True, kw_only=True):
    """What soft votes of one family are worth, one value a size."""

    draws: list[int]
    std: VoteSpread


class Votes(_Entry, frozen=True, kw_only=True):
    """Soft votes of several models: `original`, `generated`, `gaussian` and `mixed` families."""

    sizes: list[int]
    pools: dict[str, int]
    families: dict[str, VoteFigures]


class PlaneEntry(_Entry, frozen=True, kw_only=True):
    """The generated models in one plane, the Pareto front there, and the mixture of families that reaches it.

    `at` is their mean max-similarity or GG; the margin is positive where they are better.
    """

    at: float
    score: float
    front: float
    margin: float
    interval: tuple[float, float]
    position: Position
    reached_by: str


class Difference(_Entry, frozen=True, kw_only=True):
    """A difference of two means, with its interval."""

    difference: float
    interval: tuple[float, float]


class Bootstrap(_Entry, frozen=True, kw_only=True):
    """How the intervals were made."""

    replicates: int
    level: float
    seed: int
    over: list[str]


class Finding(_Entry, frozen=True, kw_only=True):
    """Something conspicuous about the generated models."""

    kind: Kind
    sentence: str


class Advice(_Entry, frozen=True, kw_only=True):
    """What a practitioner asks, answered in sentences, in this order."""

    quality: Quality = "unknown"
    unsupported: str = ""
    """Why the bank or the samples support no verdict; empty where they do."""
    headline: str = ""
    """Whether the generated models are as good as the originals, and new."""
    novelty: str = ""
    """The figures behind that."""
    simpler: str = ""
    """Whether something simpler does better."""
    next: str = ""
    """What to do."""
    command: str = ""
    """What does it, where a command can."""

    @property
    def sentences(self) -> list[str]:
        """The answers that there are, in order."""
        answers = (self.unsupported, self.headline, self.novelty, self.simpler, self.next)
        return [answer for answer in answers if answer]


class Verdict(_Entry, frozen=True, kw_only=True):
    """Where the generated models lie; `over_originals` is by how much their mean score is better.

    Where the bank supports no verdict there are no position, sentence and planes, nor the results' fronts.
    """

    position: Position | None
    """None says that the bank supports no verdict."""
    advice: Advice = Advice()
    sentence: str
    over_originals: Difference
    at_max_similarity: PlaneEntry | None
    at_gg: PlaneEntry | None
    """None for a single generated model, too."""
    concentration: Difference | None
    """GG − OO: how much more alike generated models are than members."""
    findings: list[Finding]
    bootstrap: Bootstrap


class Fronts(_Entry, frozen=True, kw_only=True):
    """Vertices (x, score) of the baselines' Pareto fronts; none where the bank supports no verdict."""

    max_similarity: list[tuple[float, float]]
    gg: list[tuple[float, float]]


class Point(_Entry, frozen=True, kw_only=True):
    """One model; originals and generated models have a file, and a score on validation where there is one.

    `nll` is the mean negative log-likelihood of the targets' classes, of the models that vote.
    """

    family: str
    strength: float | None
    run: int
    score: float
    max_similarity: float
    containment: float
    gg: float | None
    nll: float | None = None
    validation: float | None = None
    file: str = ""


class SimilarityData(_Entry, frozen=True, kw_only=True):
    """How alike every two models err; two hexadecimal digits a pair."""

    original: list[int]
    generated: list[int]
    rows: list[str]


class MapPopulation(_Entry, frozen=True, kw_only=True):
    """Places of one family's models on the map."""

    family: str
    strength: float | None
    xy: list[tuple[float, float]]


class MapData(_Entry, frozen=True, kw_only=True):
    """Models on the first two principal components of the bank."""

    explained: list[float]
    populations: list[MapPopulation]


class Histogram(_Entry, frozen=True, kw_only=True):
    """How the numbers of one tensor are spread."""

    name: str
    shape: list[int]
    edges: tuple[float, float]
    shares: dict[str, list[float]]


class Curve(_Entry, frozen=True, kw_only=True):
    """A stage's loss."""

    step: list[int]
    loss: list[float]


class TrainingData(_Entry, frozen=True, kw_only=True):
    """How the run was trained."""

    stages: dict[str, Curve]
    variance_kept: float | None


class ReverseData(_Entry, frozen=True, kw_only=True):
    """Scores on the way from noise, one value a point."""

    n: int
    progress: list[float]
    score: dict[Literal["mean", "min", "max"], list[float | None]]


class Plots(_Entry, frozen=True, kw_only=True):
    """What the page draws besides; `missing` says why a section is None."""

    similarity: SimilarityData
    map: MapData | None
    parameters: list[Histogram]
    training: TrainingData | None
    reverse: ReverseData | None
    missing: dict[str, str]


class Cost(_Entry, frozen=True, kw_only=True):
    """Seconds and gradients; None where the models' maker did not say."""

    once_s: float | None
    per_model_s: float | None
    gradient_evaluations: int | None
    evaluate_s: float


class Results(_Entry, frozen=True, kw_only=True):
    """An evaluation; `name` is what the generated models are called."""

    format: int = FORMAT
    name: str
    task: TaskEntry
    bank: BankEntry
    data_access: AccessEntry
    original: FamilyEntry
    ensemble: FamilyEntry
    generated: FamilyEntry
    runs: list[RunEntry]
    baselines: list[FamilyEntry]
    controls: list[FamilyEntry]
    novelty: Novelty
    geometry: Geometry
    delivered: Delivered | None = None
    """Of models that were asked for a score."""
    votes: Votes | None
    verdict: Verdict
    fronts: Fronts
    points: list[Point]
    plots: Plots
    warnings: list[str]
    cost: Cost
    provenance: dict[str, Any]

    def __repr__(self) -> str:
        ours, scale = self.generated, self.task.metric
        scores = f"{scale.bare(ours.score.mean)}, of originals {scale.bare(self.original.score.mean)}"
        return (
            f"<Results {self.name}: {ours.n} models, {self.task.name} {scale.name} {scores}, "
            f"max-similarity {ours.max_similarity:.3f}, {self.verdict.position or 'no verdict'}>"
        )

    def _repr_html_(self) -> str:
        rows = [
            (name, str(each.n), self.task.metric.bare(each.score.mean), f"{each.max_similarity:.3f}")
            for name, each in (
                ("originals", self.original),
                ("their average", self.ensemble),
                (self.name, self.generated),
            )
        ]
        head = ("models", "n", f"mean {self.task.metric.name}", "max-similarity")
        lines = ["".join(f"<td>{escape(cell)}</td>" for cell in row) for row in (head, *rows)]
        answers = "".join(f"<p>{escape(sentence)}</p>" for sentence in self.verdict.advice.sentences)
        command = f"<pre>{escape(found)}</pre>" if (found := self.verdict.advice.command) else ""
        return f"{answers}{command}<table><tr>{'</tr><tr>'.join(lines)}</tr></table>"


def read_results(path: Path) -> Results:
    """Read an evaluation: a folder that `pdiff evaluate` wrote, or its `results.json`.

    Raises `UsageError` if there is none, `InputError` if it is damaged or of another format.
    """
    file = path / RESULTS if path.is_dir() else path
    try:
        content = json.loads(file.read_bytes())
        if not isinstance(content, dict) or "format" not in content:
            raise InputError(f"{file}: not the results of an evaluation")
        if (found := content["format"]) != FORMAT:
            raise InputError(
                f"{file}: format {found!r}, this version reads {FORMAT}; run `pdiff evaluate` again"
            )
        return msgspec.convert(content, Results)
    except FileNotFoundError:
        wanted = f"no evaluation here (no {RESULTS}); make one with `pdiff evaluate`"
        raise UsageError(f"{path}: {wanted}") from None
    except (ValueError, RecursionError) as error:  # msgspec's are ValueErrors
        raise InputError(f"{file}: damaged ({error})") from None
