"""Training runs: what is left behind, resuming, refusals."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from pdiff.bank import Bank
from pdiff.common.config import Config, Optimisation
from pdiff.common.distributed import choose_device
from pdiff.common.errors import PdiffError, PreemptedError, UsageError
from pdiff.common.progress import SILENT
from pdiff.common.provenance import DataAccess
from pdiff.generators.train import load_generator, train
from pdiff.training import Run
from pdiff.training.interruption import catch_signals
from pdiff.training.metrics import MetricsLog
from pdiff.training.trainer import Trainer
from tests.support import MEMBERS, TINY, Said

MakeRun = Callable[..., Run]
CONV = ("codec.kind=conv", "codec.train.steps=3", "codec.train.batch_size=4", "denoiser.kind=conv")


def trainer(folder: Path, stop_at: int | None = None, steps: int = 12, ema: float = 0.9) -> Trainer:
    """A small regression; `stop_at` sends this process SIGTERM during that step."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))

    def loss(step: int) -> Iterator[Tensor]:
        if step == stop_at:
            os.kill(os.getpid(), signal.SIGTERM)
        inputs = torch.randn(8, 3, generator=torch.Generator().manual_seed(step))
        for part in inputs[:4], inputs[4:]:
            yield (module(part) - part.sum(dim=1, keepdim=True)).square().mean() / 2

    return Trainer("net", module, loss, Optimisation(steps=steps, batch_size=8, lr=1e-2, ema=ema), folder)


def run(fitting: Trainer) -> None:
    with catch_signals() as interruption:
        fitting.run(SILENT, interruption)


@pytest.fixture(params=[1, 5], ids=["read at once", "read together"])
def most_unseen(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Losses are read after each step, as on a CPU, or after several, as on a GPU."""
    begin = Trainer.__init__

    def made(self: Trainer, *arguments: Any, **options: Any) -> None:
        begin(self, *arguments, **options)
        self._most_unseen = request.param

    monkeypatch.setattr(Trainer, "__init__", made)


def written(folder: Path) -> list[dict[str, float]]:
    """The metrics in the folder of a training."""
    return [json.loads(line) for line in (folder / "net.metrics.jsonl").read_text().splitlines()]


def test_metrics_are_there_while_a_training_goes_on_and_lines_of_a_killed_one_go(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "net.metrics.jsonl")
    log.begin(0)
    for step in range(3):
        log.lines.append({"step": step, "loss": 1.0})
    log.write()
    assert [line["step"] for line in written(tmp_path)] == [0, 1, 2]
    with (tmp_path / "net.metrics.jsonl").open("a") as file:
        file.write('{"step": 3, "lo')  # it was killed here; its state was saved after two steps
    again = MetricsLog(tmp_path / "net.metrics.jsonl")
    again.begin(2)
    again.lines.append({"step": 2, "loss": 2.0})
    again.write()
    assert [(line["step"], line["loss"]) for line in written(tmp_path)] == [(0, 1.0), (1, 1.0), (2, 2.0)]


@pytest.mark.usefixtures("most_unseen")
@pytest.mark.parametrize("stop_at", [0, 5, 11])
def test_a_stopped_training_goes_on_bit_for_bit(tmp_path: Path, stop_at: int) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    whole = trainer(tmp_path / "a")
    run(whole)
    with pytest.raises(PreemptedError):
        run(trainer(tmp_path / "b", stop_at))
    resumed = trainer(tmp_path / "b")
    run(resumed)
    expected = whole.module.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in resumed.module.state_dict().items())
    metrics = [(tmp_path / folder / "net.metrics.jsonl").read_text() for folder in "ab"]
    assert metrics[0] == metrics[1]
    assert [json.loads(line)["step"] for line in metrics[0].splitlines()] == list(range(12))


@pytest.mark.usefixtures("most_unseen")
def test_a_diverging_training_is_refused_with_step_and_rate(tmp_path: Path) -> None:
    diverging = trainer(tmp_path)
    loss = diverging.loss
    diverging.loss = lambda step: (part * (float("nan") if step == 3 else 1) for part in loss(step))
    with pytest.raises(PdiffError, match="training the net diverged: loss nan at step 3, learning rate"):
        run(diverging)


def test_gradients_are_cut_to_the_norm_asked_for(tmp_path: Path) -> None:
    """Of a loss that is a thousand times as large; AdamW's own step does not show it."""
    norms = []
    for clip in (0.0, 0.25):
        fitting = trainer(tmp_path, steps=1)
        loss = fitting.loss
        fitting.config = msgspec.structs.replace(fitting.config, clip=clip)
        fitting.loss = lambda step, loss=loss: (1000 * part for part in loss(step))  # type: ignore[misc]
        run(fitting)
        gradients = [parameter.grad for parameter in fitting.module.parameters()]
        norms.append(float(torch.cat([g.flatten() for g in gradients if g is not None]).norm()))
    assert norms[0] > 10
    assert norms[1] == pytest.approx(0.25, rel=1e-4)


def test_losses_in_bfloat16_are_nearly_those_in_full(tmp_path: Path) -> None:
    losses = []
    for precision in ("f32", "bf16"):
        fitting = trainer(tmp_path)
        fitting.config = msgspec.structs.replace(fitting.config, precision=precision)
        run(fitting)
        losses.append([line["loss"] for line in written(tmp_path)])
        assert all(p.dtype == torch.float32 for p in fitting.module.parameters())
        (tmp_path / "net.state.pt").unlink(missing_ok=True)
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], rel=0.05)


