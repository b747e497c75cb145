"""Outcomes image by image, and the interval of a paired difference against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from nas.image_set import ImageSet
from nas.netadapt import outcomes as outcomes_module
from nas.netadapt.outcomes import outcomes, paired
from nas.training import num_correct
from search_spaces.arch_string import parse_arch
from search_spaces.lower import lower
from search_spaces.torch_module import build_module
from tests.strategies import PROPERTY

ARCH = parse_arch("stem_k3_s22_o8 r1_k3_s22_x16_i8_o16 head_o16_d0.5")


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (23, 3, 16, 16), dtype=torch.uint8, generator=generator)
    return ImageSet(pixels, torch.randint(5, (23,), generator=generator), (0.4, 0.5, 0.6), (0.2, 0.25, 0.3))


@pytest.fixture
def module():
    module = build_module(lower(ARCH, 16, 5), 0)
    with torch.no_grad():
        module.get_submodule("classifier").linear.weight.mul_(100)  # so that some are sure of their class
    return module.train()


def test_one_number_an_image_in_their_order(module, images, monkeypatch):
    monkeypatch.setattr(outcomes_module, "EVALUATION_BATCH", 10)
    right = outcomes(module, images, "accuracy")
    probability = outcomes(module, images, "probability")

    assert not module.training
    with torch.no_grad():
        logits = module(images.normalised(images.images)).double().numpy()
    labels = images.labels.numpy()
    assert right.dtype == probability.dtype == np.float64
    assert np.array_equal(right, logits.argmax(1) == labels)
    assert right.sum() == num_correct(module, images)
    assert 0 < right.sum() < len(images)
    exponentials = np.exp(logits - logits.max(1, keepdims=True))
    expected = exponentials[np.arange(23), labels] / exponentials.sum(1)
    np.testing.assert_allclose(probability, expected, rtol=1e-4)
    assert np.ptp(probability) > 0.1


def test_no_images_have_no_outcomes(module, images):
    none = images.select(torch.arange(0))
    assert outcomes(module, none, "accuracy").shape == (0,)


def test_the_interval_of_right_and_wrong_is_that_of_mcnemar():
    """Of n images, b right by one network alone and c by the other alone: variance (b + c - (b - c)^2 / n) / (n (n - 1))."""
    n, b, c = 200, 14, 5
    one, other = np.ones(n), np.ones(n)
    other[:b] = 0
    one[b : b + c] = 0
    difference = paired(one, other)
    assert difference.mean == pytest.approx((b - c) / n, rel=1e-12)
    variance = (b + c - (b - c) ** 2 / n) / (n * (n - 1))
    assert difference.half_width == pytest.approx(stats.norm.ppf(0.975) * variance**0.5, rel=1e-12)
    assert paired(one, other).excludes_zero  # 0.045 and 0.0425
    one[b + c] = 0
    assert not paired(one, other).excludes_zero  # 0.04 and 0.0436


def test_what_all_images_have_in_common_is_no_luck():
    one = np.linspace(0, 1, 9)
    assert paired(one, one) == outcomes_module.PairedDifference(0.0, 0.0)
    assert not paired(one, one).excludes_zero
    assert paired(np.full(9, 0.5), np.full(9, 0.25)).excludes_zero


@PROPERTY
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=30))
def test_the_other_way_round_is_the_same_interval_mirrored(pairs):
    one, other = np.array(pairs).T
    there, back = paired(one, other), paired(other, one)
    assert (there.mean, there.half_width) == (-back.mean, back.half_width)
    assert there.excludes_zero == back.excludes_zero
    t = stats.ttest_rel(one, other).statistic if there.half_width > 1e-9 else None
    if t is not None:
        assert there.mean / there.half_width * stats.norm.ppf(0.975) == pytest.approx(t, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize(("a", "b"), [(3, 2), (1, 1), (0, 0)])
def test_only_outcomes_of_the_same_images_can_be_paired(a, b):
    with pytest.raises(ValueError, match="of the same images, 2 or more"):
        paired(np.zeros(a), np.zeros(b))
