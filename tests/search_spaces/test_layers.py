"""The layers of every network of the zoo, one by one, against tables written down from the papers and their code.

A row of `tests/golden/layers.json`: kind, window (with stride and padding where they are not 1 and same), widths in, [inner,]
out, side of the output, activation, squeezed width and gate, what is added. It is compared with what the graph holds.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from pathlib import Path

import pytest

from search_spaces.arch import Norm
from search_spaces.graph import Add, AveragePool, Conv, GlobalPool, Linear, LocalResponseNorm, MaxPool, Scale
from search_spaces.lower import lower
from search_spaces.zoo import ZOO

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "layers.json").read_text())
POOLS = {MaxPool: "maxpool", AveragePool: "avgpool"}


def lowered(name, *, training=False):
    return lower(ZOO[name].arch, ZOO[name].resolution, 1000, training=training)


def layers(graph):
    """The operations of each layer, by the layer's name: ``b3.l2``, or the operation's own where it stands alone."""
    found = defaultdict(dict)
    for op in graph.ops:
        layer = re.match(r"b\d+\.l\d+|.*", op.name).group()
        found[layer][op.name.removeprefix(f"{layer}.")] = op
    return found


def window(op):
    height, width = op.kernel if isinstance(op, Conv) else (op.kernel, op.kernel)
    stride = f"/{op.stride}" if op.stride > 1 else ""
    valid = (
        " valid" if op.padding == "valid" and not isinstance(op, MaxPool) else ""
    )  # papers leave that of maxima open
    return f"{height}x{width}{stride}{valid}"


def squeeze(ops):
    return [f"se{ops['se.reduce'].shape[0]} {ops['se.gate'].activation}"] if "se.reduce" in ops else []


def only(values):
    (value,) = set(values)
    return value


def single(op, norm):
    """The row of an operation that is a layer."""
    channels, side, _ = op.shape
    match op:
        case Conv():
            biased = ["biased"] if norm and op.bias else []
            return ["conv", window(op), f"{op.in_channels}-{channels}", f"@{side}", op.activation, *biased]
        case MaxPool() | AveragePool():
            return [POOLS[type(op)], window(op), str(channels), f"@{side}"]
        case GlobalPool():
            return ["global pool", str(channels)]
        case LocalResponseNorm():
            return ["lrn"]
        case Linear():
            activation = [] if op.activation == "none" else [op.activation]
            dropout = [f"dropout {op.dropout:g}"] if op.dropout else []
            return ["linear", f"{op.in_features}-{channels}", *activation, *dropout]


def inverted(ops):
    depthwise, project = ops["depthwise"], ops["project"]
    inner = [ops["expand"], depthwise] if "expand" in ops else [depthwise]
    widths = f"{inner[0].in_channels}-{depthwise.shape[0]}-{project.shape[0]}"
    assert ("expand" in ops) == (inner[0].in_channels != depthwise.shape[0])
    skip = ["skip"] if "add" in ops else []
    row = ["inverted", window(depthwise), widths, f"@{project.shape[1]}", only(op.activation for op in inner)]
    return row + squeeze(ops) + skip


def separable(ops):
    depthwise, pointwise = ops["depthwise"], ops["pointwise"]
    widths = f"{depthwise.in_channels}-{pointwise.shape[0]}"
    activation = only(op.activation for op in (depthwise, pointwise))
    return ["separable", window(depthwise), widths, f"@{pointwise.shape[1]}", activation]


def bottleneck(ops):
    reduce, conv, expand, add = (ops[name] for name in ("reduce", "conv", "expand", "add"))
    stride = reduce.stride * conv.stride
    widths = f"{reduce.in_channels}-{conv.shape[0]}-{expand.shape[0]}"
    where = [] if stride == 1 else [f"stride on {'first' if reduce.stride > 1 else 'middle'}"]
    size = f"{conv.kernel[0]}x{conv.kernel[1]}{'/2' if stride > 1 else ''}"
    activation = only(op.activation for op in (reduce, conv, add))
    row = ["bottleneck", size, *where, widths, f"@{add.shape[1]}", activation]
    return row + squeeze(ops) + ["projection" if "shortcut" in ops else "skip"]


def steps_to(op, inside):
    """From where the module's input comes in to `op`."""
    step = f"{window(op)} {op.shape[0]}" if isinstance(op, Conv) else f"{POOLS[type(op)]} {window(op)}"
    (source,) = op.inputs
    return [*steps_to(inside[source], inside), step] if source in inside else [step]


