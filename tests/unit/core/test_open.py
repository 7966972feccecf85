"""What of a file is taken, and how it is found again."""

import math
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from pdiff import _core
from tests.hostile.assembler import dictionary, integer, load, storage, tensor
from tests.hostile.files import torch_zip, write

THREE = np.arange(3, dtype=np.float32).tobytes()
WEIGHT = tensor(storage("0", 3), [3], [1])
OTHER = tensor(storage("1", 2), [2], [1])


def saved(path: Path, body: bytes) -> _core.Checkpoint:
    return _core.Checkpoint([write(path, torch_zip(body, {"0": THREE, "1": THREE[:8]}))])


def named(path: Path, *names: str) -> _core.Checkpoint:
    return saved(path, dictionary(dict.fromkeys(names, WEIGHT)))


def test_keys_with_dots_lead_back_to_the_same_dictionary(tmp_path: Path) -> None:
    nested = dictionary({"net": dictionary({"w": WEIGHT})})
    path = tmp_path / "a.pt"
    body = dictionary({"model": nested, "model.net": dictionary({"w": OTHER})})
    write(path, torch_zip(body, {"0": THREE, "1": THREE[:8]}))
    with pytest.raises(_core.InputError, match="several weights under the key"):
        _core.Checkpoint([path], key="model.net")
    for keys, shape in ((["model", "net"], (3,)), (["model.net"], (2,))):
        checkpoint = _core.Checkpoint([path], keys=keys)
        assert (checkpoint.keys, checkpoint.key) == (keys, "model.net")
        assert (checkpoint.origin.keys, checkpoint.origin.key) == (keys, "model.net")
        assert checkpoint.origin.open().tensors[0].shape == shape
        assert len(checkpoint.read("w")) == 4 * shape[0]
    with pytest.raises(_core.InputError, match=r'no weights under the key \["x"\]'):
        _core.Checkpoint([path], keys=["x"])
    with pytest.raises(ValueError, match="key and keys"):
        _core.Checkpoint([path], keys=["model.net"], key="model.net")


def test_an_origin_is_refused_once_the_file_has_changed(tmp_path: Path) -> None:
    checkpoint = named(tmp_path / "a.pt", "w")
    assert checkpoint.origin.open().read("w") == THREE
    stat = (tmp_path / "a.pt").stat()
    data = bytearray((tmp_path / "a.pt").read_bytes())
    (tmp_path / "a.pt").write_bytes(data)
    # Whoever sets the times back cannot set back when that was.
    os.utime(tmp_path / "a.pt", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    with pytest.raises(_core.InputError, match="changed while it was read"):
        checkpoint.origin.open()


def test_averaged_weights_are_told(tmp_path: Path) -> None:
    model, ema = dictionary({"w": WEIGHT}), dictionary({"w": OTHER})
    path = tmp_path / "a.pt"
    assert saved(path, dictionary({"state_dict": model, "state_dict_ema": ema})).averaged
    assert not _core.Checkpoint([path], ema=False).averaged
    (summary,) = _core.open_checkpoints([[path]])
    assert isinstance(summary, _core.Summary)
    assert summary.averaged
    assert not named(path, "w").averaged


def test_summaries_are_what_checkpoints_say(tmp_path: Path) -> None:
    body = dictionary({"model": dictionary({"w": WEIGHT}), "epoch": integer(7)})
    checkpoint = saved(tmp_path / "a.pt", body)
    (summary,) = _core.open_checkpoints([[tmp_path / "a.pt"]])
    assert isinstance(summary, _core.Summary)
    assert (summary.kind, summary.key) == (checkpoint.kind, "model")
    assert summary.numbers == checkpoint.numbers == {"epoch": 7.0}
    assert (summary.origin.keys, summary.origin.stamp) == (["model"], checkpoint.origin.stamp)


def test_the_memory_of_many_summaries_does_not_grow_with_the_headers(tmp_path: Path) -> None:
    header = {"name" * 250 + str(n): np.zeros(0, np.float32) for n in range(10_000)}
    save_file(header, tmp_path / "a")

    def resident() -> int:
        fields = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
        return next(1024 * int(field[1]) for field in fields if field[0] == "VmRSS:")

    _core.open_checkpoints([[tmp_path / "a"]] * 2)
    before = resident()
    kept = _core.open_checkpoints([[tmp_path / "a"]] * 20)
    assert len(kept) == 20
    assert resident() - before < 100_000_000


def test_numbers_of_a_safetensors_file_are_decimals(tmp_path: Path) -> None:
    metadata = {
        "acc": "91.5",
        "lr": "-1e-3",
        "half": ".5",
        "big": "1e999",
        "nan": "nan",
        "name": "1x",
        "": "2.",
    }
    save_file({"w": np.zeros(1)}, tmp_path / "a", metadata=metadata)
    numbers = _core.Checkpoint([tmp_path / "a"]).numbers
    assert numbers == {"acc": 91.5, "lr": -0.001, "half": 0.5, "": 2.0}
    assert all(math.isfinite(value) for value in numbers.values())


def test_many_tensors_are_read_at_once(tmp_path: Path) -> None:
    checkpoint = named(tmp_path / "a.pt", "a", "b")
    assert checkpoint.read_many(["b", "a", "b"]) == [THREE] * 3
    assert checkpoint.read_many([]) == []
    with pytest.raises(_core.InputError, match='holds no tensor "c"'):
        checkpoint.read_many(["a", "c"])


def test_what_an_average_counts_is_left_out(tmp_path: Path) -> None:
    for wrapped in ("module.w", "module.module.w"):
        checkpoint = named(tmp_path / "a.pt", "n_averaged", wrapped)
        assert [t.name for t in checkpoint.tensors] == ["w"]
        assert checkpoint.left_out == ["n_averaged"]
    assert len(named(tmp_path / "a.pt", "n_averaged", "w").tensors) == 2


def test_modules_inside_a_network_keep_their_names(tmp_path: Path) -> None:
    names = ["0.module.weight", "0.module.bias", "1.weight"]
    assert [t.name for t in named(tmp_path / "a.pt", *names).tensors] == names


def test_checksums_stand_in_for_bytes_only_where_that_is_wanted(tmp_path: Path) -> None:
    one, other = tmp_path / "a.pt", tmp_path / "b.pt"
    named(one, "w")
    with zipfile.ZipFile(one) as archive:
        at = archive.getinfo("archive/data/0").header_offset + 30 + len("archive/data/0")
    data = bytearray(one.read_bytes())
    data[at] ^= 1
    other.write_bytes(data)
    origins = [_core.Checkpoint([path]).origin for path in (one, other)]
    assert _core.varying_tensors(origins, ["w"]) == [False]
    with pytest.raises(_core.InputError, match='"w" is damaged: its CRC-32 is'):
        _core.varying_tensors(origins, ["w"], checksums=False)
    with pytest.raises(ValueError, match="sample without checksums"):
        _core.varying_tensors(origins, ["w"], sample=True, checksums=False)


def test_classes_that_nobody_looks_at_are_named(tmp_path: Path) -> None:
    for name in ("enum.Enum", "datetime.sys", "numpy.dtypes.os", "pathlib.fakePath"):
        checkpoint = saved(tmp_path / "a.pt", dictionary({"w": WEIGHT, "x": load(name)}))
        assert checkpoint.left_out == ["x", f"object of {name}"]
