"""Train one module: AdamW, a schedule, a moving average, metrics, and a state file to resume from."""

import math
import pickle
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import ConstantLR, CosineAnnealingLR, LRScheduler
from torch.optim.swa_utils import AveragedModel

from pdiff.common.config import Optimisation
from pdiff.common.errors import InputError, PdiffError, noted
from pdiff.common.progress import Progress
from pdiff.common.tensors import write_torch
from pdiff.training.health import LOOKS, Health, collapsed, distance_from_health
from pdiff.training.interruption import Interruption
from pdiff.training.metrics import METRICS, MetricsLog, unseen_losses
from pdiff.training.optimizers import AdamW

_SAVE_SECONDS = 30.0


class Trainer:
    """Fits one module; interrupted between any two steps, it goes on where it was.

    `loss` is the loss of training step n, in parts that add up and are gone through one after the other, so
    that one is in memory at a time. All its randomness is a function of n: a resumed run is the same run, bit
    for bit, on the same device with the same number of threads. `name` names the stage
    in the metrics and its state file in `folder`; without a folder neither is written. `waited`, if it loads
    data, says how many seconds the latest loss has waited for it; the metrics then have that too. `cheaper`
    says what would train faster, for trainings that turn out to be long. `health` looks at what would be kept
    ten times on the way, for the metrics; a collapse ends the training, and the healthiest state is kept.
    """

    def __init__(
        self,
        name: str,
        module: nn.Module,
        loss: Callable[[int], Iterable[Tensor]],
        config: Optimisation,
        folder: Path | None,
        *,
        waited: Callable[[], float] | None = None,
        cheaper: str = "",
        health: Health | None = None,
    ) -> None:
        self.name = name
        self.module = module
        self.loss = loss
        self.config = config
        self.waited = waited
        self.cheaper = cheaper
        self.health = health
        self.looks: list[dict[str, float]] = []
        """What `health` has seen."""
        self._healthiest: dict[str, Tensor] | None = None
        self.folder = folder
        self._device = next(module.parameters()).device
        self.optimizer = AdamW(
            module.parameters(), lr=config.lr, weight_decay=config.weight_decay, fused=True
        )
        self.scheduler = _scheduler(self.optimizer, config)
        self.step = 0
        self.average = _average(module, config.ema, lambda: self.step + 1) if config.ema else None
        self.seconds = 0.0
        """Time spent training, over all sessions."""
        self.log = MetricsLog(None if folder is None else folder / f"{name}{METRICS}")
        self._unseen: list[Tensor] = []
        """Losses of the last steps, where the module is; their entries in the metrics lack them."""
        self._most_unseen = unseen_losses(self._device)

    def run(self, progress: Progress, interruption: Interruption) -> None:
        """Train to the last step and leave the weights to keep in the module: the average, if there is one.

        The state is saved every half minute and when `interruption` asks for a stop, which then raises.
        """
        if self._state_path is not None and self._state_path.exists():
            self._restore(self._state_path)
        self.log.begin(self.step)
        saved = begin = time.monotonic()
        before = self.seconds
        self.module.train()
        title, steps = f"Training the {self.name}", self.config.steps
        with progress.track(title, steps, "step", done=self.step, cheaper=self.cheaper) as tracker:
            while self.step < self.config.steps:
                self._one_step()
                due = interruption or time.monotonic() - saved > _SAVE_SECONDS
                look = self._is_look()
                if due or look or len(self._unseen) >= self._most_unseen:
                    seen = len(self._unseen)
                    tracker.advance(seen, loss=self._read())
                if look and self.health is not None and not self._healthy(self.health):
                    progress.message(
                        f"the {self.name} collapses, its samples shrink toward the mean: training ends at "
                        f"step {self.step}, and its healthiest state is kept"
                    )
                    break
                self.seconds = before + time.monotonic() - begin
                if due or look:
                    self.log.write()
                if due and self._state_path is not None:
                    self._save(self._state_path)
                    saved = time.monotonic()
                interruption.check()
        self.module.load_state_dict(self._kept.state_dict())
        if self.looks and collapsed(self.looks) and self._healthiest is not None:
            self.module.load_state_dict(self._healthiest)
        self.module.eval()
        self.log.write()

    def finish(self) -> None:
        """Remove the state file, once the result is safely written."""
        if self._state_path is not None:
            self._state_path.unlink(missing_ok=True)

    @property
    def _state_path(self) -> Path | None:
        return None if self.folder is None else self.folder / f"{self.name}.state.pt"

    @property
    def _kept(self) -> nn.Module:
        """The module with the weights that are kept if training ends now."""
        return self.module if self.average is None else self.average.module

    def _is_look(self) -> bool:
        """Return whether this is one of the steps to look at, of which the last is one."""
        return self.step * LOOKS // self.config.steps > (self.step - 1) * LOOKS // self.config.steps

    def _healthy(self, health: Health) -> bool:
        """Look, remember the state if it is the healthiest so far, and return whether to go on."""
        look = health.look(self._kept)
        self.log.lines[-1] |= look
        if not self.looks or distance_from_health(look) <= min(map(distance_from_health, self.looks)):
            self._healthiest = {name: t.clone() for name, t in self._kept.state_dict().items()}
        self.looks.append(look)
        return not collapsed(self.looks)

    def _one_step(self) -> None:
        lr = float(self.scheduler.get_last_lr()[0])
        self.optimizer.zero_grad()
        losses = []
        parts = iter(self.loss(self.step))
        while (part := self._next_part(parts)) is not None:
            part.backward()  # type: ignore[no-untyped-call]
            losses.append(part.detach())
        if self.config.clip:
            torch.nn.utils.clip_grad_norm_(self.module.parameters(), self.config.clip)
        self.optimizer.step()
        self.scheduler.step()
        if self.average is not None:
            self.average.update_parameters(self.module)
        waited = {"waited": self.waited()} if self.waited else {}
        self.log.lines.append({"step": self.step, "loss": math.nan, "lr": lr, **waited})
        self._unseen.append(torch.stack(losses).sum())
        self.step += 1

    def _next_part(self, parts: Iterator[Tensor]) -> Tensor | None:
        """Return the next part of a loss, computed in the configured precision; None after the last."""
        narrow = self.config.precision == "bf16"
        with torch.autocast(self._device.type, torch.bfloat16, enabled=narrow):
            return next(parts, None)

    def _read(self) -> float:
        """Read the losses of the steps since the last look; return the last one.

        Raises `PdiffError` if one of them is not finite.
        """
        losses = torch.stack(self._unseen).tolist()
        self._unseen.clear()
        for entry, loss in zip(self.log.lines[-len(losses) :], losses, strict=True):
            entry["loss"] = loss
            if not math.isfinite(loss):
                raise PdiffError(
                    f"training the {self.name} diverged: loss {loss} at step {entry['step']}, "
                    f"learning rate {entry['lr']:.3g}; choose a lower one"
                )
        return float(losses[-1])

    def _save(self, path: Path) -> None:
        state = {
            "step": self.step,
            "seconds": self.seconds,
            "module": self.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "looks": self.looks,
            "healthiest": self._healthiest,
        }
        write_torch(path, state)

    def _restore(self, path: Path) -> None:
        try:
            device = next(self.module.parameters()).device
            state = torch.load(path, map_location=device, weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
            message = f"{path}: damaged state ({error}); start again with --overwrite"
            raise noted(InputError(message)) from None
        self.step = state["step"]
        self.seconds = state["seconds"]
        self.module.load_state_dict(state["module"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.looks, self._healthiest = state["looks"], state["healthiest"]


def _scheduler(optimizer: torch.optim.Optimizer, config: Optimisation) -> LRScheduler:
    if config.schedule == "cosine":
        return CosineAnnealingLR(optimizer, config.steps)
    return ConstantLR(optimizer, factor=1)


def _average(module: nn.Module, decay: float, updates: Callable[[], int]) -> AveragedModel:
    """Return the moving average of a module's parameters and buffers, which begins with their values.

    Its decay after n `updates` is min(`decay`, n / (n + 9)): faster at first, so that it forgets the
    initialisation. Buffers that are integers (counters) are the module's own.
    """

    @torch.no_grad()
    def update(averages: Sequence[Tensor], values: Sequence[Tensor], _: Tensor | int) -> None:
        count = updates()  # torch's own may be on a GPU, and reading it would wait for that
        now = min(decay, count / (count + 9))
        for average, value in zip(averages, values, strict=True):
            if average.is_floating_point():
                average.lerp_(value, 1 - now)
            else:
                average.copy_(value)

    averaged = AveragedModel(module, multi_avg_fn=update, use_buffers=True)
    averaged.update_parameters(module)  # the first update copies
    return averaged
