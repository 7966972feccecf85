"""Generating from a bank without a run, and from runs of families other than latent diffusion."""

from pathlib import Path

import pytest
import torch

from pdiff.bank import Bank
from pdiff.common.config import Config
from pdiff.common.errors import UsageError
from pdiff.common.provenance import DataAccess
from pdiff.generation.card import CARD
from pdiff.generation.generated import Generated
from pdiff.generation.sample import generate
from pdiff.generators.base import Context
from pdiff.generators.train import load_generator, train
from pdiff.tasks import load_task
from pdiff.training import Run
from pdiff.verification import verify
from tests.support import MEMBERS

pytestmark = pytest.mark.usefixtures("shifted")


def test_a_bank_needs_no_run(bank: Bank, tmp_path: Path) -> None:
    config = Config.build("noise", settings=["scale=0.5"])
    generated = generate(bank, config=config, n=3, seed=2, out=tmp_path / "g")
    expected = bank.batch(range(3)) + 1 + MEMBERS
    assert torch.equal(generated.rows(), expected)
    info = generated.info
    assert (info.generator.family, info.generator.label) == ("noise", "noise, scale=0.5")
    assert (info.generator.path, info.held_out) == ("", ())
    assert info.access == DataAccess("gradients", 7)
    assert info.bank.digest == bank.digest
    assert verify(generated.path).bad == []
    text = (generated.path / CARD).read_text()
    assert "pdiff generate ../bank --generator noise --set scale=0.5 --n 3 --seed 2 --out ../g-again" in text
    assert "- Seen besides the weights: 7 minibatch gradients of training data\n" in text
    assert "2402.13144" not in text


def test_the_digest_is_a_function_of_bank_and_configuration(bank: Bank, tmp_path: Path) -> None:
    digests = [
        generate(
            bank, config=Config.build("noise", settings=settings), n=1, out=tmp_path / str(index)
        ).info.generator.digest
        for index, settings in enumerate(([], [], ["scale=2"]))
    ]
    assert digests[0] == digests[1] != digests[2]


def test_what_has_to_be_trained_is_refused_with_the_command(bank: Bank, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'paper' has to be trained: `pdiff train .*bank`"):
        generate(bank, config=Config.preset("paper"), n=1, out=tmp_path / "g")
    with pytest.raises(UsageError, match="a bank, so name a generator with --generator"):
        generate(bank, n=1, out=tmp_path / "g")
    assert not (tmp_path / "g").exists()


def test_any_family_can_be_a_run(bank: Bank, tmp_path: Path) -> None:
    config = Config.build("noise", settings=["scale=3"])
    run = train(bank, out=tmp_path / "run", config=config)
    assert run.result.seconds == {"counting": 0.25}
    assert run.result.facts == {"members": MEMBERS}
    assert run.result.access == DataAccess("gradients", 7)
    assert set(run.result.digests) == {"run.json", "generator.safetensors"}
    assert verify(run.path).bad == []
    assert load_generator(Run.open(run.path), "cpu").facts() == {"members": MEMBERS}
    ours = generate(run, n=2, seed=1, out=tmp_path / "g")
    assert torch.equal(ours.rows(), generate(bank, config=config, n=2, seed=1, out=tmp_path / "h").rows())
    assert (ours.info.generator.digest, ours.info.cost.once_s) == (run.digest, 0.25)
    assert (ours.path / ours.info.generator.path).resolve() == run.path.resolve()
    with pytest.raises(UsageError, match="a run has a generator already"):
        generate(run, config=Config.build("noise"), n=1, out=tmp_path / "i")


def test_a_run_with_another_task_is_not_gone_on_with(bank: Bank, tmp_path: Path) -> None:
    config = Config.build("noise")
    train(bank, out=tmp_path / "run", config=config, task="digits")
    train(bank, out=tmp_path / "run", config=config, task="digits", resume=True)
    with pytest.raises(UsageError, match="begun with task 'digits', now ''; name it with --task to go on"):
        train(bank, out=tmp_path / "run", config=config, resume=True)


def test_a_configuration_that_the_fit_refuses_leaves_nothing(
    bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise UsageError("no")

    monkeypatch.setattr("tests.unit.generation.stub.Shifted.fit", refuse)
    with pytest.raises(UsageError, match="no"):
        train(bank, out=tmp_path / "run", config=Config.build("noise"))
    assert not (tmp_path / "run").exists()


def test_families_that_look_at_data_get_the_banks_task_unless_another_is_given() -> None:
    from pdiff.bank.manifest import TaskRef

    reference = TaskRef("digits", "mlp")
    task, arch = Context(reference=reference).require_task("x")
    assert (task.name, arch) == ("digits", "mlp")
    task, arch = Context(task=load_task("mnist1d"), arch="convnet", reference=reference).require_task("x")
    assert (task.name, arch) == ("mnist1d", "convnet")
    with pytest.raises(UsageError, match="the generator x looks at data: name a task with --task"):
        Context().require_task("x")


def test_an_older_folder_says_which_format_it_has(bank: Bank, tmp_path: Path) -> None:
    generate(bank, config=Config.build("noise"), n=1, out=tmp_path / "g")
    path = tmp_path / "g" / "generated.json"
    path.write_text(path.read_text().replace('"format": 4', '"format": 3'))
    with pytest.raises(Exception, match="format 3, this version reads 4; make it again"):
        Generated.open(tmp_path / "g")
