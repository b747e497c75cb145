"""Convolutions by products are those of torch."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from search_spaces import convolution
from search_spaces.convolution import convolve
from tests.strategies import PROPERTY

CHANNELS = 6


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[Tensor, Tensor, Tensor | None, tuple[int, int], tuple[int, int], int]:
    """Arguments of `convolve`, of images of a few pixels."""
    groups = draw(st.sampled_from((1, 2, CHANNELS)))
    size = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    padding = draw(st.tuples(st.integers(0, 3), st.integers(0, 3)))
    window = [draw(st.integers(1, min(5, length + 2 * pad))) for length, pad in zip(size, padding, strict=True)]
    stride = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    channels = draw(st.sampled_from((CHANNELS, 2 * CHANNELS)))

    def random(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True)

    bias = random(channels) if draw(st.booleans()) else None
    return random(2, CHANNELS, *size), random(channels, CHANNELS // groups, *window), bias, stride, padding, groups


@PROPERTY
@given(convolutions())
def test_values_and_gradients_are_those_of_torch(arguments):
    x, weight, bias, stride, padding, groups = arguments
    ours, theirs = convolve(*arguments), F.conv2d(x, weight, bias, stride, padding, groups=groups)
    assert ours.shape == theirs.shape
    torch.testing.assert_close(ours, theirs)
    towards = torch.linspace(-1, 1, ours.numel(), dtype=ours.dtype).view(ours.shape)
    learn = [tensor for tensor in (x, weight, bias) if tensor is not None]
    for one, other in zip(
        torch.autograd.grad(ours, learn, towards), torch.autograd.grad(theirs, learn, towards), strict=True
    ):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize(("size", "stride", "is_product"), [(1, 1, True), (2, 2, True), (2, 1, False), (4, 2, False)])
@pytest.mark.parametrize("groups", [1, CHANNELS])
def test_images_that_a_window_covers_are_no_convolutions(monkeypatch, size, stride, is_product, groups):
    called = []
    monkeypatch.setattr(convolution.F, "conv2d", lambda *args, **kwargs: called.append((args, kwargs)))
    x, weight = torch.zeros(2, CHANNELS, size, size), torch.zeros(CHANNELS, CHANNELS // groups, 3, 3)
    convolve(x, weight, None, (stride, stride), (1, 1), groups)
    assert bool(called) is not is_product
