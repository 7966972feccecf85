"""Files against torch and safetensors: what we read and write, and what we refuse."""

import json
import struct
import tempfile
from pathlib import Path

import numpy as np
import pytest
import safetensors
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save
from safetensors.torch import load_file, save_file

from pdiff import _core

quick = settings(deadline=None, derandomize=True, max_examples=60)

NAMES = ["bn1.running_var", "bn10.running_var", "fc.weight", "fc.bias", "running_var.fc"]
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
Edit = tuple[int, int, bytes]  # where, how many bytes are removed, and what is put there


@st.composite
def state_dicts(draw: st.DrawFn) -> list[dict[str, torch.Tensor]]:
    """Checkpoints of one network: floating tensors of all types, and an integer that is carried over."""
    sizes = st.lists(st.integers(0, 3), max_size=3).map(tuple)
    kinds = [(draw(st.sampled_from(DTYPES)), draw(sizes)) for _ in NAMES]
    generator = torch.Generator().manual_seed(draw(st.integers(0, 1000)))
    scale = draw(st.sampled_from([1e-6, 1.0, 1e4]))

    def values(name: str, shape: tuple[int, ...]) -> torch.Tensor:
        found = scale * torch.randn(shape, generator=generator, dtype=torch.float64)
        return found.abs() if name.endswith("running_var") else found

    return [
        {name: values(name, shape).to(dtype) for name, (dtype, shape) in zip(NAMES, kinds, strict=True)}
        | {"steps": torch.tensor(index)}
        for index in range(draw(st.integers(1, 3)))
    ]


def raw(tensor: torch.Tensor) -> bytes:
    return tensor.reshape(-1).view(torch.uint8).numpy().tobytes()


@quick
@given(state_dicts())
def test_rows_are_what_torch_and_safetensors_read(checkpoints: list[dict[str, torch.Tensor]]) -> None:
    if not any(checkpoints[0][name].numel() for name in NAMES):
        return
    with tempfile.TemporaryDirectory() as folder:
        sources = [Path(folder, f"{i}.safetensors") for i in range(len(checkpoints))]
        for checkpoint, source in zip(checkpoints, sources, strict=True):
            save_file(checkpoint, source)
        infos = _core.Checkpoint([sources[0]]).tensors
        origins = [_core.Checkpoint([source]).origin for source in sources]
        layout = _core.Layout([(t.name, t.dtype, t.shape) for t in infos if t.name != "steps"])
        [(digests, digest)] = _core.write_shards([(Path(folder, "shard"), origins)], layout)
        assert digest == _core.digest_file(Path(folder, "shard"))
        loaded = load_file(Path(folder, "shard"))["rows"]
        shard = np.asarray(_core.Shard(Path(folder, "shard")))
        names = ["steps", *NAMES]
        varying = dict(zip(names, _core.varying_tensors(origins, names), strict=True))

    parts = [[c[s.name] for s in layout.segments] for c in checkpoints]
    expected = torch.stack([torch.cat([p.float().ravel() for p in part]) for part in parts])
    assert loaded.dtype == torch.float32
    assert torch.equal(loaded, expected)
    assert shard.tobytes() == expected.numpy().tobytes()
    content = [
        b"".join(p.contiguous().view(-1).view(torch.uint8).numpy().tobytes() for p in part) for part in parts
    ]
    assert digests == [_core.digest(bytes_) for bytes_ in content]
    first = checkpoints[0]
    assert varying == {
        name: any(not torch.equal(c[name], first[name]) for c in checkpoints) for name in names
    }


def serialized() -> bytes:
    tensors = {"a": np.arange(2, dtype=np.float32), "b": np.array(1, np.int8)}
    return save(tensors, {"step": "1"})


def deserialized(data: bytes) -> list[tuple[str, dict[str, object]]] | None:
    try:
        return list(safetensors.deserialize(data))
    except safetensors.SafetensorError:
        return None


@settings(quick, max_examples=300)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 200),
            st.integers(0, 2),
            st.text('{}[]":,0189ab ', max_size=2).map(str.encode) | st.binary(max_size=2),
        ),
        max_size=3,
    ),
    st.booleans(),
)
def test_what_we_accept_safetensors_accepts_too(
    edits: list[tuple[int, int, bytes]], fix_length: bool
) -> None:
    data = serialized()
    for at, removed, inserted in edits:
        data = data[:at] + inserted + data[at + removed :]
    if fix_length:
        data = struct.pack("<Q", max(len(data) - 17, 0)) + data[8:]
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        try:
            checkpoint = _core.Checkpoint([file.name])
            ours = {t.source_name: (list(t.shape), checkpoint.read(t.name)) for t in checkpoint.tensors}
        except _core.InputError as error:
            assert "\n" not in str(error)
            assert edits or fix_length
            return
    theirs = deserialized(data)
    assert theirs is not None
    assert ours == {name: (t["shape"], bytes(t["data"])) for name, t in theirs}


NAME = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=8)


@quick
@given(st.dictionaries(NAME, st.tuples(*[st.integers(0, 3)] * 2), max_size=5))
def test_any_name_is_read_back(shapes: dict[str, tuple[int, int]]) -> None:
    shapes.pop("__metadata__", None)
    header, offset = {}, 0
    for name, (a, b) in shapes.items():
        header[name] = {"dtype": "U8", "shape": [a, b], "data_offsets": [offset, offset + a * b]}
        offset += a * b
    text = json.dumps(header, ensure_ascii=len(shapes) % 2 == 0).encode()
    with tempfile.NamedTemporaryFile() as file:
        file.write(struct.pack("<Q", len(text)) + text + bytes(offset))
        file.flush()
        checkpoint = _core.Checkpoint([file.name])
    assert {t.source_name: t.shape for t in checkpoint.tensors} == shapes
    assert checkpoint.metadata == {}


@quick
@given(
    st.lists(st.text("ab0129.-", max_size=6), max_size=8).flatmap(
        lambda names: st.tuples(st.just(names), st.permutations(names))
    )
)
def test_natural_sort_does_not_depend_on_the_order(orders: tuple[list[str], list[str]]) -> None:
    one, other = orders
    assert _core.natural_sort(one) == _core.natural_sort(other)
    assert sorted(one) == sorted(_core.natural_sort(one))


@pytest.mark.parametrize("size", [0, 1, 1023, 1 << 20, (1 << 20) + 1])
def test_digests_do_not_depend_on_chunks(size: int) -> None:
    data = np.random.default_rng(size).bytes(size)
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        assert _core.digest_file(file.name) == _core.digest(data)
