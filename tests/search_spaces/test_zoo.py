"""The zoo: names of variants, and published counts of every width and resolution."""

from __future__ import annotations

from decimal import Decimal

import pytest

from search_spaces import zoo
from search_spaces.count import count
from search_spaces.edits import scaled
from search_spaces.lower import lower
from search_spaces.zoo import ZOO, find, get

VARIANTS = [f"{name}{suffix}" for name, network in ZOO.items() for suffix in network.published]
SCALED = [name for name, network in ZOO.items() if network.scale]


def printed(value, number):
    """`number` in units of the last digit that `value` was printed with, and `value` likewise."""
    digits = Decimal(repr(value))
    unit = Decimal(1).scaleb(int(digits.as_tuple().exponent))
    return Decimal(number) / unit, digits / unit


def assert_printed(value, number, tolerance, what):
    found, expected = printed(value, number)
    # authors cut as often as they round
    assert abs(found - expected) <= 1 + Decimal(str(tolerance)) * expected, f"{what}: {number} counted, {value} printed"


def test_printed_digits():
    assert_printed(4.2, 4.2999, 0, "cut")
    assert_printed(569, 568.74, 0, "rounded")
    assert_printed(25.557032, 25.557032, 0, "exact")
    for value, number in [(4.2, 4.31), (569, 570.01), (25.557032, 25.557034), (4.0, 4.2)]:
        with pytest.raises(AssertionError):
            assert_printed(value, number, 0, "off")
    assert_printed(100, 102.9, 0.02, "with a tolerance")


@pytest.mark.parametrize("text", VARIANTS)
def test_published_counts(text):
    variant = find(text)
    published, counts = variant.published, count(lower(variant.arch, variant.resolution, 1000))
    if published.params_m is not None:
        assert_printed(published.params_m, counts.params / 1e6, published.tolerance, "params")
    if published.macs_m is not None:
        assert_printed(published.macs_m, counts.macs / 1e6, published.tolerance, "macs")
    assert published.tolerance <= 0.03
    assert published.source
    assert published.top1 is None or 40 < published.top1 < 85


def test_published_sweeps_are_complete():
    """Every width and resolution of the papers' tables, and at least one printed count of each network that was published."""

    def swept(name):
        return set(ZOO[name].published)

    widths, sides = ("", "@0.75", "@0.5", "@0.25"), ("", "/192", "/160", "/128")
    assert swept("mobilenet_v1") == {w + s for w in widths for s in sides}
    widths, sides = ("", "@0.75", "@0.5", "@0.35"), ("", "/192", "/160", "/128", "/96")
    assert swept("mobilenet_v2") == {w + s for w in widths for s in sides} | {"@1.4", "@1.3"}
    assert swept("mnasnet_a1") == {w + s for w in (*widths, "@1.4") for s in sides}
    widths = ("", "@1.25", "@0.75", "@0.5", "@0.35")
    assert swept("mobilenet_v3_large") == swept("mobilenet_v3_small") == {*widths, "/256", *sides}
    assert swept("mnasnet_b1") == {"", "@0.5", "@0.75", "@1.3"}
    for name in ZOO.keys() - {"mobilenet_v3_large_original_last_stage", "mobilenet_v3_large_stem32"}:
        assert any(row.params_m or row.macs_m for row in ZOO[name].published.values())


@pytest.mark.parametrize("text", VARIANTS)
def test_published_variants_are_named_in_their_shortest_form(text):
    variant = find(text)
    assert variant.name == text
    assert variant.published is not None


@pytest.mark.parametrize(
    ("text", "name", "resolution"),
    [
        ("mobilenet_v1", "mobilenet_v1", 224),
        ("mobilenet_v1@1", "mobilenet_v1", 224),
        ("mobilenet_v1@1.0/224", "mobilenet_v1", 224),
        ("mobilenet_v1@0.50/160", "mobilenet_v1@0.5/160", 160),
        ("resnet50/96", "resnet50/96", 96),
        ("inception_v3", "inception_v3", 299),
        ("inception_v3/299", "inception_v3", 299),
        ("mobilenet_v3_large@2", "mobilenet_v3_large@2", 224),
    ],
)
def test_find(text, name, resolution):
    variant = find(text)
    assert (variant.name, variant.resolution) == (name, resolution)
    assert variant.network is ZOO[name.partition("@")[0].partition("/")[0]]
    assert find(variant.name) == variant
    assert get(text) == variant.arch


