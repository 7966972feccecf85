"""Average members: random ones, the last ones, all of them, or a greedy soup of those that help."""

import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Self

import torch
from torch import Tensor

from pdiff.bank import View
from pdiff.common.config import AverageConfig
from pdiff.common.errors import UsageError
from pdiff.common.provenance import DataAccess
from pdiff.common.rng import numpy_generator
from pdiff.common.threads import on_threads, suitable_threads
from pdiff.generators.base import Context, Generator
from pdiff.generators.moments import average_row, require_members
from pdiff.tasks import SplitData, calls
from pdiff.tasks.data import moved
from pdiff.tasks.scoring import load, score


class Average(Generator[AverageConfig]):
    """Averages of raw rows, added up in f64 one at a time.

    With `choice` random and some `members`, each row is of others, drawn at random; more members are the same
    ones and others, so that the averages of a sweep converge. Otherwise every row is the same average: of all
    members (stochastic weight averaging, Izmailov et al. 2018, arXiv 1803.05407), of the last ones, or the
    greedy soup.

    A *greedy soup* (Wortsman et al. 2022, *Model soups*, arXiv 2203.05482, recipe 1) takes members in order
    of their score on validation data, and adds each where the score of the average does not fall. It uses
    labelled validation data but takes no gradient: its data access is `inputs`, the least that is more than
    `weights`. Scores on that split are optimistic afterwards.
    """

    def __init__(self, config: AverageConfig, members: View, chosen: Sequence[int] | None = None) -> None:
        super().__init__(config, members)
        self.chosen = chosen
        """The members that every row averages, in this order; None where each row draws its own."""

    @classmethod
    def fit(cls, config: AverageConfig, members: View, context: Context) -> Self:
        """Choose the members; a greedy soup builds and scores at most 2·K networks of the context's task.

        Raises `UsageError` for more members than there are, and for a greedy soup without a task, without
        validation data, or with a number of random members.
        """
        require_members(members, max(config.members, 1), "an average")
        if config.soup == "greedy":
            begin = time.perf_counter()
            fitted = cls(config, members, _greedy(members, _candidates(config, members), context))
            fitted.seconds["soup"] = time.perf_counter() - begin
            return fitted
        drawn = config.choice == "random" and config.members
        return cls(config, members, None if drawn else _candidates(config, members))

    @property
    def strength(self) -> float | None:
        """The number of members averaged; None for all of them and for a greedy soup."""
        return self.config.members or None if self.config.soup == "uniform" else None

    @property
    def data_access(self) -> DataAccess:
        """Weights alone, or validation data for a greedy soup."""
        return DataAccess("inputs" if self.config.soup == "greedy" else "weights")

    def facts(self) -> Mapping[str, float]:
        """Return how many members are in the greedy soup."""
        return {} if self.config.soup == "uniform" else {"soup_members": len(self.chosen or ())}

    def row(self, index: int, seed: int) -> Tensor:
        """Return an average: raw f32 [D]."""
        if self.chosen is not None:
            return self._average
        order = numpy_generator(seed, "baseline/average", index).permutation(len(self.members))
        return average_row(self.members, order[: self.config.members].tolist())

    @cached_property
    def _average(self) -> Tensor:
        return average_row(self.members, list(self.chosen or ()))

    def state(self) -> Mapping[str, Tensor]:
        """Return the members of a greedy soup, i64; what else is averaged follows from the configuration."""
        return {} if self.config.soup == "uniform" else {"members": torch.tensor(self.chosen)}

    @classmethod
    def restore(
        cls, config: AverageConfig, members: View, state: Mapping[str, Tensor], context: Context
    ) -> Self:
        """Return the generator whose `state` this is; a greedy soup needs no task any more."""
        if "members" in state:
            return cls(config, members, state["members"].tolist())
        return cls.fit(config, members, context)


def _candidates(config: AverageConfig, members: View) -> range:
    """Return the members that an average is of, or a greedy soup chosen from."""
    if config.choice == "random" and config.soup == "greedy" and config.members:
        raise UsageError(
            f"a greedy soup of {config.members} random members: it chooses them itself; "
            "accepted: members 0, or choice last"
        )
    return range(len(members) - (config.members or len(members)), len(members))


def _greedy(members: View, candidates: range, context: Context) -> list[int]:
    """Return the members of the greedy soup, best first; of equal ones the earlier is before the later."""
    task, arch = context.require_task("average, soup greedy,")
    data = SplitData(task, "validation")
    if not len(data):
        raise UsageError(f"task {task.name} has no validation data, which a greedy soup is chosen on")
    network = calls.build(task, arch).to(context.device).eval()
    inputs = moved(next(data.batches(1000))[0], context.device)
    threads = on_threads(suitable_threads(network, lambda: calls.forward(network, inputs)))
    sign = 1 if task.higher_is_better else -1

    def scored(row: Tensor) -> float:
        load(network, members.bank.state_dict(row), f"{task.name} {arch}")
        context.interruption.check()
        return sign * score(task, network, data)

    with threads, context.progress.track("Choosing the soup", 2 * len(candidates) - 1, "network") as tracker:
        scores = {}
        for member in candidates:
            scores[member] = scored(members.batch([member])[0])
            tracker.advance(1)
        first, *others = sorted(candidates, key=lambda member: -scores[member])
        soup, best = [first], scores[first]
        total = members.batch([first])[0].double()
        for member in others:
            tried = total + members.batch([member])[0]
            found = scored((tried / (len(soup) + 1)).float())
            if found >= best:
                soup, total, best = [*soup, member], tried, found
            tracker.advance(1)
    return soup
