"""Counts: the published networks to the unit, oracles by hand, and torch as the second opinion."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from search_spaces import zoo
from search_spaces.arch import DEFAULT_NORM
from search_spaces.arch_string import parse_arch
from search_spaces.count import count, op_macs, op_params, shortest_path
from search_spaces.graph import INPUT, Add, AveragePool, Conv, GlobalPool, Graph, Linear, Scale
from search_spaces.lower import lower
from search_spaces.mnasnet import MNASNET
from search_spaces.onnx_model import emit_onnx
from search_spaces.torch_module import GraphModule
from tests.strategies import PROPERTY, sized_archs

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "counts.json").read_text())


def torch_counts(graph):
    """Parameters and multiply-adds by torch's own means; nothing is computed on the meta device."""
    with torch.device("meta"):
        module = GraphModule(graph).eval()
    params = sum(p.numel() for p in module.parameters())
    for part in list(module.modules()):
        for name in {"norm", "act"} & part._modules.keys():
            setattr(part, name, nn.Identity())  # counted as nothing, but slow on the meta device
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        module.outputs(torch.empty(1, *graph.input_shape, device="meta"))
    macs, odd = divmod(counter.get_total_flops(), 2)
    assert odd == 0
    return params, macs


def weight_bytes(model):
    """Bytes of the initializers that are weights and biases; relu6 has two scalars of its own beside them."""
    tensors = {tensor.name: len(tensor.raw_data) for tensor in onnx.load_from_string(model).graph.initializer}
    assert not {name for name in tensors if not name.endswith((".weight", ".bias"))} - {"zero", "six"}
    return sum(size for name, size in tensors.items() if name.endswith((".weight", ".bias")))


def test_golden_file_is_of_networks_of_the_zoo():
    """A network added later need not be in it: its own file declares what the next test demands."""
    assert set(GOLDEN["networks"]) <= set(zoo.ZOO)
    assert len(GOLDEN["networks"]) >= 19
    assert {name: golden["resolution"] for name, golden in GOLDEN["networks"].items()} == {
        name: 299 if name == "inception_v3" else 224 for name in GOLDEN["networks"]
    }


@pytest.mark.parametrize("name", zoo.ZOO)
def test_published_network(name):
    network = zoo.ZOO[name]
    graph = lower(network.arch, network.resolution, GOLDEN["num_classes"])
    counts = count(graph)
    assert torch_counts(graph) == (counts.params, counts.macs) == (network.params, network.macs)
    assert weight_bytes(emit_onnx(graph)) == counts.model_bytes
    if name in GOLDEN["networks"]:
        assert dataclasses.asdict(counts) | {"resolution": network.resolution} == GOLDEN["networks"][name]


@pytest.mark.parametrize(
    ("name", "params", "macs"),
    [
        # torchvision `inception_v3`, `aux_logits=True`: 27 161 264 parameters
        ("inception_v3", 27_161_264, 5_718_899_296),
        # torchvision `googlenet`, `aux_logits=True`: 13 004 888 parameters; each head 128 x C x 16 + 2048 x 1024 + 1024 x 1000
        ("googlenet_torchvision", 13_004_888, 1_498_376_192 + 128 * 16 * (512 + 528) + 2 * (2048 + 1000) * 1024),
    ],
)
def test_published_network_in_training(name, params, macs):
    network = zoo.ZOO[name]
    graph = lower(network.arch, network.resolution, 1000, training=True)
    counts = count(graph)
    assert (counts.params, counts.macs) == (params, macs) == torch_counts(graph)


def test_random_architectures_of_the_space_agree_with_torch():
    rng = np.random.default_rng(0)
    for _ in range(60):
        arch = MNASNET.decode(MNASNET.sample(rng))
        graph = lower(arch, 32, 10)
        counts = count(graph)
        assert (counts.params, counts.macs) == torch_counts(graph), str(arch)


@PROPERTY
@given(sized_archs(max_width=40, max_blocks=3))
def test_any_architecture_agrees_with_torch_and_onnx(sized):
    arch, resolution = sized
    graph = lower(arch, resolution, 10)
    counts = count(graph)
    assert (counts.params, counts.macs) == torch_counts(graph)
    assert weight_bytes(emit_onnx(graph)) == counts.model_bytes


@PROPERTY
@given(sized_archs(max_width=40, max_blocks=3))
def test_auxiliary_heads_cost_only_in_training(sized):
    arch, resolution = sized
    training = lower(arch, resolution, 10, training=True)
    counts, deployed = count(training), count(lower(arch, resolution, 10))
    assert (counts.params, counts.macs) == torch_counts(training)
    heads = [op for op in training.ops if op.name.startswith("aux")]
    assert counts.params - deployed.params == sum(map(op_params, heads))
    assert counts.macs - deployed.macs == sum(map(op_macs, heads))
    assert (len(heads) > 0) == (counts.params > deployed.params) == (len(arch.aux) > 0)


