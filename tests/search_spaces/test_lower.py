"""The one walk: which operations a spec becomes, in which order, and how their shapes chain."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_spaces import zoo
from search_spaces.arch_string import parse_arch
from search_spaces.graph import INPUT, Add, AveragePool, Conv, GlobalPool, Linear, Scale
from search_spaces.lower import lower
from tests.strategies import PROPERTY, archs


def ops_of(text, resolution=32):
    return {op.name: op for op in lower(parse_arch(text), resolution, 10).ops}


def halved(size, stride):
    return -(-size // stride)


def assert_conv_chains(op, source):
    channels, height, width = source
    assert op.in_channels == channels
    assert op.shape[1:] == (halved(height, op.stride), halved(width, op.stride))
    assert op.groups in (1, op.in_channels)
    assert op.groups == 1 or op.shape[0] == op.in_channels
    assert op.bias != op.norm


def assert_chains(op, sources):
    match op:
        case Conv():
            assert_conv_chains(op, *sources)
        case AveragePool():
            channels, height, width = sources[0]
            assert op.shape == (channels, halved(height, op.stride), halved(width, op.stride))
        case GlobalPool():
            assert op.shape == (sources[0][0], 1, 1)
        case Scale():
            assert op.shape == sources[0]
            assert sources[1] == (op.shape[0], 1, 1)
        case Add():
            assert sources == [op.shape, op.shape]
        case Linear():
            assert sources == [(op.in_features, 1, 1)]
        case _:
            pytest.fail(f"unknown operation {op}")


@PROPERTY
@given(archs(), st.integers(1, 67))
def test_shapes_chain_and_names_are_unique(arch, resolution):
    graph = lower(arch, resolution, 10)
    shapes = {INPUT: graph.input_shape}
    assert graph.input_shape == (3, resolution, resolution)
    for op in graph.ops:
        assert op.name not in shapes
        assert_chains(op, [shapes[name] for name in op.inputs])  # KeyError: an input that comes later or never
        shapes[op.name] = op.shape
    assert (graph.ops[-1].name, graph.ops[-1].shape) == ("classifier", (10, 1, 1))
    used = {name for op in graph.ops for name in op.inputs}
    assert set(shapes) - used == {"classifier"}


def test_operations_of_an_inverted_residual_with_se():
    ops = ops_of("r2_k5_s22_e6_i32_o16_se0.25")
    layer = ["expand", "depthwise", "se.pool", "se.reduce", "se.gate", "se.scale", "project"]
    assert list(ops) == [
        "stem",
        *(f"b1.l1.{name}" for name in layer),
        *(f"b1.l2.{name}" for name in layer),
        "b1.l2.add",
        "head.conv",
        "head.pool",
        "classifier",
    ]
    expand, depthwise, project = (ops[f"b1.l1.{name}"] for name in ("expand", "depthwise", "project"))
    assert (expand.kernel, expand.stride, expand.groups, expand.shape) == (1, 1, 1, (192, 16, 16))
    assert (depthwise.kernel, depthwise.stride, depthwise.groups, depthwise.shape) == (5, 2, 192, (192, 8, 8))
    assert (project.kernel, project.stride, project.groups, project.shape) == (1, 1, 1, (16, 8, 8))
    assert [op.activation for op in (expand, depthwise, project)] == ["relu", "relu", "none"]


def test_squeeze_excite_gates_the_depthwise_output():
    ops = ops_of("r1_k3_s11_e3_i32_o16_hse0.25_hswish")
    pool, reduce, gate, scale = (ops[f"b1.l1.se.{name}"] for name in ("pool", "reduce", "gate", "scale"))
    assert pool.inputs == ("b1.l1.depthwise",)
    assert ops["b1.l1.depthwise"].activation == "hswish"
    assert (reduce.inputs, reduce.shape, reduce.activation) == (("b1.l1.se.pool",), (24, 1, 1), "relu")
    assert (gate.inputs, gate.shape, gate.activation) == (("b1.l1.se.reduce",), (96, 1, 1), "hsigmoid")
    assert (reduce.bias, reduce.norm, gate.bias, gate.norm) == (True, False, True, False)
    assert scale.inputs == ("b1.l1.depthwise", "b1.l1.se.gate")
    assert ops["b1.l1.project"].inputs == ("b1.l1.se.scale",)


def test_plain_convolution_squeezes_after_its_activation():
    ops = ops_of("r2_k3_s22_conv_i32_o16_se0.25_relu6")
    assert list(ops)[1:6] == ["b1.l1.conv", "b1.l1.se.pool", "b1.l1.se.reduce", "b1.l1.se.gate", "b1.l1.se.scale"]
    assert (ops["b1.l1.conv"].activation, ops["b1.l1.conv"].stride, ops["b1.l1.conv"].groups) == ("relu6", 2, 1)
    assert ops["b1.l1.se.scale"].inputs == ("b1.l1.conv", "b1.l1.se.gate")
    assert ops["b1.l2.conv"].inputs == ("b1.l1.se.scale",)
    assert ops["b1.l2.add"].inputs == ("b1.l2.se.scale", "b1.l1.se.scale")


@PROPERTY
@given(archs(max_width=64))
def test_projections_are_linear_and_skips_add_the_layer_input(arch):
    ops = {op.name: op for op in lower(arch, 16, 10).ops}
    output = "stem"
    for b, block in enumerate(arch.blocks, start=1):
        for i, layer in enumerate(block.layers(), start=1):
            name, block_input = f"b{b}.l{i}", output
            main = f"{name}.project" if block.op == "mbconv" else f"{name}.se.scale" if block.se else f"{name}.conv"
            if block.op == "mbconv":
                assert ops[main].activation == "none"
                assert (f"{name}.expand" in ops) == (layer.expanded_channels != layer.in_channels)
                assert f"{name}.se.scale" not in ops or ops[main].inputs == (f"{name}.se.scale",)
            assert (f"{name}.add" in ops) == (layer.skip != "none")
            assert (f"{name}.pool" in ops) == (layer.skip == "pool")
            if layer.skip == "identity":
                assert (layer.stride, layer.in_channels) == (1, layer.out_channels)
                assert ops[f"{name}.add"].inputs == (main, block_input)
            if layer.skip == "pool":
                assert ops[f"{name}.pool"].inputs == (block_input,)
                assert ops[f"{name}.add"].inputs == (main, f"{name}.pool")
            output = main if layer.skip == "none" else f"{name}.add"
    assert ops["head.conv"].inputs == (output,)


def test_pool_skip_has_the_stride_of_the_layer():
    ops = ops_of("r2_k3_s22_e1_i32_o32_poolskip", resolution=34)  # 17 behind the stem
    first, second = ops["b1.l1.pool"], ops["b1.l2.pool"]
    assert (first.kernel, first.stride, first.shape) == (3, 2, (32, 9, 9))
    assert (second.kernel, second.stride, second.shape) == (3, 1, (32, 9, 9))
    assert ops["b1.l1.add"].inputs == ("b1.l1.project", "b1.l1.pool")


@pytest.mark.parametrize(("resolution", "sides"), [(224, [112, 56, 28, 14, 7]), (97, [49, 25, 13, 7, 4]), (1, [1] * 5)])
def test_strides_keep_the_ceiling(resolution, sides):
    ops = lower(zoo.get("mnasnet_a1"), resolution, 1000).ops
    seen = [op.shape[1] for op in ops if isinstance(op, Conv) and op.stride == 2]
    assert seen == sides


def test_head_with_hidden_layer():
    ops = list(lower(zoo.get("mobilenet_v3_large"), 224, 1000).ops)[-4:]
    assert [op.name for op in ops] == ["head.conv", "head.pool", "head.hidden", "classifier"]
    assert [op.shape for op in ops] == [(960, 7, 7), (960, 1, 1), (1280, 1, 1), (1000, 1, 1)]
    assert (ops[2].activation, ops[2].bias, ops[2].norm) == ("hswish", True, False)
    assert (ops[3].in_features, ops[3].dropout) == (1280, 0.2)


def test_two_blocks_are_the_same_graph_as_one_but_for_names():
    one = lower(parse_arch("r2_k3_s11_e6_i32_o32"), 32, 10)
    two = lower(parse_arch("r1_k3_s11_e6_i32_o32 r1_k3_s11_e6_i32_o32"), 32, 10)
    assert [type(op) for op in one.ops] == [type(op) for op in two.ops]
    assert [op.shape for op in one.ops] == [op.shape for op in two.ops]


@pytest.mark.parametrize(("resolution", "num_classes"), [(0, 10), (-32, 10), (32, 0)])
def test_lower_refuses(resolution, num_classes):
    with pytest.raises(ValueError, match=f"resolution {resolution} and num_classes {num_classes} must be at least 1"):
        lower(zoo.get("mnasnet_a1"), resolution, num_classes)
