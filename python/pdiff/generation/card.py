"""The model card: a README.md beside generated checkpoints, for people and for model hubs.

`generate` writes it, `evaluate` writes it again with what it found. A README.md without our mark is somebody
else's and stays as it is.
"""

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pdiff import _core
from pdiff.bank import Bank
from pdiff.common.wording import printable
from pdiff.generation.generated import Generated, Info

__all__ = ["CARD", "card", "rewrite_card", "write_card"]

CARD = "README.md"
_MARK = "<!-- Written by pdiff, and again by `pdiff evaluate`; without this line it is left alone. -->"


def write_card(folder: Path, info: Info, bank: Bank, out: Path) -> None:
    """Write the card of checkpoints that are not evaluated yet to `folder`, which becomes `out`."""
    _core.write_file(folder / CARD, card(info, bank, out).encode())


def rewrite_card(generated: Generated, results: Mapping[str, Any]) -> str | None:
    """Write the card again, with the `results` of an evaluation; return why not, where it was not."""
    path = generated.path / CARD
    try:
        if path.is_symlink() or (path.exists() and _MARK.encode() not in path.read_bytes()):
            return f"{path}: not written by pdiff, left as it is"
        text = card(generated.info, generated.bank, generated.path, results)
        _core.write_file(path, text.encode())
    except OSError as error:
        return f"{path}: not written ({error.strerror or error})"
    return None


def card(info: Info, bank: Bank, out: Path, results: Mapping[str, Any] | None = None) -> str:
    """Return the card's text; the same arguments give the same text."""
    return "\n".join(
        [
            *_front_matter(info, bank, results),
            _MARK,
            "",
            f"# {len(info.files):,} generated checkpoints of {_plain(_network(bank))}",
            "",
            f"Not trained but drawn from a generative model of the weights of {len(bank):,} checkpoints "
            f"([neural network diffusion](https://arxiv.org/abs/2402.13144)). Each is complete: "
            f"{bank.dim:,} numbers are generated, the others are the bank's own.",
            "",
            *_evaluation(results),
            "## How they were made",
            "",
            *_origin(info),
            "",
            "The same again, from inside this folder and on the same kind of device:",
            "",
            "```sh",
            _command(info, out),
            "```",
            "",
        ]
    )


def _front_matter(info: Info, bank: Bank, results: Mapping[str, Any] | None) -> list[str]:
    """Return the YAML that hubs read; JSON is YAML, so that no value can be taken for something else."""
    network = _network(bank)
    values: dict[str, Any] = {
        "library_name": "pdiff",
        "tags": ["neural-network-diffusion", "weight-generation", "pytorch"],
        "base_network": network,
        "bank_digest": bank.digest,
        "run_digest": info.run.digest,
        "seed": info.seed,
        "preset": printable(info.run.preset),
    }
    if results is not None:
        values["model-index"] = [{"name": network, "results": [_metrics(results)]}]
    lines = (f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in values.items())
    return ["---", *lines, "---"]


def _metrics(results: Mapping[str, Any]) -> dict[str, Any]:
    """Return an evaluation in the form that hubs show."""
    task, metric = results["task"], results["task"]["metric"]
    name, value = printable(_task(task["name"])), results["generated"]["mean"]
    return {
        "task": {"type": "other"},
        "dataset": {"name": name, "type": name, "split": task["split"]},
        "metrics": [{"type": metric["name"], "name": f"mean {metric['name']}", "value": value}],
    }


def _evaluation(results: Mapping[str, Any] | None) -> list[str]:
    """Return the section with the verdict and the figures that matter."""
    lines = ["## Evaluation", ""]
    if results is None:
        return [*lines, "Not evaluated yet: `pdiff evaluate` judges them and writes this section.", ""]
    task, novelty, metric = results["task"], results["novelty"], results["task"]["metric"]
    unit = " (fraction)" if metric["percent"] else ""
    rows = [
        (f"mean {metric['name']}{unit}", results["generated"]["mean"], results["original"]["mean"]),
        ("max-similarity", novelty["max_similarity"]["mean"], novelty["original_max_similarity"]),
        ("similarity within", novelty["gg"], novelty["oo"]),
        ("dispersion", novelty["dispersion"], 1),
    ]
    together = f" {len(results['runs'])} folders, judged together." if len(results["runs"]) > 1 else ""
    return [
        *lines,
        f"{_plain(results['verdict']['sentence'])}{together}",
        "",
        f"On {task['samples']:,} {task['split']} samples of {_plain(_task(task['name']))}:",
        "",
        "| | generated | originals |",
        "|---|---|---|",
        *(f"| {_plain(name)} | {_figure(ours)} | {_figure(theirs)} |" for name, ours, theirs in rows),
        "",
        f"Judged by pdiff {results['provenance']['pdiff']} on {results['provenance']['date']}.",
        "",
    ]


def _origin(info: Info) -> list[str]:
    """Return what they were made from, as a list."""
    made = info.provenance
    versions = ", ".join(f"{name} {made[name]}" for name in ("pdiff", "torch", "numpy") if name in made)
    facts = {
        "Bank": f"digest `{info.bank.digest}`",
        "Run": f"digest `{info.run.digest}`",
        "Preset": _plain(info.run.preset),
        "Seed": f"{info.seed}",
        "Gradients of the networks' training data": f"{info.cost.gradient_evaluations:,}",
        "Versions": versions or "unknown",
    }
    return [f"- {name}: {value}" for name, value in facts.items()]


def _command(info: Info, out: Path) -> str:
    """Return what makes the same checkpoints again, from inside the folder that holds them."""
    run = shlex.quote(printable(info.run.path))
    form = f" --format {info.form}" if info.form != "safetensors" else ""
    name = shlex.quote(printable(f"../{out.resolve().name}-again"))
    return f"pdiff generate {run} --n {len(info.files)} --seed {info.seed}{form} --out {name}"


def _network(bank: Bank) -> str:
    """Return what the checkpoints are of: `mnist1d convnet`, where the bank says."""
    return "a network" if bank.task is None else printable(f"{_task(bank.task.name)} {bank.task.arch}")


def _task(name: str) -> str:
    """Return the name of a task without the folder that its file is in, which is nobody's business."""
    return name.rpartition("/")[2]


def _plain(text: str) -> str:
    """Return text in which Markdown and HTML find nothing to do."""
    return "".join(f"\\{c}" if c in "\\`*_[]<>|#&" else c for c in printable(text))


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
