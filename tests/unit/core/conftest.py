"""Four checkpoints, their layout and their shard."""

from pathlib import Path

import pytest
from safetensors.numpy import save_file

from pdiff import _core
from tests.unit.core.checkpoints import origins, tensors


@pytest.fixture
def sources(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"step-{i}.safetensors" for i in range(4)]
    for i, path in enumerate(paths):
        save_file(tensors(i), path, metadata={"step": str(i)})
    return paths


@pytest.fixture
def layout(sources: list[Path]) -> _core.Layout:
    infos = _core.Checkpoint([sources[0]]).tensors
    return _core.Layout([(t.name, t.dtype, t.shape) for t in infos if t.name != "steps"])


@pytest.fixture
def shard(tmp_path: Path, layout: _core.Layout, sources: list[Path]) -> _core.Shard:
    _core.write_shards([(tmp_path / "shard.safetensors", origins(sources))], layout)
    return _core.Shard(tmp_path / "shard.safetensors")
