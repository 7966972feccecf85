"""Several dictionaries of weights in one file: parts of one network, averages, copies, and what is none."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from pdiff.bank import Bank, collect
from pdiff.checkpoints import Choice, inspect
from pdiff.common.config import Config
from pdiff.common.errors import InputError
from pdiff.generation.sample import generate
from tests.support import Said

MEMBERS = 4

Content = Callable[[Callable[..., Tensor]], dict[str, Any]]


def saved(folder: Path, content: Content) -> Path:
    """Save what `content` makes of a source of random tensors MEMBERS times."""
    (folder / "ckpts").mkdir()
    for index in range(MEMBERS):
        generator = torch.Generator().manual_seed(index)
        value = content(lambda *shape: torch.randn(shape, generator=generator))  # noqa: B023
        torch.save(value, folder / f"ckpts/{index}.pt")
    return folder / "ckpts"


def names(bank: Bank) -> list[str]:
    return [segment.name for segment in bank.layout.segments]


def gan(t: Callable[..., Tensor]) -> dict[str, Any]:
    return {"g": {"w": t(2, 3)}, "d": {"w": t(4, 3)}, "g_ema": {"w": t(2, 3)}, "opt": {"lr": 0.1}}


def wrapped(t: Callable[..., Tensor]) -> dict[str, Any]:
    """As lucidrains' trainers save the `state_dict` of ema-pytorch's wrapper."""
    ema = {"initted": torch.tensor(True), "online_model.w": t(2, 3), "ema_model.w": t(2, 3)}
    return {"step": 3, "model": {"w": t(2, 3)}, "ema": ema}


def latent(t: Callable[..., Tensor]) -> dict[str, Any]:
    """As latent diffusion's trainer does."""
    inner = {"model.diffusion_model.w": t(2, 3), "model_ema.diffusion_modelw": t(2, 3)}
    return {"state_dict": inner | {"model_ema.decay": torch.tensor(0.9), "first_stage_model.w": t(2)}}


@pytest.mark.parametrize(
    ("content", "options", "taken"),
    [
        pytest.param(
            lambda t: {"log_std": t(3), "actor": {"w": t(2, 3)}},
            {},
            ["actor.w", "log_std"],
            id="a tensor beside a dictionary",
        ),
        pytest.param(
            lambda t: {"loss": t(), "actor": {"w": t(2, 3)}, "critic": {"w": t(2)}, "optimizer": {"m": t(9)}},
            {},
            ["actor.w", "critic.w"],
            id="metrics and optimisers are none",
        ),
        pytest.param(
            lambda t: {"modelA_state_dict": {"w": t(2, 3)}, "modelB_state_dict": {"w": t(4)}},
            {},
            ["modelA_state_dict.w", "modelB_state_dict.w"],
            id="two networks",
        ),
        pytest.param(
            lambda t: {"qf1": {"w": t(2, 3)}, "qf2": {"w": t(2, 3)}},
            {},
            ["qf1.w", "qf2.w"],
            id="two networks of one shape",
        ),
        pytest.param(
            lambda t: {"modelA_state_dict": {"w": t(2, 3)}, "modelB_state_dict": {"w": t(4)}},
            {"key": "modelA_state_dict"},
            ["w"],
            id="one of two networks",
        ),
        pytest.param(
            lambda t: {"nets": {"enc": {"module.w": t(2, 3)}, "dec": {"module.w": t(2)}}},
            {},
            ["dec.w", "enc.w"],
            id="wrapped networks a level below",
        ),
        pytest.param(gan, {}, ["d.w", "g_ema.w"], id="an average of one of two"),
        pytest.param(gan, {"ema": False}, ["d.w", "g.w"], id="not the average"),
        pytest.param(gan, {"key": "g"}, ["w"], id="the average's network by key"),
        pytest.param(wrapped, {}, ["ema_model.w"], id="an average in a dictionary"),
        pytest.param(wrapped, {"ema": False}, ["w"], id="no average in a dictionary"),
        pytest.param(wrapped, {"key": "ema.ema_model"}, ["w"], id="beginnings of names are keys"),
        pytest.param(wrapped, {"key": "online_model"}, ["w"], id="beginnings of names alone"),
        pytest.param(
            latent, {}, ["first_stage_model.w", "model_ema.diffusion_modelw"], id="an average without dots"
        ),
        pytest.param(
            latent, {"key": "state_dict.model"}, ["diffusion_model.w"], id="a part of one dictionary"
        ),
        pytest.param(
            lambda t: {"params": {"w": t(2)}, "params_ema": {"w": t(2)}}, {}, ["w"], id="params_ema"
        ),
        pytest.param(
            lambda t: {"generator": {"w": t(2)}, "averaged_generator": {"w": t(2)}, "d": {"w": t(3)}},
            {},
            ["averaged_generator.w", "d.w"],
            id="averaged_generator",
        ),
    ],
)
def test_what_belongs_together_is_taken(
    tmp_path: Path, content: Content, options: dict[str, Any], taken: list[str]
) -> None:
    folder = saved(tmp_path, content)
    bank = collect(folder, out=tmp_path / "bank", **options)
    assert [name for name in names(bank) if name != "model_ema.decay"] == taken
    generated = generate(bank, config=Config.preset("gaussian"), n=2, out=tmp_path / "g", format="source")
    assert generated[0].keys() == bank.base.keys()
    original = torch.load(folder / "0.pt", weights_only=True)
    loaded = torch.load(generated.path / generated.info.files[0], weights_only=True)
    assert shapes(loaded).items() <= shapes(original).items()
    assert len(shapes(loaded)) == len(bank.base) + len(bank.manifest.source.copies)
    again = collect(tmp_path / "g", folder, out=bank.path, extend=True, **options)
    assert len(again) == MEMBERS + 2


