import math
from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.config import TrainingSection
from nas.training_recipe import TrainingRecipe, bn_momentum, published_recipe, short_recipe
from search_spaces.arch_string import parse_arch
from search_spaces.zoo import ZOO, PublishedTraining, get
from tests.strategies import PROPERTY

PLAIN = parse_arch("r1_k3_s11_e1_i32_o16_noskip")


def test_a_recipe_s_section_has_its_keys_and_defaults():
    assert TrainingRecipe(**TrainingSection().model_dump()) == TrainingRecipe()
    assert list(TrainingSection.model_fields) == [field.name for field in fields(TrainingRecipe)]


def test_staircase():
    """0.97 every 2.4 epochs (arXiv 1807.11626, section 5); 2.4 epochs of 5 steps are 12 steps, though not in binary."""
    recipe = TrainingRecipe(schedule="exponential", learning_rate=0.5, warmup_epochs=0.0)
    rates = [recipe.learning_rate_at(step, 5) for step in range(60)]
    assert rates == pytest.approx([0.5 * 0.97 ** (step // 12) for step in range(60)])
    assert len(set(rates)) == 5


def test_the_stairs_do_not_wait_for_the_warm_up():
    recipe = TrainingRecipe(
        schedule="exponential", learning_rate=1.0, warmup_epochs=2.0, decay_factor=0.5, decay_epochs=1.5
    )
    rates = [recipe.learning_rate_at(step, 2) for step in range(9)]
    assert rates == pytest.approx([0.25, 0.5, 0.75, 1.0, 0.5, 0.5, 0.25, 0.25, 0.25])


@PROPERTY
@given(st.floats(0.1, 1), st.floats(0.1, 8), st.integers(1, 60), st.integers(0, 3000))
def test_each_stair_is_the_factor_lower(factor, decay_epochs, steps_per_epoch, step):
    recipe = TrainingRecipe(
        schedule="exponential", decay_factor=factor, decay_epochs=decay_epochs, warmup_epochs=0.0, learning_rate=1.0
    )
    rate = recipe.learning_rate_at(step, steps_per_epoch)
    stairs = step / (decay_epochs * steps_per_epoch)
    wanted = {factor ** math.floor(stairs), factor ** round(stairs)}  # a step at the edge may fall on either side
    assert any(rate == pytest.approx(value) for value in wanted)


def test_the_short_recipe_is_the_search_s():
    assert short_recipe(PLAIN, None) == TrainingRecipe()
    assert short_recipe(PLAIN, None, batch_size=16) == TrainingRecipe(batch_size=16, learning_rate=0.025)


def test_what_belongs_to_a_network_holds_under_both_recipes():
    for recipe in (short_recipe(get("inception_v3"), ZOO["inception_v3"].training), published("inception_v3")):
        assert recipe.label_smoothing == 0.1  # arXiv 1512.00567, section 7
        assert recipe.decays_depthwise
    for recipe in (short_recipe(get("mobilenet_v1"), ZOO["mobilenet_v1"].training), published("mobilenet_v1")):
        assert recipe.label_smoothing == 0.0
        assert not recipe.decays_depthwise  # arXiv 1704.04861, section 3.2


def published(name, batch_size=None):
    return published_recipe(ZOO[name].training, batch_size)


def test_a_network_without_bn_needs_a_lower_learning_rate():
    assert get("googlenet").norm is None
    assert short_recipe(get("googlenet"), None).learning_rate <= 0.1 * short_recipe(PLAIN, None).learning_rate


def test_published_recipes():
    v3 = published("mobilenet_v3_large", batch_size=4096)  # arXiv 1905.02244, section 6.1
    assert (v3.optimizer, v3.learning_rate, v3.momentum, v3.weight_decay) == ("rmsprop", 0.1, 0.9, 1e-5)
    assert (v3.schedule, v3.decay_factor, v3.decay_epochs, v3.ema_decay) == ("exponential", 0.99, 3.0, 0.9999)
    resnet = published("resnet50")  # arXiv 1512.03385, section 3.4, at a quarter of its batch size
    assert (resnet.optimizer, resnet.batch_size, resnet.learning_rate) == ("sgd", 64, 0.025)
    assert (resnet.decay_factor, resnet.decay_epochs, resnet.weight_decay) == (0.1, 30.0, 1e-4)
    mnasnet = published("mnasnet_a1", batch_size=256)  # arXiv 1807.11626, section 5
    assert (mnasnet.learning_rate, mnasnet.warmup_epochs) == (0.016, 5.0)
    assert mnasnet.rmsprop_epsilon == 0.001  # tensorflow/tpu `mnasnet_utils.py: build_optimizer`
    inception = published("inception_v3", batch_size=32)  # arXiv 1512.00567, section 8
    assert (inception.learning_rate, inception.rmsprop_epsilon, inception.clip_norm) == (0.045, 1.0, 2.0)


@pytest.mark.parametrize("name", ZOO)
def test_every_network_has_a_published_recipe_that_a_run_can_hold(name):
    recipe = published(name)
    assert recipe.learning_rate > 0
    section = TrainingSection(**{field.name: getattr(recipe, field.name) for field in fields(TrainingRecipe)})
    assert TrainingRecipe(**section.model_dump()) == recipe


def test_no_published_learning_rate():
    with pytest.raises(ValueError, match="the paper gives no learning rate"):
        published_recipe(PublishedTraining(source="the paper"))


def test_bn_remembers_at_most_a_tenth_of_the_training():
    v3 = ZOO["inception_v3"].training
    assert v3.bn_momentum == 0.0003
    assert bn_momentum(v3, 10**6) == 0.0003  # as published, where the training is long
    assert bn_momentum(v3, 1000) == 0.01
    assert bn_momentum(v3, 50) == 0.1  # torch's own
    assert bn_momentum(None, 10**6) == 0.1


@PROPERTY
@given(st.floats(1e-4, 0.1), st.integers(1, 10**7))
def test_bn_momentum_lies_between_the_published_and_torch_s(momentum, num_steps):
    found = bn_momentum(PublishedTraining(source="", bn_momentum=momentum), num_steps)
    assert momentum <= found <= 0.1
    assert found == momentum or found == pytest.approx(min(0.1, 10 / num_steps))