@pytest.mark.parametrize(
    "text", ["", "mobilenet", "mobilenet_v1@", "mobilenet_v1@.5", "mobilenet_v1/", "mobilenet_v1/0x", "/224"]
)
def test_no_network_of_the_zoo(text):
    assert find(text) is None
    with pytest.raises(ValueError, match=r"no network named .*; known: .*mobilenet_v1"):
        get(text)


@pytest.mark.parametrize("name", sorted(ZOO.keys() - set(SCALED)))
def test_networks_without_a_width_multiplier(name):
    with pytest.raises(ValueError, match=rf"{name} has no width multiplier; those with one: .*mobilenet_v1"):
        find(f"{name}@0.5")
    assert find(f"{name}@1").arch == get(name)


@pytest.mark.parametrize("alpha", ["0", "0.04", "4.1", "1000"])
def test_width_multipliers_out_of_range(alpha):
    with pytest.raises(ValueError, match=f"width multiplier {alpha}: must lie in 0.05 to 4"):
        find(f"mobilenet_v2@{alpha}")


@pytest.mark.parametrize("name", SCALED)
def test_width_multiplier(name):
    """Width 1 is the network itself; wider is never cheaper; layers, kernels, strides, skips of the rule stay."""
    network = ZOO[name]
    assert network.scale(1.0).key == network.arch.key
    counts = [count(lower(network.scale(alpha), 64, 10)) for alpha in (0.05, 0.25, 0.5, 0.75, 1.0, 1.4, 2.0)]
    assert [c.macs for c in counts] == sorted(c.macs for c in counts)
    assert [c.params for c in counts] == sorted(c.params for c in counts)
    narrow = network.scale(0.5)
    assert [layer.stride for layer in narrow.layers()] == [layer.stride for layer in network.arch.layers()]
    assert [layer.kernel for layer in narrow.layers()] == [layer.kernel for layer in network.arch.layers()]
    assert narrow.head.dropout == network.arch.head.dropout
    assert narrow.norm == network.arch.norm


@pytest.mark.parametrize(
    ("text", "widths"),
    [
        # stem, [expanded,] out of the first, third and last layer, head; by the rules of slim and tensorflow/tpu
        ("mobilenet_v1@0.25", (8, 16, 32, 256, None)),  # max(int(c alpha), 8)
        ("mobilenet_v2@0.35", (16, 8, 8, 112, 1280)),  # head not below 1 280
        ("mobilenet_v2@1.4", (48, 24, 32, 448, 1792)),
        ("mnasnet_a1@0.35", (16, 8, 8, 112, 1280)),  # head never scaled
        ("mnasnet_a1@1.4", (48, 24, 32, 448, 1280)),
        ("mobilenet_v3_large@0.75", (16, 16, 24, 120, 720)),
        ("mobilenet_v3_small@1.25", (24, 24, 32, 120, 720)),
    ],
)
def test_scaled_widths(text, widths):
    arch = get(text)
    layers = arch.layers()
    outs = [layers[position].out_channels for position in (0, 2, -1)]
    assert (arch.stem.channels, *outs, arch.head.channels) == widths


def test_scaled_expansions_follow_the_scaled_input():
    """slim `expand_input_by_factor`: 184 / 80 of 80 x 0.5 = 40 is 92, which rounds to 96 (half up), and 200 / 80 to 104."""
    expanded = [layer.expanded_channels for layer in get("mobilenet_v3_large@0.5").layers()]
    assert expanded[6:10] == [144, 104, 96, 96]
    hidden = [
        get(f"mobilenet_v3_{name}").head.hidden for name in ("large@0.5", "large@1.25", "small@0.5", "small@1.25")
    ]
    assert hidden == [1280, 1280, 1024, 1280]


@pytest.mark.parametrize("name", ["resnet50", "googlenet", "inception_v3"])
def test_other_blocks_have_no_width_multiplier(name):
    with pytest.raises(ValueError, match="the width multiplier is for plain, separable and inverted residual blocks"):
        scaled(get(name), 0.5)


def test_every_network_says_how_it_was_trained():
    for name, network in ZOO.items():
        assert network.training.source, name
        assert network.training.bn_momentum > 0
    assert ZOO["inception_v3"].training.label_smoothing == 0.1
    assert not ZOO["mobilenet_v1"].training.decays_depthwise


def test_a_module_of_the_package_is_a_family():
    """What `NETWORKS` of a module holds is in the zoo: adding one needs no list elsewhere."""
    import importlib
    import pkgutil

    names = [info.name for info in pkgutil.iter_modules(zoo.__path__)]
    families = [getattr(importlib.import_module(f"search_spaces.zoo.{name}"), "NETWORKS", {}) for name in names]
    assert sum(map(len, families)) == len(ZOO)
    assert {name for family in families for name in family} == set(ZOO)
