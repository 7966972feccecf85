"""Score an average beside the checkpoints that were averaged, with intervals over test samples."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import update_bn

from pdiff.common.progress import Progress
from pdiff.common.rng import numpy_generator
from pdiff.common.threads import on_threads, suitable_threads
from pdiff.generation.average_record import Score, Scores
from pdiff.tasks import SplitData, Task, calls
from pdiff.tasks.data import moved
from pdiff.tasks.scoring import judged, load, reduced

State = Mapping[str, Tensor]

JUDGED = 20
"""Members that are scored, evenly spread, the last one among them."""
REPLICATES = 500
LEVEL = 0.95
_BATCH = 500


@dataclass(frozen=True)
class Scorer:
    """Runs the network of a task with the weights of checkpoints."""

    task: Task
    arch: str
    device: torch.device
    progress: Progress

    @torch.no_grad()
    def reestimated(self, state: State, inputs: int) -> dict[str, Tensor]:
        """Return the state dict with BatchNorm statistics of the first `inputs` training samples."""
        network = self._network(state)
        if not inputs or not any(isinstance(module, _BatchNorm) for module in network.modules()):
            return dict(state)
        data = SplitData(self.task, "train", inputs)
        update_bn((moved(x, self.device) for x, _ in data.batches(_BATCH)), network)
        self.progress.message(f"BatchNorm statistics are estimated on {len(data):,} training inputs")
        found = network.state_dict()
        return {
            name: found[name].to(tensor) if "running_" in name or "num_batches" in name else tensor
            for name, tensor in state.items()
        }

    def score(self, state: State, chosen: Sequence[int], member: Callable[[int], State]) -> Scores:
        """Score the average and the `chosen` members, each read when its turn comes."""
        spread = np.linspace(0, len(chosen) - 1, min(JUDGED, len(chosen))).round().astype(int).tolist()
        test, validation = SplitData(self.task, "test"), SplitData(self.task, "validation")
        found, decisive = [], []
        network, inputs = self._network(state), moved(next(test.batches(_BATCH))[0], self.device)
        threads = on_threads(suitable_threads(network, lambda: calls.forward(network, inputs)))
        with threads, self.progress.track("Scoring", len(spread) + 1, "checkpoint") as tracker:
            for index in spread:
                network = self._network(member(chosen[index]))
                found.append(judged(self.task, network, test, _BATCH))
                chooses = judged(self.task, network, validation, _BATCH) if len(validation) else found[-1]
                decisive.append(reduced(self.task, chooses))
                tracker.advance()
            ours = judged(self.task, self._network(state), test, _BATCH)
            tracker.advance()
        sign = 1 if self.task.higher_is_better else -1
        best = int(np.argmax(sign * np.array(decisive)))
        draws = _draws(self.task, [ours, *found])  # [replicates + 1, 1 + members]; the estimate comes first
        average, scored = draws[:, 0], draws[:, 1:]
        return Scores(
            task=self.task.name,
            arch=self.arch,
            metric=self.task.metric_name,
            percent=self.task.metric is None or self.task.metric.percent,
            samples=len(ours),
            members=len(spread),
            average=_score(average),
            best=_score(scored[:, best]),
            mean=_score(scored.mean(axis=1)),
            last=_score(scored[:, -1]),
            gain=_score(sign * (average - scored[:, best])),
        )

    def _network(self, state: State) -> nn.Module:
        network = calls.build(self.task, self.arch).eval()
        load(network, state, f"{self.task.name} {self.arch}")
        return network.to(self.device)


def _draws(task: Task, found: Sequence[Tensor]) -> np.ndarray:
    """Return the scores of each on all samples, then on bootstrap draws of them: f64 [replicates + 1, M]."""
    rows = [[reduced(task, each) for each in found]]
    size = len(found[0])
    for replicate in range(REPLICATES):
        drawn = numpy_generator(0, "average/bootstrap", replicate).integers(size, size=size)
        rows.append([reduced(task, each[torch.from_numpy(drawn)]) for each in found])
    return np.array(rows)


def _score(draws: np.ndarray) -> Score:
    low, high = np.quantile(draws[1:], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Score(float(draws[0]), (float(low), float(high)))
