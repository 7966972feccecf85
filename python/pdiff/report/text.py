"""Format figures, scores and names, the same in the table, on the page and in the terminal."""

from dataclasses import dataclass

from pdiff.evaluation.schema import Results
from pdiff.generators.sweeps import label


def number(value: float | None, digits: int) -> str:
    """Format with a fixed number of digits; a dash for a figure that is not defined."""
    return "–" if value is None else f"{value:.{digits}f}"


def heading(text: str) -> str:
    """Begin with a capital letter, but leave names that have capitals of their own: RMSE, mIoU."""
    first, _, rest = text.partition(" ")
    return " ".join(filter(None, [first.capitalize() if first.islower() else first, rest]))


def duration(seconds: float | None) -> str:
    """Format a time with its unit: `14 ms`, `3.2 s`, `5 min 7 s`, `2 h 3 min`; a dash if it is not known."""
    if seconds is None:
        return "–"
    if seconds < 0.9995:
        return f"{1000 * seconds:.2g} ms" if seconds < 0.01 else f"{1000 * seconds:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def called(results: Results, family: str, strength: float | None = None) -> str:
    """Return how people call a family at one strength; the generated models as the evaluation does."""
    return results.name if family == "generated" else label(family, strength)


@dataclass(frozen=True)
class Scale:
    """What the task's metric is called, and how its values are written and drawn."""

    name: str
    higher_is_better: bool
    percent: bool

    @staticmethod
    def of(results: Results) -> "Scale":
        """Return the scale of an evaluation."""
        metric = results.task.metric
        return Scale(metric.name, metric.higher_is_better, metric.percent)

    @property
    def axis(self) -> str:
        """What an axis of scores is called; better is up or right, so that it may run backwards."""
        unit = f"{self.name} (%)" if self.percent else self.name
        return unit if self.higher_is_better else f"{unit}, lower is better"

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
        return text.replace("-", "−", 1) if text.startswith("-") else text

    @property
    def points(self) -> str:
        """The unit of a difference."""
        return "points" if self.percent else self.name

    def better(self, a: float, b: float) -> bool:
        """Return whether score `a` is better than `b`."""
        return a > b if self.higher_is_better else a < b
