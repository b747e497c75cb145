"""The one walk: which operations a spec becomes, in which order, and how their shapes chain."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from search_spaces import zoo
from search_spaces.arch import Layer, Norm
from search_spaces.arch_string import parse_arch
from search_spaces.graph import (
    INPUT,
    Add,
    AveragePool,
    Concat,
    Conv,
    GlobalPool,
    Linear,
    LocalResponseNorm,
    MaxPool,
    Scale,
    window_size,
)
from search_spaces.lower import lower
from tests.strategies import PROPERTY, sized_archs


def ops_of(text, resolution=32):
    return {op.name: op for op in lower(parse_arch(text), resolution, 10).ops}


def num_windows(size, kernel, stride, padding):
    """By laying windows one after another."""
    if padding == "same":
        return -(-size // stride)
    starts = range(0, size, stride)
    if padding == "valid":
        return sum(start + kernel <= size for start in starts)
    return next(n for n, start in enumerate(starts, start=1) if start + kernel >= size)


def assert_window_chains(op, source, kernel):
    sizes = zip(source[1:], kernel, strict=True)
    assert op.shape[1:] == tuple(num_windows(size, side, op.stride, op.padding) for size, side in sizes)


def assert_conv_chains(op, source):
    assert_window_chains(op, source, op.kernel)
    assert op.in_channels == source[0]
    assert op.groups in (1, op.in_channels)
    assert op.groups == 1 or op.shape[0] == op.in_channels
    assert op.bias == (op.norm is None)


def assert_chains(op, sources):
    match op:
        case Conv():
            assert_conv_chains(op, *sources)
        case AveragePool() | MaxPool():
            assert op.shape[0] == sources[0][0]
            assert_window_chains(op, sources[0], (op.kernel, op.kernel))
        case LocalResponseNorm():
            assert [op.shape] == sources
        case Concat():
            assert op.shape[0] == sum(channels for channels, _, _ in sources)
            assert {op.shape[1:]} == {tuple(size) for _, *size in sources}
        case GlobalPool():
            assert op.shape == (sources[0][0], 1, 1)
        case Scale():
            assert op.shape == sources[0]
            assert sources[1] == (op.shape[0], 1, 1)
        case Add():
            assert sources == [op.shape, op.shape]
        case Linear():
            assert [math.prod(source) for source in sources] == [op.in_features]
        case _:
            pytest.fail(f"unknown operation {op}")


@PROPERTY
@given(sized_archs(), st.booleans())
def test_shapes_chain_and_names_are_unique(sized, training):
    arch, resolution = sized
    graph = lower(arch, resolution, 10, training=training)
    shapes = {INPUT: graph.input_shape}
    assert graph.input_shape == (3, resolution, resolution)
    for op in graph.ops:
        assert op.name not in shapes
        assert_chains(op, [shapes[name] for name in op.inputs])  # KeyError: an input that comes later or never
        shapes[op.name] = op.shape
    assert (graph.ops[-1].name, graph.ops[-1].shape) == ("classifier", (10, 1, 1))
    used = {name for op in graph.ops for name in op.inputs}
    outputs = {output.name: output.weight for output in graph.auxiliary}
    assert set(shapes) - used == {"classifier", *outputs}
    assert list(outputs.values()) == [head.weight for head in arch.aux if training]
    assert all(shapes[name] == (10, 1, 1) for name in outputs)


@PROPERTY
@given(sized_archs())
def test_training_adds_the_auxiliary_heads_alone(sized):
    arch, resolution = sized
    deployed, training = lower(arch, resolution, 10), lower(arch, resolution, 10, training=True)
    assert deployed.auxiliary == ()
    assert tuple(op for op in training.ops if not op.name.startswith("aux")) == deployed.ops
    ends = {op.name.partition(".")[0]: op.name for op in deployed.ops}  # the last one stays
    reads = [op.inputs[0] for op in training.ops if op.name.startswith("aux") and op.name.endswith(".pool")]
    assert reads == [ends[f"b{head.after}"] for head in arch.aux]


WINDOWS = [
    *((kernel, "same") for kernel in (1, 3, 5, 7)),
    *((kernel, "valid") for kernel in (1, 2, 3, 5)),
    *((kernel, "ceil") for kernel in (2, 3, 5)),
]


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("kernel", "padding"), WINDOWS)
def test_window_sizes_against_torch(kernel, stride, padding):
    """Of a convolution where there is one, and of both poolings; what does not fit is below 1 here and an error there."""
    pad = kernel // 2 if padding == "same" else 0
    windows = [
        torch.nn.MaxPool2d(kernel, stride, pad, ceil_mode=padding == "ceil"),
        torch.nn.AvgPool2d(kernel, stride, pad, ceil_mode=padding == "ceil"),
    ]
    if padding != "ceil":
        windows.append(torch.nn.Conv2d(1, 1, kernel, stride, pad, device="meta"))
    for size in range(1, 30):
        expected = window_size(size, kernel, stride, padding)
        if expected >= 1:
            assert expected == num_windows(size, kernel, stride, padding)
        for window in windows:
            image = torch.empty(1, 1, size, size, device="meta")
            if expected >= 1:
                assert window(image).shape == (1, 1, expected, expected)
            else:
                with pytest.raises(RuntimeError, match=r"too small|greater than actual input|can't be greater"):
                    window(image)


def test_a_window_that_does_not_fit_is_named():
    with pytest.raises(
        ValueError,
        match=r"b15.l1.branch1.2: a window of 3x3 does not fit into 2x2; the input resolution is too small for this",
    ):
        lower(zoo.get("inception_v3"), 64, 10)


def test_branches_of_different_sizes_are_named():
    text = "stem_k3_s22_o8 branches_i8(k3_s22_o8|maxpool_k3_s22_ceil)"
    assert lower(parse_arch(text), 16, 10).ops[-4].shape == (16, 4, 4)
    with pytest.raises(ValueError, match=r"b1.l1.concat: branches end in maps of 4x4, 5x5"):
        lower(parse_arch(text), 17, 10)


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
    assert (expand.kernel, expand.stride, expand.groups, expand.shape) == ((1, 1), 1, 1, (192, 16, 16))
    assert (depthwise.kernel, depthwise.stride, depthwise.groups, depthwise.shape) == ((5, 5), 2, 192, (192, 8, 8))
    assert (project.kernel, project.stride, project.groups, project.shape) == ((1, 1), 1, 1, (16, 8, 8))
    assert [op.activation for op in (expand, depthwise, project)] == ["relu", "relu", "none"]


def test_squeeze_excite_gates_the_depthwise_output():
    ops = ops_of("r1_k3_s11_e3_i32_o16_hse0.25_hswish")
    pool, reduce, gate, scale = (ops[f"b1.l1.se.{name}"] for name in ("pool", "reduce", "gate", "scale"))
    assert pool.inputs == ("b1.l1.depthwise",)
    assert ops["b1.l1.depthwise"].activation == "hswish"
    assert (reduce.inputs, reduce.shape, reduce.activation) == (("b1.l1.se.pool",), (24, 1, 1), "relu")
    assert (gate.inputs, gate.shape, gate.activation) == (("b1.l1.se.reduce",), (96, 1, 1), "hsigmoid")
    assert (reduce.bias, reduce.norm, gate.bias, gate.norm) == (True, None, True, None)
    assert scale.inputs == ("b1.l1.depthwise", "b1.l1.se.gate")
    assert ops["b1.l1.project"].inputs == ("b1.l1.se.scale",)


def test_plain_convolution_squeezes_after_its_activation():
    ops = ops_of("r2_k3_s22_conv_i32_o16_se0.25_relu6")
    assert list(ops)[1:6] == ["b1.l1.conv", "b1.l1.se.pool", "b1.l1.se.reduce", "b1.l1.se.gate", "b1.l1.se.scale"]
    assert (ops["b1.l1.conv"].activation, ops["b1.l1.conv"].stride, ops["b1.l1.conv"].groups) == ("relu6", 2, 1)
    assert ops["b1.l1.se.scale"].inputs == ("b1.l1.conv", "b1.l1.se.gate")
    assert ops["b1.l2.conv"].inputs == ("b1.l1.se.scale",)
    assert ops["b1.l2.add"].inputs == ("b1.l2.se.scale", "b1.l1.se.scale")


LAST = {"conv": "conv", "dwsep": "pointwise", "mbconv": "project", "bottleneck": "expand", "bottleneck_v1": "expand"}


def assert_layer(ops, name, layer, source):
    """The rules of a layer called `name` that reads `source`; gives the name of its output."""
    main = last = f"{name}.{LAST[layer.op]}"
    if layer.squeezed_channels:
        gated = f"{name}.depthwise" if layer.op == "mbconv" else last
        assert ops[f"{name}.se.pool"].inputs == (gated,)
        assert ops[f"{name}.se.reduce"].shape[0] == layer.squeezed_channels
        assert ops[f"{name}.se.scale"].inputs == (gated, f"{name}.se.gate")
        main = main if layer.op == "mbconv" else f"{name}.se.scale"
    is_bottleneck = layer.op.startswith("bottleneck")
    linear = layer.op == "mbconv" or (is_bottleneck and layer.skip != "none")
    assert ops[last].activation == ("none" if linear else layer.activation)
    assert (f"{name}.add" in ops) == (layer.skip != "none")
    if layer.skip == "none":
        return main
    added = {"identity": source, "pool": f"{name}.pool", "projection": f"{name}.shortcut"}[layer.skip]
    assert ops[f"{name}.add"].inputs == (main, added)
    assert ops[f"{name}.add"].activation == (layer.activation if is_bottleneck else "none")
    if layer.skip == "identity":
        assert (layer.stride, layer.in_channels) == (1, layer.out_channels)
    else:
        assert ops[added].inputs == (source,)
        assert (ops[added].stride, ops[added].shape[0]) == (layer.stride, layer.out_channels)
    return f"{name}.add"


@PROPERTY
@given(sized_archs(max_width=64))
def test_ends_of_branches_are_linear_and_skips_add_the_layer_input(sized):
    arch, resolution = sized
    ops = {op.name: op for op in lower(arch, resolution, 10).ops}
    output = "stem"
    for b, block in enumerate(arch.blocks, start=1):
        for i, layer in enumerate(block.layers(), start=1):
            name = f"b{b}.l{i}"
            if isinstance(layer, Layer):
                assert (f"{name}.expand" in ops) == (
                    layer.op.startswith("bottleneck")
                    or (layer.op == "mbconv" and layer.expanded_channels != layer.in_channels)
                )
                output = assert_layer(ops, name, layer, output)
            else:
                output = [op for op in ops if op.startswith(f"{name}.")][-1]
    assert ops["head.conv" if arch.head.channels else "head.pool"].inputs == (output,)


@pytest.mark.parametrize(("word", "strides"), [("bv8", (2, 1, 1)), ("b8", (1, 2, 1))])
def test_operations_of_a_bottleneck(word, strides):
    ops = ops_of(f"stem_k3_s22_o16 r2_k3_s22_{word}_i16_o32_gse0.25 head_noconv")
    layer = ["reduce", "conv", "expand", "se.pool", "se.reduce", "se.gate", "se.scale"]
    assert list(ops) == [
        "stem",
        *(f"b1.l1.{name}" for name in (*layer, "shortcut", "add")),
        *(f"b1.l2.{name}" for name in (*layer, "add")),
        "head.pool",
        "classifier",
    ]
    convs = [ops[f"b1.l1.{name}"] for name in ("reduce", "conv", "expand")]
    assert [(op.kernel, op.shape[0], op.activation) for op in convs] == [
        ((1, 1), 8, "relu"),
        ((3, 3), 8, "relu"),
        ((1, 1), 32, "none"),
    ]
    assert tuple(op.stride for op in convs) == strides
    shortcut, add = ops["b1.l1.shortcut"], ops["b1.l1.add"]
    assert (shortcut.inputs, shortcut.kernel, shortcut.stride, shortcut.activation) == (("stem",), (1, 1), 2, "none")
    assert (add.inputs, add.activation) == (("b1.l1.se.scale", "b1.l1.shortcut"), "relu")
    assert ops["b1.l2.add"].inputs == ("b1.l2.se.scale", "b1.l1.add")
    assert ops["b1.l1.se.reduce"].shape[0] == 8  # a quarter of the 32 that are gated


def test_operations_of_a_separable_pair():
    ops = ops_of("stem_k3_s22_o16 r1_k3_s22_dwsep_i16_o32_relu6 head_noconv")
    assert list(ops) == ["stem", "b1.l1.depthwise", "b1.l1.pointwise", "head.pool", "classifier"]
    depthwise, pointwise = ops["b1.l1.depthwise"], ops["b1.l1.pointwise"]
    assert (depthwise.kernel, depthwise.stride, depthwise.groups, depthwise.activation) == ((3, 3), 2, 16, "relu6")
    assert (pointwise.kernel, pointwise.stride, pointwise.groups, pointwise.activation) == ((1, 1), 1, 1, "relu6")
    assert (depthwise.norm, pointwise.norm) == (Norm(), Norm())


def test_operations_of_a_module():
    ops = ops_of(
        "stem_k3_s22_o16 branches_i16_gse0.5_swish(k1_o4|k1_o6,k1x7_o8|maxpool_k3_s11,(k1x3_o2|k3x1_o3)) head_noconv"
    )
    assert list(ops)[1:-2] == [
        "b1.l1.branch1.1",
        "b1.l1.branch2.1",
        "b1.l1.branch2.2",
        "b1.l1.branch3.1",
        "b1.l1.branch3.2.branch1.1",
        "b1.l1.branch3.2.branch2.1",
        "b1.l1.concat",
        *(f"b1.l1.se.{name}" for name in ("pool", "reduce", "gate", "scale")),
    ]
    assert ops["b1.l1.concat"].inputs == tuple(
        f"b1.l1.{name}" for name in ("branch1.1", "branch2.2", "branch3.2.branch1.1", "branch3.2.branch2.1")
    )
    assert [ops[f"b1.l1.branch{n}.1"].inputs for n in (1, 2, 3)] == [("stem",)] * 3
    assert ops["b1.l1.branch2.2"].kernel == (1, 7)
    assert [ops[f"b1.l1.branch3.2.branch{n}.1"].inputs for n in (1, 2)] == [("b1.l1.branch3.1",)] * 2
    assert {op.activation for name, op in ops.items() if "branch" in name and isinstance(op, Conv)} == {"swish"}
    assert ops["b1.l1.se.reduce"].shape[0] == 8  # of the 17 that are gated
    assert ops["b1.l1.se.scale"].shape == (17, 16, 16)


@pytest.mark.parametrize(
    ("norm", "expected"), [("nonorm", None), ("norm_e0.00001", Norm(1e-5)), ("norm_e0.001", Norm(1e-3))]
)
def test_the_norm_of_the_network_is_that_of_every_convolution_but_the_gates_and_the_hidden_layer(norm, expected):
    text = "stem_k3_s22_o8 r1_k3_s11_e3_i8_o8_se0.25 branches_i8(k1_o4|k3_o4) head_o16_f8 aux_b1_w0.3_o4_c4"
    graph = lower(parse_arch(f"{norm} {text}"), 32, 10, training=True)
    for op in graph.ops:
        if isinstance(op, Conv):
            own = None if ".se." in op.name or op.name == "head.hidden" else expected
            assert (op.norm, op.bias) == (own, own is None), op.name


def test_operations_of_auxiliary_heads():
    text = "stem_k3_s11_o8 r1_k3_s22_conv_i8_o8_noskip r1_k3_s11_conv_i8_o8_noskip head_noconv"
    graph = lower(parse_arch(f"{text} aux_b1_w0.3_o4_f6_d0.7 aux_b2_w1_o4_c5"), 28, 10, training=True)
    ops = {op.name: op for op in graph.ops}
    first = [f"aux1.{name}" for name in ("pool", "conv", "hidden", "classifier")]
    second = [f"aux2.{name}" for name in ("pool", "conv", "final", "classifier")]
    assert list(ops) == ["stem", "b1.l1.conv", "b2.l1.conv", *first, *second, "head.pool", "classifier"]
    assert [ops[name].inputs for name in first] == [("b1.l1.conv",), *((name,) for name in first[:-1])]
    assert [ops[name].inputs for name in second] == [("b2.l1.conv",), *((name,) for name in second[:-1])]
    pool, conv, hidden, classifier = (ops[name] for name in first)
    assert (pool.kernel, pool.stride, pool.padding, pool.shape) == (5, 3, "valid", (8, 4, 4))  # of 14x14
    assert (conv.kernel, conv.shape, conv.activation) == ((1, 1), (4, 4, 4), "relu")
    assert (hidden.in_features, hidden.shape, hidden.activation, hidden.dropout) == (64, (6, 1, 1), "relu", 0.0)
    assert (classifier.in_features, classifier.shape, classifier.dropout) == (6, (10, 1, 1), 0.7)
    assert (ops["aux2.final"].kernel, ops["aux2.final"].padding, ops["aux2.final"].shape) == (
        (4, 4),
        "valid",
        (5, 1, 1),
    )
    assert [(output.name, output.weight) for output in graph.auxiliary] == [
        ("aux1.classifier", 0.3),
        ("aux2.classifier", 1.0),
    ]


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
    assert (ops[2].activation, ops[2].bias, ops[2].norm) == ("hswish", True, None)
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