def test_separable_convolution_by_the_formula_of_the_paper():
    """H W M (K^2 + N) multiply-adds, arXiv 1807.11626, section 4.1."""
    side, in_channels, out_channels, kernel = 16, 32, 24, 5
    block = parse_arch(f"stem_k3_s22_o{in_channels} r1_k{kernel}_s11_e1_i{in_channels}_o{out_channels}")
    graph = lower(block, 2 * side, 10)
    ops = tuple(op for op in graph.ops if op.name.startswith("b1."))
    counts = count(Graph((in_channels, side, side), (dataclasses.replace(ops[0], inputs=(INPUT,)), ops[1])))
    assert counts.macs == side * side * in_channels * (kernel**2 + out_channels)
    assert counts.params == in_channels * (kernel**2 + 2) + out_channels * (in_channels + 2)
    assert counts.activations == side * side * (in_channels + out_channels)


def conv(name, source, shape, in_channels, kernel=1, stride=1, norm=DEFAULT_NORM):
    return Conv(name, (source,), shape, in_channels, (kernel, kernel), stride, 1, norm is None, norm, "none")


def test_two_operations_by_hand():
    stem = conv("stem", INPUT, (8, 2, 2), 3, kernel=3, stride=2)
    counts = count(Graph((3, 4, 4), (stem, Linear("classifier", ("stem",), (10, 1, 1), 32, 0.2))))
    assert counts.macs == 8 * 3 * 9 * 4 + 32 * 10
    assert counts.params == (8 * 3 * 9 + 16) + (32 * 10 + 10)
    assert counts.activations == 8 * 4 + 10
    assert counts.model_bytes == 4 * ((8 * 3 * 9 + 8) + (32 * 10 + 10))
    assert counts.peak_memory_bytes == 4 * (3 * 16 + 8 * 4)  # image and stem; the image is free when 32 + 10 are live


def test_a_skip_keeps_its_tensor_in_memory():
    first = conv("a", INPUT, (4, 4, 4), 1)
    second = conv("b", "a", (4, 4, 4), 4)
    with_skip = count(Graph((1, 4, 4), (first, second, Add("c", ("b", "a"), (4, 4, 4)))))
    without = count(Graph((1, 4, 4), (first, second, conv("c", "b", (4, 4, 4), 4))))
    assert without.peak_memory_bytes == 4 * (64 + 64)
    assert with_skip.peak_memory_bytes == 4 * (64 + 64 + 64)


def test_a_tensor_used_twice_by_one_operation_is_freed_once():
    ops = (conv("a", INPUT, (4, 4, 4), 1), Add("b", ("a", "a"), (4, 4, 4)), conv("c", "b", (8, 4, 4), 4))
    assert count(Graph((1, 4, 4), ops)).peak_memory_bytes == 4 * (64 + 128)


def test_pooling_scaling_and_adding_are_free():
    shape = (4, 8, 8)
    ops = (
        AveragePool("pool", (INPUT,), shape, 3, 1),
        Add("add", (INPUT, "pool"), shape),
        GlobalPool("mean", ("add",), (4, 1, 1)),
        Scale("scale", ("add", "mean"), shape),
    )
    counts = count(Graph(shape, ops))
    assert (counts.macs, counts.params, counts.activations, counts.model_bytes) == (0, 0, 0, 0)


def test_narrowing_a_block_never_raises_macs():
    """Fewer filters or layers, smaller kernels or expansions, no SE: never more multiply-adds or parameters."""
    rng = np.random.default_rng(1)
    for _ in range(20):
        choices = MNASNET.sample(rng)
        for choice in MNASNET.choices:
            if choice.name.endswith(".skip"):
                continue
            ascending = choice.options[1:] if choice.name.endswith(".op") else choice.options  # "conv" has no place
            counts = [count(lower(MNASNET.decode(choices | {choice.name: o}), 32, 10)) for o in ascending]
            assert [c.macs for c in counts] == sorted(c.macs for c in counts), (choice.name, choices)
            assert [c.params for c in counts] == sorted(c.params for c in counts), (choice.name, choices)


@PROPERTY
@given(sized_archs(span=16))
def test_macs_and_memory_grow_with_resolution_and_parameters_do_not(sized):
    arch, side = sized
    small, large = (count(lower(arch, resolution, 10)) for resolution in (side, 2 * side))
    assert (small.params, small.model_bytes) == (large.params, large.model_bytes)
    assert small.macs <= large.macs
    assert small.activations <= large.activations
    assert small.peak_memory_bytes <= large.peak_memory_bytes


def test_shortest_path_goes_round_what_is_skipped_and_takes_the_shortest_branch():
    chain = parse_arch("stem_k3_s22_o8 r2_k3_s11_e2_i8_o8_noskip head_o16")
    assert shortest_path(lower(chain, 16, 5)) == 3 + 2 * 3  # stem, head, classifier; expand, depthwise, project
    assert shortest_path(lower(zoo.find("googlenet").arch, 224, 1000)) == 3 + 9 + 1  # of each module its 1x1 branch
