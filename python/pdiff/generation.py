"""Drawing new checkpoints from a run."""

import time
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pdiff.artifacts import (
    provenance,
    read_json,
    read_tensors,
    relative,
    staged_directory,
    write_json,
    write_tensors,
)
from pdiff.bank import Bank
from pdiff.diffusion import build_process
from pdiff.errors import InputError, UsageError
from pdiff.progress import SILENT, Progress
from pdiff.rng import numpy_generator
from pdiff.training import Run, choose_device
from pdiff.training.stages import load_denoiser, load_latents

__all__ = ["BLOCK", "Generated", "generate", "sample_rows"]

GENERATED = "generated.json"
BLOCK = 16
"""Models drawn together. Always this many, so that model i is bit for bit the same whatever their number."""


class Generated(Sequence[dict[str, Tensor]]):
    """Generated checkpoints on disk: a sized iterable of state dicts, read one at a time."""

    def __init__(self, path: Path, info: dict[str, Any]) -> None:
        self.path = path
        self.info = info
        """What `generated.json` says: seed, files, run and bank with their digests, cost."""

    @staticmethod
    def open(path: str | Path) -> "Generated":
        """Open a folder that `generate` wrote; raises `UsageError` if it is none."""
        path = Path(path)
        if not (path / GENERATED).is_file():
            raise UsageError(
                f"{path}: no generated checkpoints here (no {GENERATED}); make some with `pdiff generate`"
            )
        return Generated(path, read_json(path / GENERATED))

    @cached_property
    def bank(self) -> Bank:
        """The bank that the models were learned from; raises `InputError` if it is not the same any more."""
        bank = Bank.open(self.path / self.info["bank"]["path"])
        if bank.digest != self.info["bank"]["digest"]:
            raise InputError(f"{bank.path}: the bank is not the one that {self.path} was generated from")
        return bank

    def __len__(self) -> int:
        return len(self.info["files"])

    def __getitem__(self, index: int) -> dict[str, Tensor]:  # type: ignore[override]
        return read_tensors(self.path / self.info["files"][index])

    def rows(self) -> Tensor:
        """Return the generated subset of every model: raw float32 [N, D]."""
        return torch.stack([self.bank.flatten(state) for state in self])


@torch.no_grad()
def sample_rows(run: Run, indices: Sequence[int], seed: int, device: torch.device) -> Iterator[Tensor]:
    """Yield raw rows [BLOCK or fewer, D] of the models `indices`: noise → latents → rows → raw values.

    Model i depends on (run, seed, i) alone: it is always drawn at place i mod BLOCK of the full block that
    holds it. `indices` must be ascending.
    """
    latents = load_latents(run.path, device)
    dim = latents.values.shape[1]
    denoiser = load_denoiser(dim, run.config, run.path, device)
    codec = run.codec(device)
    process = build_process(run.config.generator)
    normalizer = run.bank.normalizer(run.config.normalize)
    for block in sorted({index // BLOCK for index in indices}):
        members = range(block * BLOCK, (block + 1) * BLOCK)
        generators = [numpy_generator(seed, "sample", index) for index in members]
        drawn = latents.restore(process.sample(denoiser, dim, generators, device))
        rows = codec.decode(drawn).cpu().contiguous()
        normalizer.invert(rows.numpy())
        yield rows[[index - members[0] for index in indices if index in members]]


def generate(
    run: Run,
    *,
    n: int = 50,
    out: str | Path = "generated",
    seed: int = 0,
    device: str | None = None,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> Generated:
    """Write `n` new checkpoints, each complete and loadable with `strict=True`, to directory `out`.

    Model i depends on the run, the seed and i, not on `n`. Raises `InputError` if a generated value is not
    finite or does not fit its dtype.
    """
    if n < 1:
        raise UsageError(f"--n {n}: at least 1 checkpoint")
    target = choose_device(device)
    files: list[str] = []
    begin = time.perf_counter()
    with (
        staged_directory(Path(out), GENERATED, overwrite) as staged,
        progress.track("Generating", n, "model") as tracker,
    ):
        for rows in sample_rows(run, range(n), seed, target):
            for row in rows:
                files.append(f"model-{len(files):0{max(4, len(str(n - 1)))}d}.safetensors")
                _write_model(staged / files[-1], run, row, seed, len(files) - 1)
                tracker.advance()
        seconds = time.perf_counter() - begin
        write_json(
            staged / GENERATED, _info(run, Path(out), files, seed=seed, seconds=seconds, device=target)
        )
    return Generated.open(out)


def _write_model(path: Path, run: Run, row: Tensor, seed: int, index: int) -> None:
    if not bool(row.isfinite().all()):
        raise InputError(
            f"model {index}: {int((~row.isfinite()).sum())} values are not finite; the run has diverged"
        )
    metadata = {"format": "pt", "pdiff.run": run.digest, "pdiff.seed": str(seed), "pdiff.index": str(index)}
    write_tensors(path, run.bank.state_dict(row), metadata)


def _info(
    run: Run, out: Path, files: list[str], *, seed: int, seconds: float, device: torch.device
) -> dict[str, Any]:
    return {
        "format": 1,
        "files": files,
        "seed": seed,
        "run": {"path": relative(run.path, out), "digest": run.digest, "preset": run.config.name},
        "bank": {"path": relative(run.bank.path, out), "digest": run.bank.digest},
        "cost": {
            "once_s": run.result["codec_s"] + run.result["denoiser_s"],
            "per_model_s": seconds / len(files),
        },
        "provenance": provenance(device),
    }