def module(name, ops):
    """Branches by following the inputs of the concatenation back; those of one fork begin alike."""
    inside = {f"{name}.{short}": op for short, op in ops.items()}
    branches = defaultdict(list)
    for end in ops["concat"].inputs:
        branches[re.match(r".+?branch\d+", end).group()].append(steps_to(inside[end], inside))
    shown = []
    for (*begin, end), *others in branches.values():
        assert all(other[:-1] == begin for other in others)
        fork = f"({' | '.join([end, *(other[-1] for other in others)])})"
        shown.append(", ".join([*begin, fork if others else end]))
    outside = {name for op in ops.values() for name in op.inputs} - inside.keys()
    assert len(outside) == 1
    convs = [op for op in ops.values() if isinstance(op, Conv)]
    in_channels = only(op.in_channels for op in convs if op.inputs[0] in outside)
    widths = f"{in_channels}-{ops['concat'].shape[0]}"
    activation = only(op.activation for op in convs)
    return ["branches", widths, f"@{ops['concat'].shape[1]}", f"{activation}:", " | ".join(shown)]


def row(name, ops, norm):
    if len(ops) == 1:
        words = single(*ops.values(), norm)
    elif "concat" in ops:
        words = module(name, ops)
    elif "project" in ops:
        words = inverted(ops)
    elif "pointwise" in ops:
        words = separable(ops)
    else:
        words = bottleneck(ops)
    return " ".join(words)


def test_the_tables_are_of_networks_of_the_zoo():
    assert set(GOLDEN) <= set(ZOO)
    assert len(GOLDEN) >= 19


@pytest.mark.parametrize("name", GOLDEN)
def test_layers(name):
    golden, network = GOLDEN[name], ZOO[name]
    assert network.resolution == golden["resolution"]
    assert network.arch.norm == (Norm(golden["epsilon"]) if golden["epsilon"] else None)
    rows = [row(layer, ops, network.arch.norm) for layer, ops in layers(lowered(name)).items()]
    assert rows == golden["layers"]


@pytest.mark.parametrize("name", GOLDEN)
def test_auxiliary_heads(name):
    """What they read, what they are, the weight of their loss; in training alone."""
    graph = lowered(name, training=True)
    ends = [list(ops.values())[-1].name for ops in layers(lowered(name)).values()]
    assert [output.weight for output in graph.auxiliary] == [aux["weight"] for aux in GOLDEN[name]["aux"]]
    for number, aux in enumerate(GOLDEN[name]["aux"], start=1):
        ops = [op for op in graph.ops if op.name.startswith(f"aux{number}.")]
        assert ops[0].inputs == (ends[aux["after"] - 1],)
        assert [" ".join(single(op, ZOO[name].arch.norm)) for op in ops] == aux["layers"]
    assert lowered(name).auxiliary == ()
    assert not [op.name for op in lowered(name).ops if op.name.startswith("aux")]


MOBILE = [name for name in ZOO if name.startswith(("mobilenet_v2", "mobilenet_v3", "mnasnet"))]
WITH_SE = ["mnasnet_a1", "mnasnet_small", "mobilenet_v3_large", "mobilenet_v3_small", "se_resnet50"]


@pytest.mark.parametrize("name", MOBILE)
def test_bottlenecks_are_linear_and_shortcuts_join_equal_shapes(name):
    """arXiv 1801.04381, section 3.2 and figure 4: no activation behind the projection or the sum; stride 1, equal widths."""
    graph = lowered(name)
    ops = {op.name: op for op in graph.ops}
    before = "stem"
    for layer, parts in layers(graph).items():
        if "project" not in parts:
            continue
        project, depthwise = parts["project"], parts["depthwise"]
        assert (project.activation, project.kernel, project.norm is None) == ("none", (1, 1), False)
        assert depthwise.activation != "none"
        assert depthwise.groups == depthwise.in_channels == depthwise.shape[0]
        can_join = depthwise.stride == 1 and ops[before].shape == project.shape
        if "add" in parts:
            assert can_join, layer
            assert (parts["add"].inputs, parts["add"].activation) == ((project.name, before), "none")
        elif can_join:
            # the code compares the 16 filters that the first block of MnasNet-small declares with the 8 it gives
            assert (name, layer) == ("mnasnet_small", "b1.l1")
        before = list(parts.values())[-1].name


