"""Fashion-MNIST's files, made up in the real sizes; no real image is needed."""

import gzip
import struct

import numpy as np
import pytest
import torch

from pdiff.common.errors import InputError
from pdiff.tasks import load_task
from pdiff.tasks.vision import Fashion


def write_pair(folder, prefix, n, top=9):
    folder.mkdir(parents=True, exist_ok=True)
    images = np.zeros((n, 28, 28), dtype=np.uint8)
    images[:, 0, 0] = np.arange(n) % 251
    labels = (np.arange(n) % (top + 1)).astype(np.uint8)
    for kind, magic, values in (("images-idx3", 0x803, images), ("labels-idx1", 0x801, labels)):
        raw = struct.pack(f">I{values.ndim}I", magic, *values.shape) + values.tobytes()
        (folder / f"{prefix}-{kind}-ubyte.gz").write_bytes(gzip.compress(raw, compresslevel=1))


@pytest.fixture(scope="module")
def data_root(tmp_path_factory):
    root = tmp_path_factory.mktemp("fashion")
    write_pair(root / "FashionMNIST" / "raw", "train", 60_000)
    write_pair(root / "FashionMNIST" / "raw", "t10k", 10_000)
    return root


def test_splits_come_in_order_standardised(data_root):
    task = load_task("fashion", data_root=str(data_root))
    for split, n, offset in (("train", 55_000, 0), ("validation", 5_000, 55_000), ("test", 10_000, 0)):
        inputs, labels = task.data(split)
        assert inputs.shape == (n, 1, 28, 28)
        assert inputs.dtype == torch.float32
        assert labels.tolist() == [(offset + i) % 10 for i in range(n)]
        expected = (torch.arange(offset, offset + n) % 251 / 255 - 0.2860) / 0.3530
        torch.testing.assert_close(inputs[:, 0, 0, 0], expected.float())


def test_the_bare_folder_works_too(data_root):
    bare = Fashion(data_root / "FashionMNIST" / "raw").data("test")
    torch.testing.assert_close(bare[0], Fashion(data_root).data("test")[0], rtol=0, atol=0)


def test_missing_files_say_how_to_get_them(tmp_path):
    with pytest.raises(InputError, match=r"apt install dataset-fashion-mnist.*--data-root"):
        Fashion(tmp_path).data("train")


def test_missing_labels_are_named(tmp_path):
    write_pair(tmp_path, "t10k", 10_000)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(InputError, match=r"t10k-labels-idx1-ubyte\.gz: missing beside its images"):
        Fashion(tmp_path).data("test")


def test_labels_beyond_the_classes_are_refused(tmp_path):
    write_pair(tmp_path, "t10k", 10_000, top=10)
    with pytest.raises(InputError, match="holds the label 10, expected 0 to 9"):
        Fashion(tmp_path).data("test")
