"""Write small data sets of noise in the layouts of the real ones."""

import gzip
import json
import pickle
import struct
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

SAMPLES = 12
"""Images of each part."""


def write(name: str, root: Path, classes: int = 3) -> None:
    """Write a data set `name` under `root`, with images of classes 0 to `classes` - 1 in turn."""
    _WRITERS[name](root, np.arange(SAMPLES) % classes, np.random.default_rng(0))


def _noise(generator, *shape):
    return generator.integers(0, 256, shape, dtype=np.uint8)


def _cifar(folder, parts, key, labels, generator):
    folder.mkdir()
    for part in parts:
        content = {"data": _noise(generator, SAMPLES, 3072), key: labels.tolist(), "batch_label": "noise"}
        (folder / part).write_bytes(pickle.dumps(content, protocol=2))


def cifar10(root, labels, generator):
    parts = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    _cifar(root / "cifar-10-batches-py", parts, "labels", labels, generator)


def cifar100(root, labels, generator):
    _cifar(root / "cifar-100-python", ["train", "test"], "fine_labels", labels, generator)


def stl10(root, labels, generator):
    (root / "stl10_binary").mkdir()
    for part in ("train", "test"):
        _noise(generator, SAMPLES, 3, 96, 96).tofile(root / "stl10_binary" / f"{part}_X.bin")
        (labels + 1).astype(np.uint8).tofile(root / "stl10_binary" / f"{part}_y.bin")


def mnist(root, labels, generator):
    folder = root / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for part in ("train", "t10k"):
        images = struct.pack(">4I", 0x803, SAMPLES, 28, 28) + _noise(generator, SAMPLES, 28, 28).tobytes()
        (folder / f"{part}-images-idx3-ubyte").write_bytes(images)
        content = struct.pack(">2I", 0x801, SAMPLES) + labels.astype(np.uint8).tobytes()
        (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(content))


def svhn(root, labels, generator):
    for part in ("train", "test"):
        numbers = np.where(labels == 0, 10, labels)[:, None].astype(np.uint8)
        savemat(root / f"{part}_32x32.mat", {"X": _noise(generator, 32, 32, 3, SAMPLES), "y": numbers})


def _jpeg(path, generator):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(_noise(generator, 40, 60, 3)).save(path)


def flowers102(root, labels, generator):
    folder = root / "flowers-102"
    for number in range(1, SAMPLES + 1):
        _jpeg(folder / "jpg" / f"image_{number:05d}.jpg", generator)
    savemat(folder / "imagelabels.mat", {"labels": (labels + 1)[None].astype(np.uint8)})
    numbers = np.arange(1, SAMPLES + 1, dtype=np.uint16)[None]
    thirds = {"trnid": numbers[:, :4], "valid": numbers[:, 4:8], "tstid": numbers[:, 8:]}
    savemat(folder / "setid.mat", thirds)


def pets(root, labels, generator):
    folder = root / "oxford-iiit-pet"
    (folder / "annotations").mkdir(parents=True)
    for part in ("trainval", "test"):
        names = [f"{part}_{i}" for i in range(SAMPLES)]
        lines = [f"{name} {label + 1} 1 1" for name, label in zip(names, labels, strict=True)]
        (folder / "annotations" / f"{part}.txt").write_text("\n".join(lines) + "\n")
        for name in names:
            _jpeg(folder / "images" / f"{name}.jpg", generator)


def food101(root, labels, generator):
    folder = root / "food-101"
    (folder / "meta").mkdir(parents=True)
    for part in ("train", "test"):
        found = {}
        for i, label in enumerate(labels):
            found.setdefault(f"dish_{label}", []).append(f"dish_{label}/{part}{i}")
            _jpeg(folder / "images" / f"dish_{label}" / f"{part}{i}.jpg", generator)
        (folder / "meta" / f"{part}.json").write_text(json.dumps(found))


def imagenet(root, labels, generator):
    for part in ("train", "val"):
        for i, label in enumerate(labels):
            _jpeg(root / part / f"n{label:08d}" / f"{i}.JPEG", generator)


_ALL = (cifar10, cifar100, stl10, mnist, svhn, flowers102, pets, food101, imagenet)
_WRITERS = {each.__name__: each for each in _ALL}
