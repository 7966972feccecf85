"""Read image data sets in the layout of torchvision's downloads; nothing here runs code or fetches files."""

import csv
import json
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pdiff.common.errors import InputError
from pdiff.tasks.idx import read_idx

Part = Literal["train", "test"]


class Samples(NamedTuple):
    """The images of a part, u8 [N, H, W] or [N, H, W, 3], or their files; their classes i64 [N]."""

    images: NDArray[np.uint8] | list[Path]
    labels: NDArray[np.int64]


class _Data(pickle.Unpickler):
    """Unpickles arrays and plain values, and calls nothing else."""

    allowed: ClassVar = {
        ("numpy.core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "_reconstruct"),
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
        ("_codecs", "encode"),
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.allowed:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which is no array")
        return super().find_class(module, name)


def _unpickled(path: Path) -> dict[str, Any]:
    with _opened(path) as file:
        try:
            found = _Data(file, encoding="latin1").load()
        except (pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError, IndexError) as error:
            raise InputError(f"{path}: not a batch of CIFAR ({error})") from None
    if not isinstance(found, dict) or not isinstance(found.get("data"), np.ndarray):
        raise InputError(f"{path}: not a batch of CIFAR, a dictionary with an array `data`")
    return found


def _opened(path: Path) -> IO[bytes]:
    try:
        return path.open("rb")
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None


def _cifar(root: Path, files: list[str], key: str) -> Samples:
    batches = [_unpickled(root / file) for file in files]
    rows = np.concatenate([batch["data"] for batch in batches])
    images = rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return _checked(root, images, np.concatenate([batch[key] for batch in batches]))


def cifar10(root: Path, part: Part) -> Samples:
    """Read `cifar-10-batches-py`: 50,000 and 10,000 images of 32 × 32."""
    files = [f"data_batch_{i}" for i in range(1, 6)] if part == "train" else ["test_batch"]
    return _cifar(root / "cifar-10-batches-py", files, "labels")


def cifar100(root: Path, part: Part) -> Samples:
    """Read `cifar-100-python`: 50,000 and 10,000 images of 32 × 32."""
    return _cifar(root / "cifar-100-python", [part], "fine_labels")


def stl10(root: Path, part: Part) -> Samples:
    """Read `stl10_binary`: 5,000 and 8,000 images of 96 × 96, stored by column."""
    folder = root / "stl10_binary"
    pixels, labels = (_bytes(folder / f"{part}_{what}.bin") for what in "Xy")
    if pixels.size % (3 * 96 * 96):
        raise InputError(f"{folder / f'{part}_X.bin'}: {pixels.size} bytes are no images of 3 × 96 × 96")
    return _checked(folder, pixels.reshape(-1, 3, 96, 96).transpose(0, 3, 2, 1), labels.astype(np.int64) - 1)


def _bytes(path: Path) -> NDArray[np.uint8]:
    with _opened(path) as file:
        return np.fromfile(file, dtype=np.uint8)


def mnist(root: Path, part: Part) -> Samples:
    """Read `MNIST/raw`: 60,000 and 10,000 images of 28 × 28, gzipped or not."""
    folder, prefix = root / "MNIST" / "raw", "train" if part == "train" else "t10k"
    images, labels = (
        _plain_or_gz(folder / f"{prefix}-{what}-ubyte") for what in ("images-idx3", "labels-idx1")
    )
    return _checked(folder, read_idx(images, (None, 28, 28)), read_idx(labels, (None,)))


def _plain_or_gz(path: Path) -> Path:
    return path if path.is_file() else path.with_name(f"{path.name}.gz")


def svhn(root: Path, part: Part) -> Samples:
    """Read `train_32x32.mat` and `test_32x32.mat`: 73,257 and 26,032 images of 32 × 32."""
    content = _matlab(root / f"{part}_32x32.mat")
    return _checked(root, content["X"].transpose(3, 0, 1, 2), content["y"].astype(np.int64).squeeze(1) % 10)


def _matlab(path: Path) -> dict[str, NDArray[Any]]:
    from scipy.io import loadmat  # noqa: PLC0415 (slow to import, and seldom needed)

    with _opened(path) as file:
        try:
            return loadmat(file)  # type: ignore[no-any-return]
        except (ValueError, TypeError, NotImplementedError) as error:
            raise InputError(f"{path}: not a MATLAB file ({error})") from None


def flowers102(root: Path, part: Part) -> Samples:
    """Read `flowers-102`: 2,040 images for training, its own validation split among them, and 6,149."""
    folder = root / "flowers-102"
    split = _matlab(folder / "setid.mat")
    numbers = np.concatenate([split["trnid"], split["valid"]], axis=1) if part == "train" else split["tstid"]
    labels = _matlab(folder / "imagelabels.mat")["labels"].astype(np.int64).squeeze(0) - 1
    paths = [folder / "jpg" / f"image_{number:05d}.jpg" for number in numbers[0]]
    return _checked(folder, paths, labels[numbers[0].astype(np.int64) - 1])


def pets(root: Path, part: Part) -> Samples:
    """Read `oxford-iiit-pet`: 3,680 and 3,669 images."""
    folder = root / "oxford-iiit-pet"
    name = "trainval" if part == "train" else "test"
    with _opened(folder / "annotations" / f"{name}.txt") as file:
        rows = list(csv.reader(file.read().decode().splitlines(), delimiter=" "))
    paths = [folder / "images" / f"{row[0]}.jpg" for row in rows]
    return _checked(folder, paths, np.array([int(row[1]) - 1 for row in rows]))


def food101(root: Path, part: Part) -> Samples:
    """Read `food-101`: 75,750 and 25,250 images."""
    folder = root / "food-101"
    with _opened(folder / "meta" / f"{part}.json") as file:
        found = json.load(file)
    names = sorted(found)
    paths = [folder / "images" / f"{image}.jpg" for name in names for image in found[name]]
    labels = [number for number, name in enumerate(names) for _ in found[name]]
    return _checked(folder, paths, np.array(labels))


def imagenet(root: Path, part: Part) -> Samples:
    """Read `train` and `val`, a folder for each class, in `root` or in `root/imagenet`: 1,281,167 and 50,000.

    The validation images are the test part, as is the custom.
    """
    place = root / "imagenet" if (root / "imagenet").is_dir() else root
    folder = place / ("train" if part == "train" else "val")
    if not folder.is_dir():
        raise InputError(
            f"{folder}: no such folder; ImageNet's `train` and `val` hold a folder for each class"
        )
    classes = sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
    files = [sorted((folder / name).iterdir()) for name in classes]
    labels = np.repeat(np.arange(len(classes)), [len(each) for each in files])
    return _checked(folder, [path for each in files for path in each], labels)


def _checked(folder: Path, images: NDArray[np.uint8] | list[Path], labels: Any) -> Samples:
    """Return the samples; raises `InputError` unless there are as many labels as images, and at least one."""
    classes = np.asarray(labels, dtype=np.int64)
    if len(images) != len(classes) or not len(classes):
        raise InputError(f"{folder}: {len(images)} images and {len(classes)} labels")
    return Samples(images, classes)


@dataclass(frozen=True)
class Source:
    """A data set: what reads it, how many classes it has, and torchvision's class that downloads it."""

    read: Callable[[Path, Part], Samples]
    classes: int
    torchvision: str
    channels: int = 3


SOURCES: Mapping[str, Source] = {
    "cifar10": Source(cifar10, 10, "CIFAR10"),
    "cifar100": Source(cifar100, 100, "CIFAR100"),
    "stl10": Source(stl10, 10, "STL10"),
    "flowers102": Source(flowers102, 102, "Flowers102"),
    "pets": Source(pets, 37, "OxfordIIITPet"),
    "food101": Source(food101, 101, "Food101"),
    "imagenet": Source(imagenet, 1000, ""),
    "mnist": Source(mnist, 10, "MNIST", channels=1),
    "svhn": Source(svhn, 10, "SVHN"),
}
"""Name of each data set of photographs → how it is read."""
