"""`python -m tests.formats.make VERSION`: write one of everything that this version leaves on disk.

What is there stays as it is: those of other versions are how it is known that they can still be read.
"""

import platform
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from pdiff.bank import collect
from pdiff.common.config import Config
from pdiff.generation.averaging import average
from pdiff.generation.extract import export
from pdiff.generation.sample import generate
from pdiff.generators.train import train

HERE = Path(__file__).parent
MEMBERS = 6
SMALL = ("codec.latent_dim=2", "train.steps=5", "denoiser.width=4", "sampler.steps=2", "held_out=0")


def member(index: int) -> dict[str, Tensor]:
    """Return a checkpoint of every dtype that a row can hold, a counter and a tensor that does not vary."""
    drawn = torch.from_numpy(np.random.Generator(np.random.Philox(key=index)).standard_normal(8))
    return {
        "layer.weight": drawn[:4].float().reshape(2, 2),
        "layer.bias": drawn[4:6].half(),
        "norm.running_var": drawn[6:7].float().square() + 0.5,
        "scale": drawn[7:].bfloat16(),
        "frozen": torch.tensor([1.5, -2.5]),
        "steps": torch.tensor(7),
    }


def main(version: str) -> None:
    """Write the folder of a version, which must not be there."""
    platform.platform = lambda *_, **__: "any"  # type: ignore[assignment]
    folder = HERE / version
    folder.mkdir()
    with tempfile.TemporaryDirectory() as ckpts:
        for index in range(MEMBERS):
            save_file(member(index), f"{ckpts}/{index}.safetensors", {"accuracy": f"0.{index}"})
        (Path(ckpts) / "more").mkdir()
        shutil.move(f"{ckpts}/5.safetensors", f"{ckpts}/more/5.safetensors")
        files = sorted(Path(ckpts).glob("?.safetensors"))
        collect(*files, out=folder / "bank")
        bank = collect(f"{ckpts}/more/5.safetensors", out=folder / "bank", extend=True)
        average(*files, out=folder / "average", task=False)
    run = train(bank, out=folder / "run", config=Config.build("default", settings=SMALL))
    generate(run, n=2, out=folder / "generated")
    rows = generate(run, n=2, out=folder / "rows", format="rows")
    export(rows, out=folder / "exported", members=[1])


if __name__ == "__main__":
    main(*sys.argv[1:])
