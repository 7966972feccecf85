import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from pdiff.bank import collect
from pdiff.common.config import Config
from pdiff.common.errors import InputError
from pdiff.generation.sample import generate


class Notes(list):
    def message(self, text):
        self.append(text)

    def track(self, *args, **kwargs):
        from pdiff.common.progress import SILENT

        return SILENT.track(*args, **kwargs)


@pytest.fixture
def folder(tmp_path):
    """Checkpoints of sentence-transformers: an encoder, and a dense layer in a folder of its own."""
    generator = torch.Generator().manual_seed(0)
    for step in range(4):
        place = tmp_path / "ckpts" / f"checkpoint-{step}"
        (place / "2_Dense").mkdir(parents=True)
        (place / "config.json").write_text("{}")
        (place / "modules.json").write_text(json.dumps([{"path": ""}, {"path": "2_Dense"}]))
        (place / "2_Dense" / "config.json").write_text('{"in_features": 4}')
        save_file({"encoder.weight": torch.randn(4, 4, generator=generator)}, place / "model.safetensors")
        dense = {"linear.weight": torch.randn(4, 4, generator=generator)}
        save_file(dense, place / "2_Dense" / "model.safetensors")
    return tmp_path / "ckpts"


def test_weights_of_other_modules_are_said_and_written_with_the_source(folder, tmp_path):
    notes = Notes()
    encoders = sorted(folder.glob("*/model.safetensors"))
    bank = collect(*encoders, out=tmp_path / "bank", progress=notes)
    (said,) = [note for note in notes if "2_Dense/model.safetensors" in note]
    assert "belongs to the same model, and is not generated; --format source writes those of one" in said
    config = Config.preset("gaussian")
    made = generate(bank, config=config, n=1, out=tmp_path / "generated", format="source")
    written = made.path / "model-0000" / "2_Dense" / "model.safetensors"
    dense = [load_file(path)["linear.weight"] for path in sorted(folder.glob("*/2_Dense/model.safetensors"))]
    assert any(torch.equal(load_file(written)["linear.weight"], each) for each in dense)


def test_of_two_kinds_as_large_as_each_other_neither_is_the_largest(folder, tmp_path):
    with pytest.raises(InputError, match="2 kinds of checkpoint: 4 like .*as many; of kinds as large as"):
        collect(folder, out=tmp_path / "bank", majority=True)
