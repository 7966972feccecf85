"""`python fuzz/seeds.py`: give each fuzzer small valid files to begin with, made by torch and safetensors."""

import io
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save

CORPUS = Path(__file__).parent / "corpus"


def main() -> None:
    """Write the seeds into the corpus of each fuzzer."""
    state = OrderedDict(w=torch.ones(2, 3), b=torch.zeros(2, dtype=torch.bfloat16), n=torch.tensor(1))
    nested = {"state_dict": state, "epoch": 3, "args": {"lr": 0.1, "name": "a"}, "numpy": np.arange(3)}
    views = {"t": torch.arange(6.0).reshape(2, 3).T, "tied": state["w"], "again": state["w"]}
    tables = [state, nested, views, {"model": state, "ema": views}]
    plain = [save(state), save({"module.a": torch.ones(1)}, {"format": "pt"})]
    zips = [saved(each, zipped=True) for each in tables]
    legacy = [saved(each, zipped=False) for each in tables]
    pickles = [
        pickle.dumps(each, protocol) for each in (nested["args"], {"a": np.ones(2)}) for protocol in range(6)
    ]
    for target, seeds in {
        "safetensors_header": plain,
        "zip_directory": zips,
        "pickle": [*pickles, *(data_pkl(each) for each in zips)],
        "open_then_read": [*plain, *zips, *legacy, *pickles],
    }.items():
        (CORPUS / target).mkdir(parents=True, exist_ok=True)
        for number, seed in enumerate(seeds):
            (CORPUS / target / f"seed-{number:02d}").write_bytes(seed)


def saved(value: object, *, zipped: bool) -> bytes:
    """Return what `torch.save` writes."""
    file = io.BytesIO()
    torch.save(value, file, _use_new_zipfile_serialization=zipped)
    return file.getvalue()


def data_pkl(archive: bytes) -> bytes:
    """Return the pickle in one of torch's archives."""
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        (name,) = [each for each in opened.namelist() if each.endswith("/data.pkl")]
        return opened.read(name)


if __name__ == "__main__":
    main()