@pytest.mark.parametrize(
    ("content", "pairs"),
    [
        (gan, [(("g_ema", "w"), ("g", "w"))]),
        (
            wrapped,
            [(("ema", "ema_model.w"), ("ema", "online_model.w")), (("ema", "ema_model.w"), ("model", "w"))],
        ),
        (
            lambda t: {"state_dict_ema": {"a": t(2)}, "state_dict": {"a": t(2)}},
            [(("state_dict_ema", "a"), ("state_dict", "a"))],
        ),
        (lambda t: {"ema": {"a": t(2)}, "model": {"module.a": t(2)}}, []),
        (latent, []),
    ],
)
def test_what_an_average_is_one_of_is_written_too(
    tmp_path: Path, content: Content, pairs: list[tuple[tuple[str, str], tuple[str, str]]]
) -> None:
    bank = collect(saved(tmp_path, content), out=tmp_path / "bank")
    made = generate(bank, config=Config.preset("gaussian"), n=1, out=tmp_path / "g", format="source")
    loaded = torch.load(made.path / made.info.files[0], weights_only=True)
    for (one, name), (other, its) in pairs:
        assert loaded[one][name].data_ptr() == loaded[other][its].data_ptr()
    assert len(bank.manifest.source.copies) == len(pairs)


def shapes(content: Any, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], torch.Size]:
    """Return where the tensors of nested dictionaries are, and their shapes."""
    if isinstance(content, Tensor):
        return {path: content.shape}
    inner = content.items() if isinstance(content, dict) else ()
    return {place: shape for key, value in inner for place, shape in shapes(value, (*path, key)).items()}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (gan, "the weights of d, g_ema are taken together, not g; choose with --key"),
        (wrapped, "the weights of ema are taken, not model, ema.online_model; choose with --key"),
        (
            lambda t: {"log_std": t(3), "actor": {"w": t(2)}},
            "the weights of the top level, actor are taken together; --key takes one of them",
        ),
        (lambda t: {"model": {"w": t(2)}, "d": {"w": t(3)}}, "the weights of model are taken, not d; choose"),
    ],
)
def test_what_is_taken_and_what_is_left_is_said(tmp_path: Path, content: Content, said: str) -> None:
    heard = Said()
    folder = saved(tmp_path, content)
    collect(folder, out=tmp_path / "bank", progress=heard)
    assert any(line.startswith(f"0.pt: {said}") for line in heard), heard


def test_tensors_beside_a_known_network_are_left_out_by_name(tmp_path: Path) -> None:
    heard = Said()
    folder = saved(tmp_path, lambda t: {"state_dict": {"w": t(2)}, "class_weights": t(3), "best_acc1": t()})
    bank = collect(folder, out=tmp_path / "bank", progress=heard)
    assert names(bank) == ["w"]
    note = "entries beside the weights are left out: class_weights; --key '' takes the tensors among them too"
    assert any(note in line for line in heard), heard
    whole = collect(folder, out=tmp_path / "whole", key="")
    assert names(whole) == ["class_weights", "state_dict.w"]
    part = collect(
        folder, out=tmp_path / "part", key="", select_globs=["class_weights"], base=folder / "0.pt"
    )
    assert names(part) == ["class_weights"]


def test_copies_of_one_size_are_asked_about(tmp_path: Path) -> None:
    folder = saved(tmp_path, lambda t: {"student": {"w": t(2)}, "teacher": {"w": t(2)}})
    with pytest.raises(InputError, match='several weights of one size.*"student"'):
        collect(folder, out=tmp_path / "bank")
    assert len(collect(folder, out=tmp_path / "bank", key="student")) == MEMBERS


def test_averages_in_safetensors_are_known_by_their_names(tmp_path: Path) -> None:
    folder = tmp_path / "ckpts"
    folder.mkdir()
    for index in range(MEMBERS):
        state = {f"{part}.w": torch.full((2, 3), float(index)) for part in ("model", "model_ema", "vae")}
        save_file(state, folder / f"{index}.safetensors")
    assert names(collect(folder, out=tmp_path / "a")) == ["model_ema.w", "vae.w"]
    assert names(collect(folder, out=tmp_path / "b", ema=False)) == ["model.w", "vae.w"]
    one = collect(folder, out=tmp_path / "c", key="model")
    assert names(one) == ["w"]
    generated = generate(one, config=Config.preset("gaussian"), n=1, out=tmp_path / "g", format="source")
    assert generated[0].keys() == {"w"}
    with pytest.raises(InputError, match="nothing under a key"):
        collect(folder, out=tmp_path / "d", key="decoder")


def test_inspect_says_what_belongs_together(tmp_path: Path) -> None:
    (kind,) = inspect([saved(tmp_path, gan)], Choice()).kinds
    assert (kind.together, kind.passed_over, kind.averaged) == (["d", "g_ema"], ["g"], MEMBERS)
