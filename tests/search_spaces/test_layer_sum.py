"""Sums over layers are those over the whole graph, and every layer is looked at once."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings

from search_spaces.arch import Norm
from search_spaces.arch_string import parse_arch
from search_spaces.count import count, op_params
from search_spaces.edits import one_layer_blocks
from search_spaces.layer_sum import LayerSum
from search_spaces.lower import lower
from tests.strategies import PROPERTY, sized_archs


@settings(PROPERTY, max_examples=30)
@given(sized_archs(max_width=20, span=4))
def test_the_sum_is_that_of_the_whole_graph(case):
    arch, resolution = case
    params = LayerSum(lambda graph: sum(map(op_params, graph.ops)), resolution, 7)
    expected = count(lower(arch, resolution, 7)).params
    assert params(arch) == params(one_layer_blocks(arch)) == expected
    other = replace(arch, norm=None if arch.norm else Norm())  # biases in the place of gamma and beta
    assert params(other) == count(lower(other, resolution, 7)).params


def test_each_layer_is_looked_at_once():
    seen = []

    def look(graph):
        seen.append([op.name for op in graph.ops])
        return 1.0

    arch = parse_arch("r1_k3_s11_e2_i32_o16 r1_k3_s11_e2_i16_o16 r1_k3_s11_e2_i16_o16")
    layers = LayerSum(look, 32, 10)
    assert [layers(arch), layers(arch)] == [5.0, 5.0]
    assert [names[0] for names in seen] == ["stem", "b1.l1.expand", "b2.l1.expand", "head.conv"]
