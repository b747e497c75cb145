"""Names of other libraries: where parts stand, what width changes, one name for each tensor."""

from __future__ import annotations

import pytest

from search_spaces import zoo
from search_spaces.arch_string import parse_arch
from search_spaces.graph import Conv, Linear
from search_spaces.lower import lower
from search_spaces.naming import Keys, key_map, parts, skeleton
from search_spaces.zoo import ZOO
from search_spaces.zoo.timm_names import timm_rule

NAMED = [(name, library) for name, network in ZOO.items() for library in network.names]


def graph_of(name: str):
    variant = zoo.find(name)
    return lower(variant.arch, variant.resolution, 10, training=True)


def test_where_parts_stand():
    arch = parse_arch(
        "stem_k3_s22_o8 maxpool_k3_s22 r2_k3_s11_e3_i8_o8_se0.25 branches_i8(k1_o4|k1_o4,k3_o4) head_o32_f16 aux_b2_w0.3_o8"
    )
    found = parts(lower(arch, 64, 10, training=True))
    assert [(p.op.name, p.role, p.layer, p.siblings) for p in found if p.layer != 2] == [
        ("stem", "stem", 0, ()),
        *[(f"b2.l1.{role}", role, 1, ("expand", "depthwise", "se", "project")) for role in EXPANDED],
        ("b3.l1.branch1.1", "branch1.1", 3, ("branch1", "branch2")),
        ("b3.l1.branch2.1", "branch2.1", 3, ("branch1", "branch2")),
        ("b3.l1.branch2.2", "branch2.2", 3, ("branch1", "branch2")),
        ("aux1.conv", "aux1.conv", 4, ()),
        ("aux1.classifier", "aux1.classifier", 4, ()),
        ("head.conv", "head.conv", 4, ()),
        ("head.hidden", "head.hidden", 4, ()),
        ("classifier", "classifier", 4, ()),
    ]
    assert [p.position for p in found if p.layer == 2] == [0, 1, 2, 2, 3]


EXPANDED = ("expand", "depthwise", "se.reduce", "se.gate", "project")


def test_timm_numbers_bn_without_squeeze_and_excitation():
    arch = parse_arch("r1_k3_s11_e1_i32_o16_se0.25 r1_k3_s22_e6_i16_o24_se0.25")
    rule = timm_rule((1, 1))
    assert [rule(part) for part in parts(lower(arch, 32, 10))] == [
        Keys("conv_stem", "bn1"),
        Keys("blocks.0.0.conv_dw", "blocks.0.0.bn1"),
        Keys("blocks.0.0.se.conv_reduce"),
        Keys("blocks.0.0.se.conv_expand"),
        Keys("blocks.0.0.conv_pw", "blocks.0.0.bn2"),
        Keys("blocks.1.0.conv_pw", "blocks.1.0.bn1"),
        Keys("blocks.1.0.conv_dw", "blocks.1.0.bn2"),
        Keys("blocks.1.0.se.conv_reduce"),
        Keys("blocks.1.0.se.conv_expand"),
        Keys("blocks.1.0.conv_pwl", "blocks.1.0.bn3"),
        Keys("conv_head", "bn2"),
        Keys("classifier"),
    ]


@pytest.mark.parametrize(("name", "library"), NAMED)
def test_every_tensor_has_a_name_of_its_own(name, library):
    graph = graph_of(name)
    keys = key_map(graph, ZOO[name].names[library])
    assert len({key.name for key in keys.values()}) == len(keys)
    weights = [key for key in keys if key.endswith((".conv.weight", ".linear.weight"))]
    assert weights == [
        f"{op.name}.{'conv' if isinstance(op, Conv) else 'linear'}.weight"
        for op in graph.ops
        if isinstance(op, Conv | Linear)
    ]


@pytest.mark.parametrize(("name", "library"), [(name, library) for name, library in NAMED if ZOO[name].scale])
@pytest.mark.parametrize("alpha", [0.05, 0.35, 1.4])  # at 0.05 two blocks of MobileNetV2 become one
def test_the_names_are_the_same_at_any_width(name, library, alpha):
    naming = ZOO[name].names[library]
    graph, scaled = graph_of(name), graph_of(f"{name}@{alpha}")
    assert list(key_map(scaled, naming).values()) == list(key_map(graph, naming).values())
    assert skeleton(scaled) == skeleton(graph)


def test_skeletons_tell_networks_apart():
    of = {name: skeleton(graph_of(name)) for name in ZOO}
    assert of["mobilenet_v3_large"] == of["mobilenet_v3_large_stem32"]  # a width
    assert of["mobilenet_v2"] != of["mnasnet_b1"]  # kernels: 17 layers of the same parts
    assert of["resnet50"] != of["resnet50_v15"]  # strides
    assert of["mobilenet_v1"] != of["conv_mobilenet_v1"]
    assert skeleton(lower(zoo.get("inception_v3"), 299, 3)) == of["inception_v3"]  # auxiliary heads, classes