@pytest.mark.parametrize("name", ["resnet50", "resnet50_v15", "se_resnet50"])
def test_residual_bottlenecks_project_where_shapes_differ_and_activate_the_sum(name):
    """arXiv 1512.03385, section 3.3, option B, and figure 5."""
    graph = lowered(name)
    before = graph.ops[1]  # the pooling
    projected = 0
    for parts in layers(graph).values():
        if "add" not in parts:
            continue
        add, expand = parts["add"], parts["expand"]
        residual = parts.get("se.scale", expand)
        shortcut = parts.get("shortcut", before)
        assert (add.inputs, add.activation) == ((residual.name, shortcut.name), "relu")
        assert expand.activation == "none"
        assert ("shortcut" in parts) == (before.shape != add.shape)
        if "shortcut" in parts:
            projected += 1
            assert (shortcut.inputs, shortcut.activation, shortcut.kernel) == ((before.name,), "none", (1, 1))
        before = add
    assert projected == 4  # once a stage


@pytest.mark.parametrize("name", WITH_SE)
def test_squeeze_and_excitation_stands_where_it_gates(name):
    """On the depthwise output, as wide as the expansion (arXiv 1905.02244, figure 4); in ResNet before the sum."""
    graph = lowered(name)
    gated = 0
    for parts in layers(graph).values():
        if "se.scale" not in parts:
            continue
        gated += 1
        last = parts["depthwise"] if "depthwise" in parts else parts["expand"]
        pool, reduce, gate, scale = (parts[f"se.{part}"] for part in ("pool", "reduce", "gate", "scale"))
        assert pool.inputs == (last.name,)
        assert (reduce.inputs, gate.inputs) == ((pool.name,), (reduce.name,))
        assert (reduce.activation, reduce.bias, reduce.norm) == ("relu", True, None)
        assert (gate.shape[0], gate.bias, gate.norm) == (last.shape[0], True, None)
        assert scale.inputs == (last.name, gate.name)
        reader = parts["project"] if "depthwise" in parts else parts["add"]
        assert reader.inputs[0] == scale.name
        assert gate.activation == ("hsigmoid" if name.startswith("mobilenet_v3") else "sigmoid")
    assert gated == {"mnasnet_a1": 8, "mnasnet_small": 10, "mobilenet_v3_large": 8, "mobilenet_v3_small": 9}.get(
        name, 16
    )
    assert gated == sum(isinstance(op, Scale) for op in graph.ops)


@pytest.mark.parametrize("name", sorted(GOLDEN.keys() - set(WITH_SE)))
def test_the_others_have_no_squeeze_and_excitation(name):
    expected = name in ("mobilenet_v3_large_original_last_stage", "mobilenet_v3_large_stem32")
    assert any(isinstance(op, Scale) for op in lowered(name).ops) == expected


def test_h_swish_only_where_the_tables_say():
    """arXiv 1905.02244v5, tables 1 and 2, column NL: HS from the 80 channels on in Large, from the first 40 in Small; and the
    ends."""
    first = {"mobilenet_v3_large": 5, "mobilenet_v3_small": 4}  # number of the block in our strings
    for name, start in first.items():
        for op in lowered(name).ops:
            block = int(re.match(r"b(\d+)", op.name).group(1)) if re.match(r"b\d", op.name) else None
            in_body = block is not None and block >= start and op.name.endswith((".expand", ".depthwise"))
            is_end = op.name in ("stem", "head.conv", "head.hidden")
            assert (getattr(op, "activation", "none") == "hswish") == (in_body or is_end), op.name
    for name in GOLDEN:
        if not name.startswith("mobilenet_v3") or name.endswith("minimalistic"):
            assert "hswish" not in {getattr(op, "activation", "none") for op in lowered(name).ops}


def test_googlenet_is_without_batch_normalisation():
    """It is older (arXiv 1409.4842); every convolution is biased, and it has local response normalisation instead."""
    convs = [op for op in lowered("googlenet", training=True).ops if isinstance(op, Conv)]
    assert len(convs) == 57 + 2
    assert all(op.norm is None and op.bias for op in convs)
    assert sum(isinstance(op, LocalResponseNorm) for op in lowered("googlenet").ops) == 2
    for name in GOLDEN.keys() - {"googlenet"}:
        ops = lowered(name, training=True).ops
        assert not any(isinstance(op, LocalResponseNorm) for op in ops)
        assert all(op.norm for op in ops if isinstance(op, Conv) and ".se." not in op.name and op.name != "head.hidden")


def test_networks_without_shortcuts():
    for name in (
        "mobilenet_v1",
        "conv_mobilenet_v1",
        "googlenet",
        "googlenet_torchvision",
        "inception_bn",
        "inception_v3",
    ):
        assert not any(isinstance(op, Add) for op in lowered(name).ops)
