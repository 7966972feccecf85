"""Drawing new checkpoints from a run."""

import time
from pathlib import Path

from torch import Tensor

from pdiff import _core
from pdiff.bank import Bank
from pdiff.common.artifacts import relative
from pdiff.common.directories import refuse_directory, staged_directory
from pdiff.common.disk import require_space
from pdiff.common.errors import InputError, UsageError
from pdiff.common.progress import SILENT, Progress
from pdiff.common.provenance import provenance
from pdiff.common.sealing import write_sealed
from pdiff.generation.card import write_card
from pdiff.generation.formats import Format, writer
from pdiff.generation.generated import FORMAT, GENERATED, Cost, Generated, Info, RunReference
from pdiff.generation.sampling import sample_rows
from pdiff.training import BankReference, Run, choose_device

__all__ = ["generate"]


def generate(
    run: Run,
    *,
    n: int = 50,
    out: str | Path = "generated",
    seed: int = 0,
    format: Format = "safetensors",  # noqa: A002 (the name of the option)
    device: str | None = None,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> Generated:
    """Write `n` new checkpoints, each complete and loadable with `strict=True`, to directory `out`.

    With `format` `safetensors` each is one file with plain names; `pth` is a state dict as `torch.save`
    writes it, plain names too; `source` is what the bank was collected from: the same names, nesting, shards
    and configuration. A model card stands beside them. Model i depends on the run, the seed and i, not on
    `n`. Raises `InputError` if a generated value is not finite or does not fit its dtype, `UsageError` if the
    disk has no room.
    """
    if n < 1:
        raise UsageError(f"--n {n}: at least 1 checkpoint")
    target, out = choose_device(device), Path(out)
    write = writer(run.bank, format)
    refuse_directory(out, GENERATED, overwrite)
    require_space(out, n * _model_bytes(run.bank))
    width = max(4, len(str(n - 1)))
    files: list[str] = []
    digests: dict[str, str] = {}
    begin = time.perf_counter()
    with (
        staged_directory(out, GENERATED, overwrite) as staged,
        progress.track("Generating", n, "model") as tracker,
    ):
        for rows in sample_rows(run, range(n), seed, target):
            for row in rows:
                index = len(files)
                state = _state_dict(run.bank, row, index)
                written = write(staged, f"model-{index:0{width}d}", state, _metadata(run, seed, index))
                files.append(written[0].partition("/")[0])
                digests |= {file: _core.digest_file(staged / file) for file in written}
                tracker.advance()
        seconds = time.perf_counter() - begin
        info = Info(
            format=FORMAT,
            files=files,
            seed=seed,
            run=RunReference(relative(run.path, out), run.digest, run.config.label()),
            bank=BankReference.of(run.bank, out),
            cost=Cost(
                once_s=run.result.codec_s + run.result.denoiser_s,
                per_model_s=seconds / n,
                gradient_evaluations=0,  # codec and denoiser are trained on weights alone
            ),
            provenance=provenance(target),
            digests=digests,
            keys=run.bank.manifest.source.keys if format == "source" else (),
            form=format,
            held_out=run.result.held_out,
        )
        write_card(staged, info, run.bank, out)
        write_sealed(staged / GENERATED, info)
    return Generated.open(out)


def _model_bytes(bank: Bank) -> int:
    """Return about how large one model is: a whole checkpoint and what stands beside it."""
    companions = sum(map(len, bank.companions().values()))
    return (bank.path / bank.manifest.base.file).stat().st_size + companions


def _state_dict(bank: Bank, row: Tensor, index: int) -> dict[str, Tensor]:
    """Return model `index` from its row; raises `InputError` if a value is not finite or does not fit."""
    if not bool(row.isfinite().all()):
        raise InputError(
            f"model {index}: {int((~row.isfinite()).sum())} values are not finite; the run has diverged"
        )
    try:
        return bank.state_dict(row)
    except InputError as error:
        raise InputError(f"model {index}: {error}") from None


def _metadata(run: Run, seed: int, index: int) -> dict[str, str]:
    return {"format": "pt", "pdiff.run": run.digest, "pdiff.seed": str(seed), "pdiff.index": str(index)}