def test_the_average_follows_the_weights(tmp_path: Path) -> None:
    plain, averaged = trainer(tmp_path, ema=0), trainer(tmp_path, ema=0.999)
    run(plain)
    run(averaged)
    last, average = plain.module.state_dict(), averaged.module.state_dict()
    assert not torch.equal(last["0.weight"], average["0.weight"])
    assert torch.allclose(last["0.weight"], average["0.weight"], atol=0.1)
    assert torch.equal(average["1.num_batches_tracked"], last["1.num_batches_tracked"])


def test_the_learning_rate_falls_as_a_cosine(tmp_path: Path) -> None:
    fitted = trainer(tmp_path, steps=10)
    run(fitted)
    rates = [line["lr"] for line in written(tmp_path)]
    assert rates[0] == pytest.approx(1e-2)
    assert rates[5] == pytest.approx(5e-3)
    assert rates == sorted(rates, reverse=True)


def test_a_run_holds_its_config_result_and_metrics(make_run: MakeRun) -> None:
    run = make_run("default")
    assert Run.open(run.path).digest == run.digest
    assert run.result.facts["latent_dim"] == 4
    assert 0 < run.result.facts["variance_explained"] < 1
    assert run.result.access == DataAccess("weights", 0)
    assert list(run.result.seconds) == ["codec", "denoiser"]
    assert load_generator(run, "cpu").facts() == run.result.facts
    lines = (run.path / "denoiser.metrics.jsonl").read_text().splitlines()
    assert len(lines) == 5
    latents = load_file(run.path / "latents.safetensors")["values"]
    assert latents.shape == (MEMBERS, 4)
    assert torch.allclose(latents.std(dim=0, correction=0), torch.ones(4), atol=1e-4)


def test_latents_are_encoded_with_running_statistics(make_run: MakeRun) -> None:
    run = make_run("paper", *CONV)
    codec = load_generator(run, "cpu").codec
    rows = run.bank.batch(range(MEMBERS), run.bank.normalizer("tensor"))
    stored = load_file(run.path / "latents.safetensors")["values"]
    with torch.no_grad():
        one_by_one = torch.cat([codec.encode(row[None]) for row in rows])
    assert torch.allclose(stored, one_by_one, atol=1e-5)


def test_the_same_seed_gives_the_same_files(make_run: MakeRun) -> None:
    for family, settings in (("paper", CONV), ("default", ())):
        one, two = (make_run(family, *settings, out=f"{family}-{out}") for out in ("a", "b"))
        files = sorted(path.name for path in one.path.glob("*.safetensors"))
        assert files == ["codec.safetensors", "denoiser.safetensors", "latents.safetensors"]
        for file in files:
            assert (one.path / file).read_bytes() == (two.path / file).read_bytes()
        assert not list(one.path.glob("*.seconds.json"))
        assert min(one.result.seconds.values()) > 0


def test_training_leaves_the_global_generator_alone(make_run: MakeRun) -> None:
    state = torch.random.get_rng_state()
    make_run("paper", *CONV)
    assert torch.equal(state, torch.random.get_rng_state())


def test_with_nothing_to_resume_a_run_begins_and_says_so(bank: Bank, tmp_path: Path) -> None:
    said, config = Said(), Config.preset("average")
    train(bank, out=tmp_path / "new", config=config, resume=True, progress=said)
    assert said == [f"{tmp_path}/new: nothing to resume, training on {bank.path} from the beginning"]
    train(bank, out=tmp_path / "new", config=config, resume=True, progress=said)
    assert said[1:] == [f"{tmp_path}/new: is finished"]


def test_a_finished_run_resumes_to_itself_and_is_not_overwritten_unasked(make_run: MakeRun) -> None:
    run = make_run()
    assert make_run(resume=True).digest == run.digest
    with pytest.raises(UsageError, match="not empty; use --resume or --overwrite"):
        make_run()
    with pytest.raises(UsageError, match=r"run: begun with train.lr 0.001, now 0.5; leave the options out"):
        make_run("default", "train.lr=0.5", resume=True)
    assert train(run.bank, out=run.path, resume=True).digest == run.digest, "by its own configuration"
    make_run("default", "train.lr=0.5", overwrite=True)


def test_an_unfinished_or_missing_run_says_so(bank: Bank, make_run: MakeRun, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no run here .no run.json.; make one with `pdiff train`"):
        Run.open(tmp_path)
    run = make_run()
    (run.path / "result.json").unlink()
    with pytest.raises(
        UsageError, match="training has not finished; go on with `pdiff train --out .*run --resume`"
    ):
        Run.open(run.path)


def test_a_device_that_is_not_there_is_refused() -> None:
    assert choose_device("cpu").type == "cpu"
    with pytest.raises(UsageError, match="--device cuda:99: not available"):
        choose_device("cuda:99")


def test_train_takes_a_fresh_config_by_default(bank: Bank, tmp_path: Path) -> None:
    run = train(bank, out=tmp_path / "r", config=Config.build(settings=TINY))
    assert run.config.name == "default"


def test_processes_of_torchrun_take_turns_with_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    found = {}
    for rank in range(5):
        monkeypatch.setenv("LOCAL_RANK", str(rank))
        found[rank] = choose_device(None)
        assert choose_device("cuda") == found[rank]
        assert choose_device("cpu").type == "cpu"
    assert found == {rank: torch.device("cuda", rank % 3) for rank in range(5)}
    monkeypatch.delenv("LOCAL_RANK")
    assert choose_device(None) == choose_device("cuda") == torch.device("cuda"), "torch's current one"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert choose_device(None) == torch.device("cpu")
