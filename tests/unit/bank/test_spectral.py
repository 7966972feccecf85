"""Singular vectors of `spectral_norm`: of length 1 in checkpoints, and again in what is generated."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.utils import parametrizations, spectral_norm

from pdiff.bank import collect
from pdiff.bank.spectral import Layer, layers, singular_vectors
from pdiff.common.config import AverageConfig, GaussianConfig
from pdiff.common.tensors import to_arrays, to_tensors
from pdiff.generation.sample import generate

WAYS: dict[str, Any] = {"classic": spectral_norm, "parametrization": parametrizations.spectral_norm}


def normed(way: str, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(WAYS[way](nn.Linear(5, 4)), WAYS[way](nn.Linear(4, 3)))


def trained(way: str, step: int) -> nn.Module:
    """The network after some steps along one way."""
    network = normed(way, 0)
    ends = normed(way, 1).state_dict()
    for name, parameter in network.named_parameters():
        parameter.data.lerp_(ends[name], 0.1 * step)
    for _ in range(30):
        network(torch.ones(2, 5))  # one power iteration each
    return network.eval()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "config", [AverageConfig(name="average", members=2), GaussianConfig(name="gaussian")]
)
def test_generated_layers_have_the_norm_of_their_layer(tmp_path: Path, way: str, config: Any) -> None:
    (tmp_path / "ckpts").mkdir()
    states: list[dict[str, Tensor]] = []
    for step in range(6):
        states.append({k: v.contiguous() for k, v in trained(way, step).state_dict().items()})
        save_file(states[-1], tmp_path / f"ckpts/{step}.safetensors")
    bank = collect(tmp_path / "ckpts", out=tmp_path / "bank")
    units = [name for layer in layers(s.name for s in bank.layout.segments) for name in (layer.u, layer.v)]
    assert len(units) == 4, "two layers, two vectors each"
    for index, state in enumerate(states):
        restored = bank.state_dict(bank.batch([index])[0])
        assert all(torch.equal(restored[name], state[name]) for name in state)
    for state in generate(bank, config=config, n=4, out=tmp_path / "generated"):
        assert all(float(state[name].norm()) == pytest.approx(1, abs=2e-3) for name in units)
        network = normed(way, 0).eval()
        network.load_state_dict(state)
        with torch.no_grad():
            network(torch.ones(1, 5))  # the older implementation divides the weight now
            norms = [float(torch.linalg.matrix_norm(layer.weight, ord=2)) for layer in network]
        assert all(norm == pytest.approx(1, abs=1e-3) for norm in norms), norms


def test_the_layers_of_both_implementations_are_known_by_their_names() -> None:
    names = [
        "bias_u",
        "bias_v",
        "weight_v",
        "weight_g",
        "a.weight_u",
        "a.weight_v",
        "a.weight_orig",
        "b.w_orig",
    ]
    assert layers(names) == [Layer("a.weight_orig", "a.weight_u", "a.weight_v")]
    new = "c.parametrizations.weight."
    assert layers([f"{new}original", f"{new}0._u", f"{new}0._v"]) == [
        Layer(f"{new}original", f"{new}0._u", f"{new}0._v")
    ]


def test_transposed_convolutions_have_their_outputs_second() -> None:
    torch.manual_seed(0)
    state = spectral_norm(nn.ConvTranspose2d(3, 5, 2)).state_dict()
    layer = Layer("weight_orig", "weight_u", "weight_v")
    found = to_tensors(singular_vectors(to_arrays(state | {"weight_u": 3 * state["weight_u"]}), layer))
    matrix = state["weight_orig"].transpose(0, 1).flatten(1)
    expected = torch.linalg.svdvals(matrix)[0]
    assert float(found["weight_u"] @ matrix @ found["weight_v"]) == pytest.approx(float(expected), rel=1e-4)
