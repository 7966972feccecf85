"""The one training loop: AdamW, schedule, moving average, metrics, and a state file to resume from."""

import io
import json
import math
import pickle
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, LRScheduler

from pdiff import _core
from pdiff.common.config import Optimisation
from pdiff.common.errors import InputError, PdiffError
from pdiff.common.progress import Progress
from pdiff.training.interrupt import Interruption

__all__ = ["METRICS", "Trainer"]

METRICS = ".metrics.jsonl"
"""How the name of a stage's metrics ends."""

_SAVE_SECONDS = 30.0


class Trainer:
    """Fits one module; interrupted between any two steps, it goes on where it was.

    `loss` is the loss of training step n: all its randomness is a function of n, so that a resumed run is
    the same run, bit for bit, on the same device with the same number of threads. `name` names the stage
    in the metrics and its state file in `folder`. `waited`, if it loads data, says how many seconds the
    latest loss has waited for it; the metrics then have that too.
    """

    def __init__(
        self,
        name: str,
        module: nn.Module,
        loss: Callable[[int], Tensor],
        config: Optimisation,
        folder: Path,
        *,
        waited: Callable[[], float] | None = None,
    ) -> None:
        self.name = name
        self.module = module
        self.loss = loss
        self.config = config
        self.waited = waited
        self.state_path = folder / f"{name}.state.pt"
        self.metrics_path = folder / f"{name}{METRICS}"
        self.optimizer = torch.optim.AdamW(
            module.parameters(), lr=config.lr, weight_decay=config.weight_decay
        )
        self.scheduler = _scheduler(self.optimizer, config)
        self.average = {name: tensor.clone() for name, tensor in module.state_dict().items()}
        self.step = 0
        self.seconds = 0.0
        """Time spent training, over all sessions."""
        self.metrics: list[dict[str, float]] = []

    def run(self, progress: Progress, interruption: Interruption) -> None:
        """Train to the last step and leave the weights to keep in the module: the average, if there is one.

        The state is saved every half minute and when `interruption` asks for a stop, which then raises.
        """
        if self.state_path.exists():
            self._restore()
        saved = begin = time.monotonic()
        before = self.seconds
        self.module.train()
        with progress.track(f"Training the {self.name}", self.config.steps - self.step, "step") as tracker:
            while self.step < self.config.steps:
                tracker.advance(1, loss=self._one_step())
                self.seconds = before + time.monotonic() - begin
                if interruption or time.monotonic() - saved > _SAVE_SECONDS:
                    self._save()
                    saved = time.monotonic()
                interruption.check()
        if self.config.ema:
            self.module.load_state_dict(self.average)
        self.module.eval()
        self._write_metrics()

    def finish(self) -> None:
        """Remove the state file, once the result is safely written."""
        self.state_path.unlink(missing_ok=True)

    def _one_step(self) -> float:
        loss = self.loss(self.step)
        value = loss.item()
        lr = float(self.scheduler.get_last_lr()[0])
        if not math.isfinite(value):
            raise PdiffError(
                f"training the {self.name} diverged: loss {value} at step {self.step}, "
                f"learning rate {lr:.3g}; choose a lower one"
            )
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.scheduler.step()
        if self.config.ema:
            self._update_average()
        waited = {"waited": self.waited()} if self.waited else {}
        self.metrics.append({"step": self.step, "loss": value, "lr": lr, **waited})
        self.step += 1
        return value

    @torch.no_grad()
    def _update_average(self) -> None:
        """Move the average toward the weights; faster at first, so that it forgets the initialisation."""
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
        for name, tensor in self.module.state_dict().items():
            if tensor.is_floating_point():
                self.average[name].lerp_(tensor, 1 - decay)
            else:
                self.average[name].copy_(tensor)

    def _save(self) -> None:
        state = {
            "step": self.step,
            "seconds": self.seconds,
            "module": self.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "average": self.average,
            "metrics": self.metrics,
        }
        buffer = io.BytesIO()
        torch.save(state, buffer)
        _core.write_file(self.state_path, buffer.getvalue())

    def _restore(self) -> None:
        try:
            device = next(self.module.parameters()).device
            state = torch.load(self.state_path, map_location=device, weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
            raise InputError(
                f"{self.state_path}: damaged state ({error}); start again with --overwrite"
            ) from None
        self.step = state["step"]
        self.seconds = state["seconds"]
        self.module.load_state_dict(state["module"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        self.average = state["average"]
        self.metrics = state["metrics"]

    def _write_metrics(self) -> None:
        lines = "".join(json.dumps(line) + "\n" for line in self.metrics)
        _core.write_file(self.metrics_path, lines.encode())


def _scheduler(optimizer: torch.optim.Optimizer, config: Optimisation) -> LRScheduler:
    if config.schedule == "cosine":
        return CosineAnnealingLR(optimizer, config.steps)
    return LambdaLR(optimizer, _constant)


def _constant(step: int) -> float:
    return 1.0
