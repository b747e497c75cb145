"""A narrower network computes what the wider one does whose lost channels are zero; kept are the strongest channels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from search_spaces.arch import ArchSpec
from search_spaces.arch_string import parse_arch
from search_spaces.edits import one_layer_blocks
from search_spaces.graph import Conv, Graph, Linear
from search_spaces.lower import lower
from search_spaces.narrowing import StructureError, narrowed
from search_spaces.slicing import filter_norms, kept_channels, sliced_state
from search_spaces.torch_module import GraphModule, build_module
from search_spaces.width_groups import ALL_KINDS, width_groups
from tests.strategies import PROPERTY, sized_archs

NUM_CLASSES = 3
EXAMPLES = settings(PROPERTY, max_examples=25)


def lively(graph: Graph, seed: int = 0) -> GraphModule:
    """A module in double precision whose every tensor is random, statistics included."""
    module = build_module(graph, seed).double().eval()
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in module.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 2.0, generator=generator)
        elif tensor.is_floating_point() and tensor.ndim == 1:
            tensor.normal_(generator=generator)
    return module


def images(resolution: int) -> torch.Tensor:
    return torch.randn(2, 3, resolution, resolution, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def outputs(module: GraphModule, x: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return torch.stack(module.outputs(x))


def silence(module: GraphModule, kept: dict[str, np.ndarray]) -> None:
    """Make the channels that are not kept zero wherever they are: weights, biases, gamma and beta."""
    state, channels = module.state_dict(), width_groups(module.graph)
    for group in channels.groups:
        lost = [group.channels[i] for i in np.setdiff1d(np.arange(group.width), kept[group.name])]
        for name in group.members:
            rows = np.flatnonzero(np.isin(channels.of[name], lost))
            for leaf in ("conv.weight", "conv.bias", "norm.weight", "norm.bias", "linear.weight", "linear.bias"):
                if f"{name}.{leaf}" in state:
                    state[f"{name}.{leaf}"][rows] = 0


@st.composite
def narrowings(draw: st.DrawFn) -> tuple[ArchSpec, ArchSpec, int]:
    """A network, it with some widths drawn anew, a resolution for both."""
    arch, resolution = draw(sized_archs(max_width=12, max_blocks=4, span=8))
    arch = one_layer_blocks(arch)
    groups = width_groups(lower(arch, resolution, NUM_CLASSES)).groups
    narrow = arch
    for group in groups:
        if group.kind in ALL_KINDS and group.width > 2 and draw(st.booleans()):
            try:
                narrow = narrowed(
                    narrow,
                    width_groups(lower(narrow, resolution, NUM_CLASSES)).groups,
                    {group.name: draw(st.integers(2, group.width))},
                )
            except StructureError:
                continue
    wide_units, units = lower(arch, resolution, NUM_CLASSES), lower(narrow, resolution, NUM_CLASSES)
    assume(all(a.shape[0] == 1 or b.shape[0] > 1 for a, b in zip(wide_units.ops, units.ops, strict=True)))
    return arch, narrow, resolution


@EXAMPLES
@given(narrowings(), st.integers(0, 2**16))
def test_a_slice_computes_what_the_network_with_the_others_silenced_does(case, seed):
    arch, narrow_arch, resolution = case
    wide, narrow = (lower(a, resolution, NUM_CLASSES, training=True) for a in (arch, narrow_arch))
    rng = np.random.default_rng(seed)
    pairs = zip(width_groups(wide).groups, width_groups(narrow).groups, strict=True)
    kept = {a.name: np.sort(rng.permutation(a.width)[: b.width]) for a, b in pairs}
    module = lively(wide)
    silence(module, kept)
    small = GraphModule(narrow).double().eval()
    small.load_state_dict(sliced_state(wide, module.state_dict(), narrow, kept))
    x = images(resolution)
    torch.testing.assert_close(outputs(small, x), outputs(module, x), rtol=1e-9, atol=1e-9)


@EXAMPLES
@given(sized_archs(max_width=12, max_blocks=3, span=8))
def test_keeping_all_is_the_identity_also_under_other_names(case):
    arch, resolution = case
    wide, flat = (lower(a, resolution, NUM_CLASSES, training=True) for a in (arch, one_layer_blocks(arch)))
    module = lively(wide)
    kept = kept_channels(wide, module.state_dict(), flat)
    renamed = sliced_state(wide, module.state_dict(), flat, kept)
    same = GraphModule(flat).double().eval()
    same.load_state_dict(renamed)
    for before, after in zip(module.state_dict().values(), same.state_dict().values(), strict=True):
        assert torch.equal(before, after)


ARCH = parse_arch("stem_k3_s22_o8 r1_k3_s11_e1_i8_o8 r1_k3_s22_e2_i8_o16_se0.5 r1_k3_s11_x24_i16_o16 head_o8")


def groups_and_state():
    wide = lower(ARCH, 8, NUM_CLASSES)
    return wide, width_groups(wide), lively(wide).state_dict()


def test_norms_are_sums_over_what_makes_the_channels():
    wide, channels, state = groups_and_state()
    norms = filter_norms(wide, channels, state)
    stem = sum(state[f"{n}.conv.weight"].flatten(1).norm(dim=1) for n in ("stem", "b1.l1.depthwise", "b1.l1.project"))
    torch.testing.assert_close(norms["stem"], stem)  # the first layer's skip ties it to the stem
    gated = sum(state[f"b2.l1.{n}.conv.weight"].flatten(1).norm(dim=1) for n in ("expand", "depthwise"))
    torch.testing.assert_close(norms["b2.l1.expand"], gated)  # without b2.l1.se.gate


def test_the_strongest_are_kept_in_order_and_of_equal_ones_the_first():
    wide, channels, state = groups_and_state()
    for name in ("b2.l1.project", "b3.l1.project"):
        state[f"{name}.conv.weight"][:] = 1.0
        state[f"{name}.conv.weight"][[3, 11]] = 2.0
    narrow = lower(narrowed(ARCH, channels.groups, {"b2.l1.project": 8}), 8, NUM_CLASSES)
    kept = kept_channels(wide, state, narrow)
    assert kept["b2.l1.project"].tolist() == [0, 1, 2, 3, 4, 5, 6, 11]
    assert kept["b3.l1.expand"].tolist() == list(range(24))
    sliced = sliced_state(wide, state, narrow, kept)
    for name in ("b2.l1.project", "b3.l1.project"):  # one index set for all members
        assert torch.equal(sliced[f"{name}.norm.running_var"], state[f"{name}.norm.running_var"][kept["b2.l1.project"]])
    head = state["head.conv.conv.weight"]
    assert torch.equal(sliced["head.conv.conv.weight"], head[:, kept["b2.l1.project"]])


def test_the_squeezed_width_follows_the_rule():
    wide, channels, state = groups_and_state()
    narrow = lower(narrowed(ARCH, channels.groups, {"stem": 6}), 8, NUM_CLASSES)
    kept = kept_channels(wide, state, narrow)  # half of the layer's input channels
    assert (channels.groups[2].name, channels.groups[2].width, len(kept["b2.l1.se.reduce"])) == (
        "b2.l1.se.reduce",
        4,
        3,
    )


def test_every_tensor_is_cut():
    wide, channels, state = groups_and_state()
    widths = {"stem": 4, "b2.l1.expand": 8, "b2.l1.project": 8, "b3.l1.expand": 16, "head.conv": 4}
    narrow = lower(narrowed(ARCH, channels.groups, widths), 8, NUM_CLASSES)
    sliced = sliced_state(wide, state, narrow, kept_channels(wide, state, narrow))
    shapes = {name: tensor.shape for name, tensor in GraphModule(narrow).state_dict().items()}
    assert {name: tensor.shape for name, tensor in sliced.items()} == shapes
    assert {type(op) for op in wide.ops} >= {Conv, Linear}


def test_a_wider_or_another_network_is_refused():
    wide, channels, state = groups_and_state()
    narrow = lower(narrowed(ARCH, channels.groups, {"b2.l1.expand": 8 + 4}), 8, NUM_CLASSES)
    with pytest.raises(ValueError, match=r"b2\.l1\.expand: 12 channels become 16"):
        kept_channels(narrow, state, wide)
    other = lower(parse_arch("stem_k3_s22_o8 r1_k3_s11_e1_i8_o8 head_o8"), 8, NUM_CLASSES)
    with pytest.raises(ValueError, match="other operations"):
        sliced_state(wide, state, other, {})
    with pytest.raises(ValueError, match=r"b2\.l1\.expand: 3 channels are kept, b2\.l1\.expand has 12"):
        sliced_state(wide, state, narrow, {"b2.l1.expand": np.arange(3)})
