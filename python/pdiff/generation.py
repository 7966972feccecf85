"""Drawing new checkpoints from a run."""

import time
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import msgspec
import torch
from torch import Tensor

from pdiff.artifacts import read_record, read_tensors, relative, write_json, write_tensors
from pdiff.bank import Bank
from pdiff.diffusion import build_process
from pdiff.directories import staged_directory
from pdiff.errors import InputError, UsageError
from pdiff.progress import SILENT, Progress
from pdiff.provenance import provenance
from pdiff.rng import numpy_generator
from pdiff.training import BankReference, Run, choose_device
from pdiff.training.stages import load_denoiser, load_latents

__all__ = ["BLOCK", "Generated", "generate", "sample_rows"]

GENERATED = "generated.json"
BLOCK = 16
"""Models drawn together. Always this many, so that model i is bit for bit the same whatever their number."""


class RunReference(msgspec.Struct, frozen=True):
    """The run that models were drawn from."""

    path: str
    digest: str
    preset: str
    """Its preset, and what was changed in it."""


class Cost(msgspec.Struct, frozen=True):
    """Seconds that the generator took."""

    once_s: float
    per_model_s: float


class Info(msgspec.Struct, frozen=True):
    """The content of `generated.json`, written last."""

    format: int
    files: list[str]
    seed: int
    run: RunReference
    bank: BankReference
    cost: Cost
    provenance: dict[str, Any]


class Generated(Sequence[dict[str, Tensor]]):
    """Generated checkpoints on disk: a sized iterable of state dicts, read one at a time."""

    def __init__(self, path: Path, info: Info) -> None:
        self.path = path
        self.info = info

    @staticmethod
    def open(path: str | Path) -> "Generated":
        """Open a folder that `generate` wrote; raises `UsageError` if it is none."""
        path = Path(path)
        if not (path / GENERATED).is_file():
            raise UsageError(
                f"{path}: no generated checkpoints here (no {GENERATED}); make some with `pdiff generate`"
            )
        return Generated(path, read_record(path / GENERATED, Info))

    @cached_property
    def bank(self) -> Bank:
        """The bank that the models were learned from; raises `InputError` if it is not the same any more."""
        return self.info.bank.open(self.path)

    def __len__(self) -> int:
        return len(self.info.files)

    @overload
    def __getitem__(self, index: int) -> dict[str, Tensor]: ...

    @overload
    def __getitem__(self, index: slice) -> list[dict[str, Tensor]]: ...

    def __getitem__(self, index: int | slice) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        if isinstance(index, slice):
            return [read_tensors(self.path / file) for file in self.info.files[index]]
        return read_tensors(self.path / self.info.files[index])

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


def _info(run: Run, out: Path, files: list[str], *, seed: int, seconds: float, device: torch.device) -> Info:
    return Info(
        format=1,
        files=files,
        seed=seed,
        run=RunReference(relative(run.path, out), run.digest, run.config.label()),
        bank=BankReference.of(run.bank, out),
        cost=Cost(run.result.codec_s + run.result.denoiser_s, seconds / len(files)),
        provenance=provenance(device),
    )
