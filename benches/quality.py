"""Quality of the default preset on whole networks: several banks a network, one table each.

For each network and seed: a bank of 300 whole-network checkpoints (parameters and running statistics), a run
of the preset, 50 generated models, judged on the test samples beside the baselines. The seed is that of the
bank, of the training and of the sampling alike. Exits 1 if a promise of the README does not hold.

    python benches/quality.py [--network mnist1d/convnet] [--seeds 3] [--preset default] [--set key=value]
"""

import math
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import click
import msgspec
import torch

import pdiff
from pdiff.cli.console import Console
from pdiff.common.artifacts import write_json
from pdiff.common.config import Config

LOSS_ALLOWED = 0.001
DISPERSION_ALLOWED = (0.8, 1.2)
Z_U_ALLOWED = -3
NETWORKS = ("mnist1d/convnet", "mnist1d/mlp", "mnist1d/resnet", "digits/convnet")
T_QUANTILE = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}
"""97.5 % quantile of Student's t for n seeds (n − 1 degrees of freedom)."""


def one_seed(folder: Path, network: str, seed: int, config: Config, console: Console) -> dict[str, Any]:
    """Go the whole way for one bank and return its results."""
    name, _, arch = network.partition("/")
    task = pdiff.load_task(name)
    if not (folder / "ckpts" / "task.json").exists():
        pdiff.build_zoo(
            task,
            task_name=name,
            options={},
            arch=arch,
            out=folder / "ckpts",
            seed=seed,
            progress=console,
        )
    bank = pdiff.collect(folder / "ckpts", out=folder / "bank", overwrite=True, progress=console)
    run = pdiff.train(bank, out=folder / "run", config=config, overwrite=True, progress=console)
    models = pdiff.generate(run, n=50, seed=seed, out=folder / "generated", overwrite=True, progress=console)
    for state in models:
        task.build(arch).load_state_dict(state, strict=True)
        assert all(bool(torch.isfinite(tensor).all()) for tensor in state.values())
    results = pdiff.evaluate(models, task=task, seed=seed, progress=console)
    assert results is not None
    pdiff.save_report(results, folder / "evaluation", overwrite=True)
    plain: dict[str, Any] = msgspec.to_builtins(results)
    return plain


def figures(results: dict[str, Any]) -> dict[str, float]:
    """Return the figures of one bank that the table shows."""
    known = {("average", 16): "average of 16", ("gaussian", 1): "Gaussian ×1"}
    baselines = {}
    for each in results["baselines"]:
        if name := known.get((each["family"], each["strength"])):
            baselines[f"{name} accuracy"] = each["score"]["mean"]
            baselines[f"{name} max_similarity"] = each["max_similarity"]
    return {
        "original": results["original"]["score"]["mean"],
        "generated": results["generated"]["score"]["mean"],
        "difference": results["generated"]["score"]["mean"] - results["original"]["score"]["mean"],
        "max_similarity": results["generated"]["max_similarity"],
        "original max_similarity": results["original"]["max_similarity"],
        "z_u": math.nan if (z := results["novelty"]["z_u"]["value"]) is None else z,
        "dispersion": results["generated"]["dispersion"],
        "gg": results["generated"]["gg"],
        "oo": results["original"]["gg"],
        **baselines,
    }


def broken_promises(found: dict[str, float]) -> list[str]:
    """Return what the figures of one bank do not keep."""
    low, high = DISPERSION_ALLOWED
    checks = {
        f"generated mean at least the originals' − {LOSS_ALLOWED:.1%}": found["difference"] >= -LOSS_ALLOWED,
        "max-similarity no higher than the bank's own": found["max_similarity"]
        <= found["original max_similarity"],
        f"Z_U above {Z_U_ALLOWED}": not found["z_u"] <= Z_U_ALLOWED,
        f"dispersion in {low}-{high}": low <= found["dispersion"] <= high,
    }
    return [promise for promise, kept in checks.items() if not kept]


def interval(values: list[float]) -> str:
    """Return the mean with its 95 % t-interval over seeds."""
    mean = statistics.mean(values)
    if len(values) not in T_QUANTILE:
        return f"{mean:.4f}"
    return f"{mean:.4f} ± {T_QUANTILE[len(values)] * statistics.stdev(values) / math.sqrt(len(values)):.4f}"


@click.command()
@click.option("--network", "networks", multiple=True, default=NETWORKS)
@click.option("--seeds", type=click.IntRange(1), default=3)
@click.option("--preset", default="default")
@click.option("--set", "settings", multiple=True)
@click.option(
    "--work", type=click.Path(path_type=Path), help="Keep the files here, and reuse its checkpoints."
)
def main(
    networks: tuple[str, ...], seeds: int, preset: str, settings: tuple[str, ...], work: Path | None
) -> None:
    """Print the table."""
    torch.set_num_threads(1)  # the faster choice for networks this small, and the figures depend on it
    console = Console()
    broken: list[str] = []
    with tempfile.TemporaryDirectory() as scratch:
        for network in networks:
            found: list[dict[str, float]] = []
            for seed in range(seeds):
                folder = (work or Path(scratch)) / f"{network}-{seed}"
                folder.mkdir(parents=True, exist_ok=True)
                results = one_seed(folder, network, seed, Config.build(preset, None, settings, seed), console)
                found.append(figures(results))
                broken += [f"{network} seed {seed}: {promise}" for promise in broken_promises(found[-1])]
            columns = [*(f"seed {seed}" for seed in range(seeds)), "mean ± 95 %"]
            rows = [
                [name, *(f"{f[name]:.4f}" for f in found), interval([f[name] for f in found])]
                for name in found[0]
            ]
            console.table(f"{network}, preset {preset}", [network, *columns], rows)
            if work:
                write_json(work / f"{network}.json", found)
    for line in broken:
        console.say(f"NOT KEPT: {line}")
    sys.exit(bool(broken))


if __name__ == "__main__":
    main()
