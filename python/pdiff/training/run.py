"""A run: the directory that training leaves, and everything needed to generate from it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import Tensor

from pdiff import _core
from pdiff.bank import Bank, View
from pdiff.codecs import Codec
from pdiff.common.artifacts import relative
from pdiff.common.config import Config
from pdiff.common.directories import prepare_directory
from pdiff.common.distributed import own_gpu
from pdiff.common.errors import InputError, UsageError
from pdiff.common.progress import SILENT, Progress
from pdiff.common.provenance import provenance
from pdiff.common.sealing import read_sealed, write_sealed
from pdiff.training.interrupt import Interruption, catch_signals
from pdiff.training.loop import METRICS
from pdiff.training.members import training_members
from pdiff.training.stages import (
    WEIGHTS,
    codec_stage,
    encode_members,
    latent_stage,
    load_codec,
    stage_seconds,
)

__all__ = ["BankReference", "Run", "choose_device", "train"]

RUN = "run.json"
RESULT = "result.json"
_FORMAT = 1


class BankReference(msgspec.Struct, frozen=True):
    """A bank by its path, relative to the folder that holds the reference, and its digest."""

    path: str
    digest: str

    def open(self, folder: Path) -> Bank:
        """Open the bank; raises `InputError` if it is not the same any more."""
        bank = Bank.open((folder / self.path).resolve())
        if bank.digest != self.digest:
            raise InputError(f"{bank.path}: the bank has changed since {folder} was made from it")
        return bank

    @staticmethod
    def of(bank: Bank, folder: Path) -> "BankReference":
        """Return a reference to `bank` for a file in `folder`."""
        return BankReference(relative(bank.path, folder), bank.digest)


class Description(msgspec.Struct, frozen=True):
    """The content of `run.json`, written before training begins."""

    format: int
    bank: BankReference
    config: dict[str, Any]


class Result(msgspec.Struct, frozen=True):
    """The content of `result.json`, written when training has finished."""

    latent_dim: int
    """Z."""
    variance_explained: float
    """Share of the variance between the bank's members that the codec keeps."""
    codec_s: float
    denoiser_s: float
    """Seconds that each stage trained."""
    digests: dict[str, str]
    """BLAKE3 of each file that the run consists of, but for this one, which ends with its own checksum."""
    provenance: dict[str, Any]
    records: dict[str, str] = {}
    """BLAKE3 of the metrics of each stage that was trained, which nothing depends on."""
    held_out: tuple[int, ...] = ()
    """The bank's members that were not learned from."""


@dataclass(frozen=True)
class Run:
    """A finished training run on disk."""

    path: Path
    bank: Bank
    config: Config
    result: Result
    digest: str
    """BLAKE3 of the description and the result, which holds the digests of the weights."""

    @staticmethod
    def open(path: str | Path) -> "Run":
        """Open a run.

        Raises `UsageError` if there is none or it is unfinished, `InputError` if it is damaged or its bank
        has changed.
        """
        path = Path(path)
        description = _description(path)
        if not (path / RESULT).is_file():
            raise UsageError(f"{path}: training has not finished; go on with `pdiff train --resume`")
        result = read_sealed(path / RESULT, Result)
        for file, digest in result.digests.items():
            if _core.digest_file(path / file) != digest:
                raise InputError(f"{path / file}: not what training wrote (its digest differs)")
        digest = _core.digest((path / RUN).read_bytes() + (path / RESULT).read_bytes())
        bank = description.bank.open(path)
        return Run(path, bank, Config.from_values(description.config), result, digest)

    def codec(self, device: torch.device) -> Codec:
        """Read the codec."""
        return load_codec(self.bank, self.config, self.path, device)


def train(
    bank: Bank,
    *,
    out: str | Path = "run",
    config: Config | None = None,
    device: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> Run:
    """Train a codec and a denoiser on `bank` and leave the run in directory `out`.

    Members that the configuration holds out are not learned from, and listed in the result.
    `resume` goes on with what is there, if it is of the same bank and configuration. Raises `UsageError` for
    a directory that is not empty, otherwise.
    """
    out, config = Path(out), config or Config.preset("default")
    target = choose_device(device)
    prepare_directory(out, RUN, resume=resume, overwrite=overwrite)
    _describe(out, bank, config)
    if not (out / RESULT).exists():
        with catch_signals() as interruption:
            result = _stages(bank, config, out, device=target, progress=progress, interruption=interruption)
        write_sealed(out / RESULT, result)
    return Run.open(out)


def _stages(
    bank: Bank,
    config: Config,
    out: Path,
    *,
    device: torch.device,
    progress: Progress,
    interruption: Interruption,
) -> Result:
    """Run both stages and return what they took and how well the codec fits."""
    members, held_out = training_members(bank, config)
    codec = codec_stage(members, config, out, device=device, progress=progress, interruption=interruption)
    latents = encode_members(members, codec, config, out, device)
    explained = _explained(members, codec, config, latents.restore(latents.values))
    progress.message(
        f"the codec keeps {explained:.1%} of the variance between checkpoints in {codec.latent_dim} numbers"
    )
    interruption.check()
    latent_stage(latents, config, out, progress=progress, interruption=interruption)
    codec_s, denoiser_s = stage_seconds(out)
    return Result(
        latent_dim=codec.latent_dim,
        variance_explained=explained,
        codec_s=codec_s,
        denoiser_s=denoiser_s,
        digests={file: _core.digest_file(out / file) for file in (RUN, *WEIGHTS)},
        provenance=provenance(device),
        records={path.name: _core.digest_file(path) for path in sorted(out.glob(f"*{METRICS}"))},
        held_out=held_out,
    )


@torch.no_grad()
def _explained(members: View, codec: Codec, config: Config, latents: Tensor) -> float:
    """Return 1 − (squared reconstruction error) / (squared deviation from the members' mean), row by row."""
    normalizer = members.normalizer(config.normalize)
    error = squares = 0.0
    total = torch.zeros(members.dim, dtype=torch.float64)
    for index in range(len(members)):
        row = members.batch([index], normalizer)[0].double()
        decoded = codec.decode(latents[index : index + 1])[0].cpu()
        error += float((decoded - row).square().sum())
        squares += float(row.square().sum())
        total += row
    return 1 - error / (squares - float(total.square().sum()) / len(members))


def choose_device(name: str | None) -> torch.device:
    """Return the device of that name, or a GPU if there is one; `UsageError` for one that is not there.

    Of several GPUs each process of `torchrun` gets one in turn, unless the name has a number.
    """
    if name in {None, "cuda"} and torch.cuda.is_available():
        return own_gpu()
    if name is None:
        return torch.device("cpu")
    try:
        torch.empty(0, device=name)
        return torch.device(name)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"--device {name}: not available ({str(error).splitlines()[0]})") from None


def _describe(out: Path, bank: Bank, config: Config) -> None:
    """Write `run.json`, or check that the one that is there says the same."""
    if not (out / RUN).exists():
        description = Description(_FORMAT, BankReference.of(bank, out), config.values())
        write_sealed(out / RUN, description)
        return
    found = _description(out)
    if found.bank.digest != bank.digest:
        raise UsageError(
            f"{out}: begun on another bank; choose another --out, or start again with --overwrite"
        )
    if found.config != config.values():
        raise UsageError(f"{out}: begun with another configuration; choose another --out, or use --overwrite")


def _description(path: Path) -> Description:
    if not (path / RUN).is_file():
        raise UsageError(f"{path}: no run here (no {RUN}); make one with `pdiff train`")
    return read_sealed(path / RUN, Description)
