"""Tell the file of a whole network from checkpoints that hold a part of it."""

from pathlib import Path

from pdiff.checkpoints.records import Example, Opened


def whole_beside(opened: Opened) -> Path | None:
    """Return the one file whose network all other checkpoints are parts of; None if there is no such file.

    So the code of *Neural Network Diffusion* leaves them: `pretrained.pth` beside the fine-tuned tensors.
    """
    groups = opened.groups()
    if len(groups) != 2:
        return None
    part, whole = groups
    files = whole.example.candidate.files
    alone = len(whole.checkpoints) == len(files) == 1
    return files[0] if alone and holds_more(whole.example, part.example) else None


def holds_more(whole: Example, part: Example) -> bool:
    """Return whether a checkpoint holds every tensor of another one, of its dtype and shape, and others."""
    return holds(whole, part) and len(whole.header.tensors) > len(part.header.tensors)


def holds(whole: Example, part: Example) -> bool:
    """Return whether a checkpoint holds every tensor of another one, of its dtype and shape."""
    theirs, ours = ({(t.name, t.dtype, t.shape) for t in each.header.tensors} for each in (whole, part))
    return whole.candidate.adapter == part.candidate.adapter and theirs.issuperset(ours)
