import pytest
import torch
from msgspec.structs import replace

from pdiff.common.config import PRESETS
from pdiff.common.errors import UsageError
from pdiff.tasks import BUILT_IN, load_task
from pdiff.tasks.backbones import BACKBONES
from pdiff.zoo import select_subset
from pdiff.zoo.recipes import SGD_FACTOR, Phase, recipe_for, row_for, rows


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_built_in_network_has_a_recipe(name):
    for arch in load_task(name).architectures:
        recipe = recipe_for(name, arch)
        assert recipe.epochs >= 1
        assert recipe.validation_samples >= 200


def test_the_bank_phase_depends_on_the_subset_and_obeys_the_caller():
    recipe = recipe_for("mnist1d", "convnet")
    assert recipe.bank_phase("all") == recipe.whole
    assert recipe.bank_phase("last-norms") == recipe.part
    assert recipe.bank_phase("all", "adam") == replace(recipe.whole, optimizer="adam")
    assert recipe.bank_phase("all", "sgd").lr == recipe.whole.lr * SGD_FACTOR
    assert recipe.bank_phase("all", "sgd", 0.5) == replace(recipe.whole, optimizer="sgd", lr=0.5)


@pytest.mark.parametrize(
    ("optimizer", "lr", "message"),
    [
        ("adamv", None, "unknown optimizer 'adamv'; did you mean 'adam"),
        (None, 0.0, "learning rate 0.0"),
        (None, -1.0, "learning rate -1.0"),
        (None, float("nan"), "learning rate nan"),
        (None, float("inf"), "learning rate inf"),
    ],
)
def test_phases_that_cannot_work_are_refused(optimizer, lr, message):
    with pytest.raises(UsageError, match=message):
        recipe_for("mnist1d", "convnet").bank_phase("all", optimizer, lr)


def test_a_task_of_ones_own_gets_the_small_recipe():
    recipe = recipe_for("mine.py:factory", "net")
    assert isinstance(recipe.converge, Phase)
    assert recipe.augment == "none"


def test_every_row_is_of_a_network_that_its_task_has():
    names = [row.name for row in rows()]
    assert len(set(names)) == len(names)
    for row in rows():
        task = load_task(row.task, **row.options)
        assert row.arch in task.architectures, row.name
        assert row.preset in PRESETS


def test_table_1_has_the_papers_36_rows():
    found = {(row.task, row.arch): row.published for row in rows() if row.table == "table1"}
    assert len(found) == 36
    assert found["cifar100", "resnet18"] == (77.4, 77.7, 77.9)
    assert found["imagenet", "convnext-base"] == (85.1, 85.3, 85.3)
    assert all(best < 100 for row in found.values() for best in row)


@pytest.mark.parametrize("arch", BACKBONES)
def test_subsets_of_the_large_networks_have_the_published_sizes(arch):
    (row,) = [row for row in rows() if row.name == f"cifar100/{arch}"]
    with torch.device("meta"):
        model = load_task(row.task, **row.options).build(arch)
    state = model.state_dict()
    assert sum(state[name].numel() for name in select_subset(model, row.subset)) == row.numbers


@pytest.mark.parametrize("row", [row for row in rows() if row.table == "minis"], ids=lambda row: row.name)
def test_the_small_networks_have_the_published_sizes(row):
    model = load_task(row.task, **row.options).build(row.arch)
    assert sum(parameter.numel() for parameter in model.parameters()) == row.numbers
    assert model.eval()(torch.zeros(2, 3, 64, 64)).shape == (2, 10)


def test_a_network_of_photographs_without_a_row_is_trained_as_on_others():
    row = row_for("cifar10", "resnet18")
    assert (row.recipe, row.subset, row.options, row.published) == (
        "pretrained",
        "last-norms:2",
        {"size": 224},
        None,
    )
    assert row_for("mine.py:factory", "resnet18").options == {}
