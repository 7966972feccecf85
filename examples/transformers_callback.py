"""Save a checkpoint after each of the last steps of a Hugging Face Trainer; be the task file for it too.

python examples/transformers_callback.py
pdiff collect ckpts
pdiff train
pdiff generate --n 50 --format source
pdiff evaluate --task examples/transformers_callback.py:Mine
"""

import torch
from torch.utils.data import Dataset
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)

from pdiff.tasks import Classification
from pdiff.tasks.digits import Digits  # 8×8 scans of handwritten digits; your data in its place


class SaveLastSteps(TrainerCallback):
    """Have the trainer save after each of the `last` optimiser steps."""

    def __init__(self, last):
        self.last = last

    def on_step_end(self, args, state, control, **kwargs):
        """Ask for a checkpoint; the trainer writes it to checkpoint-N in its output directory."""
        control.should_save = state.global_step > state.max_steps - self.last
        return control


class Tokens(Dataset):
    """A split of the digits as sequences: a token for each patch of 2×2 pixels, which of them are dark."""

    def __init__(self, split):
        inputs, self.labels = Digits().data(split)  # inputs [N, 1, 8, 8] in [-1, 1]
        dark = (inputs > 0).unfold(2, 2, 2).unfold(3, 2, 2).flatten(4)  # [N, 1, 4, 4, 4]
        self.tokens = (dark * torch.tensor([1, 2, 4, 8])).sum(dim=4).flatten(1)  # [N, 16]

    def __len__(self):
        """Return the number of samples."""
        return len(self.labels)

    def __getitem__(self, index):
        """Return one sample by the names of the model's arguments."""
        return {"input_ids": self.tokens[index], "labels": self.labels[index]}


def network():
    """Return a small BERT with random weights; yours, with `from_pretrained`, in its place."""
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    return BertForSequenceClassification(
        BertConfig(vocab_size=16, max_position_embeddings=16, num_labels=10, **sizes)
    )


class Mine(Classification):
    """The same network, with logits as its output."""

    name = "mine"

    def build(self, arch):
        """Return the network; a hook takes the logits out of what the model returns."""
        model = network()
        model.register_forward_hook(lambda module, inputs, output: output.logits)
        return model

    def data(self, split):
        """Return tokens [N, 16] and classes [N] of "train", "validation" or "test", in a fixed order."""
        samples = Tokens(split)
        return samples.tokens, samples.labels


def train(folder="ckpts", steps=600, last=100):
    """Train for `steps` and leave a checkpoint of each of the last ones."""
    set_seed(0)
    arguments = TrainingArguments(
        folder,
        max_steps=steps,
        per_device_train_batch_size=64,
        learning_rate=5e-3,
        lr_scheduler_type="constant_with_warmup",
        warmup_steps=100,
        save_strategy="no",  # the callback decides
        save_only_model=True,  # without the optimiser's state, which is larger than the model
        use_cpu=True,
        report_to=[],
    )
    callbacks = [SaveLastSteps(last)]
    Trainer(network(), arguments, train_dataset=Tokens("train"), callbacks=callbacks).train()


if __name__ == "__main__":
    train()
