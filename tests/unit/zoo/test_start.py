import pytest
import torch
from torch import nn

from pdiff.common.errors import InputError
from pdiff.zoo.start import load_start


def network(classes=3, width=12):
    return nn.Sequential(nn.Linear(8, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, classes))


class Notes(list):
    def message(self, text):
        self.append(text)


@pytest.mark.parametrize("wrapped", [False, True])
def test_all_but_a_classifier_of_other_classes_comes_from_the_file(tmp_path, wrapped):
    there, ours, notes = network(classes=5), network(classes=3), Notes()
    own = ours[3].weight.clone()
    state = there.state_dict()
    torch.save({"state_dict": state, "epoch": 3} if wrapped else state, tmp_path / "start.pth")
    load_start(ours, tmp_path / "start.pth", notes)
    assert torch.equal(ours[0].weight, there[0].weight)
    assert torch.equal(ours[1].running_var, there[1].running_var)
    assert torch.equal(ours[3].weight, own)
    assert len(notes) == 1
    assert "starts from it but for 3.weight, 3.bias" in notes[0]


def test_a_file_of_the_same_network_is_taken_whole_and_nothing_said(tmp_path):
    there, ours, notes = network(), network(), Notes()
    torch.save(there.state_dict(), tmp_path / "start.pth")
    load_start(ours, tmp_path / "start.pth", notes)
    assert not notes
    assert all(torch.equal(value, there.state_dict()[name]) for name, value in ours.state_dict().items())


def test_a_file_of_another_network_is_refused(tmp_path):
    torch.save(network(width=20).state_dict(), tmp_path / "start.pth")
    with pytest.raises(InputError, match=r"holds \d+ numbers? of this network, less than half"):
        load_start(network(), tmp_path / "start.pth")
