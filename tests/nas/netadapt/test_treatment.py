"""What is done to a network before it is scored: a function of the seed and the number of steps, and of nothing else."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from nas.data import load_dataset
from nas.data_tensors import image_source
from nas.netadapt.treatment import Treatment, _drawn, treated
from nas.netadapt.weighted_network import WeightedNetwork
from search_spaces.arch_string import parse_arch
from search_spaces.lower import lower
from search_spaces.torch_module import build_module

ARCH = parse_arch("stem_k3_s22_o8 r1_k3_s11_e2_i8_o16 head_o16")
RESOLUTION = 8
TREATMENT = Treatment(batch_size=8, learning_rate=0.05, max_shift=1, flip=True, label_smoothing=0.1, recalibrates=True)
STATISTICS = ("running_mean", "running_var")


@pytest.fixture(scope="module")
def images():
    """Training images, and some of them for calibration."""
    digits = load_dataset("digits")
    training = image_source(digits, RESOLUTION, indices=np.arange(40))
    return training, training.select(torch.arange(16))


@pytest.fixture(scope="module")
def network():
    return WeightedNetwork.of(ARCH, build_module(lower(ARCH, RESOLUTION, 10), seed=0))


def after(network, images, num_steps=2, seed=0, treatment=TREATMENT):
    return treated(network, *images, treatment, num_steps, seed).state_dict()


def same(a, b, of=lambda name: True):
    names = [name for name in a if of(name)]
    assert names
    return all(torch.equal(a[name], b[name]) for name in names)


def is_statistic(name):
    return name.endswith(STATISTICS)


def is_weight(name):
    return not name.endswith((*STATISTICS, "num_batches_tracked"))


def test_the_same_again_whatever_else_was_drawn(network, images):
    torch.manual_seed(1)
    first = after(network, images)
    torch.manual_seed(2)
    before = torch.get_rng_state()
    assert same(after(network, images), first)
    assert torch.equal(torch.get_rng_state(), before)


def test_other_seeds_train_otherwise(network, images):
    assert not same(after(network, images, seed=0), after(network, images, seed=1), is_weight)


def test_the_network_stays_as_it_is(network, images):
    before = {name: tensor.clone() for name, tensor in network.state.items()}
    module = treated(network, *images, TREATMENT, 2, 0)
    assert same(dict(network.state), before)
    assert not same(module.state_dict(), before, is_weight)
    assert not module.training


def test_without_steps_only_statistics_change(network, images):
    found = after(network, images, num_steps=0)
    assert same(found, dict(network.state), is_weight)
    assert not same(found, dict(network.state), is_statistic)
    assert same(found, after(network, images, num_steps=0, seed=7))


def test_without_steps_and_recalibration_nothing_changes(network, images):
    untouched = replace(TREATMENT, recalibrates=False)
    assert same(after(network, images, 0, treatment=untouched), dict(network.state))


def test_recalibrated_statistics_are_those_of_the_calibrating_images(network, images):
    training, _ = images
    kept = after(network, images, treatment=replace(TREATMENT, recalibrates=False))
    anew = after(network, images)
    assert same(kept, anew, is_weight)
    assert not same(kept, anew, is_statistic)
    other = after(network, (training, training.select(torch.arange(16, 32))))
    assert same(other, anew, is_weight)
    assert not same(other, anew, is_statistic)


def test_with_recalibration_the_statistics_before_do_not_matter(network, images):
    moved = {name: tensor + 3.0 if is_statistic(name) else tensor for name, tensor in network.state.items()}
    assert same(
        after(replace_state(network, moved), images, num_steps=0), after(network, images, num_steps=0), is_statistic
    )


def replace_state(network, state):
    return WeightedNetwork(network.arch, network.resolution, network.num_classes, state)


def test_more_images_a_step_than_there_are(network, images):
    """All of them then, in as many steps as asked for."""
    training, calibration = images
    few = training.select(torch.arange(8))
    assert same(
        after(network, (few, calibration), 3, treatment=replace(TREATMENT, batch_size=512)),
        after(network, (few, calibration), 3, treatment=replace(TREATMENT, batch_size=8)),
    )


@pytest.mark.parametrize("num_wanted", [1, 9, 10, 11, 35])
def test_each_image_is_drawn_as_often_as_any_other(num_wanted):
    found = _drawn(10, num_wanted, seed=3).tolist()
    assert len(found) == num_wanted
    counts = [Counter(found)[number] for number in range(10)]
    assert max(counts) - min(counts) <= 1


def test_longer_trainings_see_what_shorter_ones_saw_first():
    longest = _drawn(10, 35, seed=3).tolist()
    for num_wanted in (1, 8, 16, 24):
        assert _drawn(10, num_wanted, seed=3).tolist() == longest[:num_wanted]
    assert _drawn(10, 35, seed=4).tolist() != longest
