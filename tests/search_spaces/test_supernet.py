"""A supernet's candidates are the networks that they say they are, over weights that they share as announced."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from torch import nn

from search_spaces.arch import Head, Stem
from search_spaces.chain import ChainLayout, LayerOp, Place, chain_space
from search_spaces.sharing import Sharing
from search_spaces.stages import StageLayout, StageOptions, stage_space
from search_spaces.supernet import Supernet
from search_spaces.torch_module import GraphModule, build_module
from tests.strategies import PROPERTY, choices_of

STAGES = stage_space(
    "stages",
    StageLayout(
        stages=(
            StageOptions(filters=(8, 12), expand=(1, 3), kernel=(3, 5), layers=(1, 2), se=(0.0, 0.25)),
            StageOptions(filters=(16, 24), expand=(2, 4), layers=(1, 2), skip=("identity", "pool", "none"), stride=2),
        ),
        stem=Stem(8),
        head=Head(32, hidden=16),
    ),
)
CHAIN = chain_space(
    "chain",
    ChainLayout(
        ops={"none": None, "conv": LayerOp(op="conv"), "e2": LayerOp(expand=2), "e4": LayerOp(expand=4, kernel=5)},
        places=(Place(filters=8, stride=2, ops=("conv", "e2")), *(Place(filters=8, ops=("none", "e2", "e4")),) * 3),
        stem=Stem(8, stride=1),
        head=Head(None),
    ),
)
IMAGES = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def supernet() -> Supernet:
    return Supernet(STAGES, 16, 5)


def alone(supernet: Supernet, choices) -> GraphModule:
    """The candidate as a network of its own, as training sees it but without dropout."""
    path = supernet.path(choices)
    module = build_module(path.graph, seed=1)
    found = module.load_state_dict(path.state(), strict=False)
    assert not found.unexpected_keys
    assert all("running" in name or "tracked" in name for name in found.missing_keys)
    for part in module.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
    return module.train()


@settings(PROPERTY, max_examples=40)
@given(choices_of(STAGES))
def test_a_candidate_computes_what_its_network_computes_with_its_weights(supernet, choices):
    torch.testing.assert_close(supernet.path(choices)(IMAGES), alone(supernet, choices)(IMAGES))


@pytest.mark.parametrize("sharing", get_args(Sharing))
@pytest.mark.parametrize("space", [STAGES, CHAIN], ids=lambda space: space.name)
def test_every_sharing_serves_every_candidate(space, sharing):
    supernet = Supernet(space, 16, 5, sharing)
    rng = np.random.default_rng(0)

    for _ in range(20):
        choices = space.sample(rng)
        torch.testing.assert_close(supernet.path(choices)(IMAGES), alone(supernet, choices)(IMAGES))


def largest(space):
    return {choice.name: choice.options[-1] for choice in space.choices} | (
        {"b2.skip": "identity"} if space is STAGES else {}
    )


def shared(supernet: Supernet, name: str, *pairs: tuple[str, object]) -> bool:
    """Whether an operation has weights in common in two candidates that differ in these choices."""
    full = largest(supernet.space)
    one, other = supernet.path(full), supernet.path({**full, **dict(pairs)})
    return one.weights[name] is other.weights[name]


@pytest.mark.parametrize(
    ("sharing", "windows", "kernels", "expansions"),
    [
        ("nested", True, True, True),
        ("sliced", False, True, True),
        ("kernel", False, False, True),
        ("op", False, False, False),
    ],
)
def test_what_is_shared_is_what_the_sharing_says(sharing, windows, kernels, expansions):
    supernet = Supernet(STAGES, 16, 5, sharing)

    assert shared(supernet, "b1.l1.project", ("b1.kernel", 3)) == kernels
    assert shared(supernet, "b2.l1.project", ("b2.expand", 2)) == expansions
    assert shared(supernet, "b2.l1.expand", ("b2.filters", 16))
    assert shared(supernet, "b1.l1.depthwise", ("b1.kernel", 3)) == windows


def test_a_small_window_is_the_middle_of_the_large_one():
    supernet = Supernet(STAGES, 16, 5, "nested")
    large = largest(STAGES)

    windows = [
        supernet.path({**large, "b1.kernel": kernel}).state()["b1.l1.depthwise.conv.weight"] for kernel in (3, 5)
    ]

    assert torch.equal(windows[0], windows[1][:, :, 1:4, 1:4])


def test_a_narrow_candidate_takes_the_first_channels(supernet):
    wide = largest(STAGES)
    narrow = supernet.path({**wide, "b2.expand": 2, "b2.filters": 16}).state()

    full = supernet.path(wide).state()

    assert torch.equal(narrow["b2.l1.project.conv.weight"], full["b2.l1.project.conv.weight"][:16, :24])
    assert torch.equal(narrow["b2.l1.depthwise.norm.weight"], full["b2.l1.depthwise.norm.weight"][:24])


def test_only_what_a_candidate_takes_gets_gradients():
    supernet = Supernet(STAGES, 16, 5)
    path = supernet.path({**largest(STAGES), "b2.expand": 2})

    path(IMAGES).square().sum().backward()

    gradient = path.weights["b2.l1.expand"].conv.weight.grad
    assert gradient[:24].abs().sum() > 0
    assert gradient[24:].abs().sum() == 0
    assert supernet.path({**largest(STAGES), "b1.kernel": 3}).weights["b1.l1.depthwise"].conv.weight.grad is None


def test_a_layer_that_moves_up_keeps_the_weights_of_its_place():
    supernet = Supernet(CHAIN, 16, 5)
    path = supernet.path({"l1": "e2", "l2": "none", "l3": "none", "l4": "e4"})

    assert path.weights["b2.l1.project"] is supernet.get_submodule("b4.l1.mbconv.project")


def test_initial_weights_are_a_function_of_the_seed_alone():
    state = torch.random.get_rng_state()

    one, same, other = (Supernet(CHAIN, 16, 5, seed=seed).state_dict() for seed in (0, 0, 1))

    assert torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["stem.window3x3.conv.weight"], other["stem.window3x3.conv.weight"])


def test_choices_of_another_space_are_refused(supernet):
    with pytest.raises(ValueError, match="unknown choices"):
        supernet.path({"l1": "e2"})
