from dataclasses import replace

import pytest

from pdiff.common.errors import UsageError
from pdiff.tasks import BUILT_IN, load_task
from pdiff.zoo.recipes import SGD_FACTOR, Phase, recipe_for


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
    assert not recipe.augment
