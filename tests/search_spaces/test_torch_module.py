"""The torch interpreter: initialisation by seed alone, structure, training and inference modes, BN folding."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from torch import nn

from search_spaces import zoo
from search_spaces.arch import BLOCK_ACTIVATIONS
from search_spaces.arch_string import parse_arch
from search_spaces.graph import INPUT, Conv, Graph, Linear, Op
from search_spaces.lower import lower
from search_spaces.onnx_model import weight_shape
from search_spaces.torch_module import BN_MOMENTUM, GraphModule, build_module, folded_weights, loaded_module
from tests.strategies import PROPERTY, sized_archs

TEXT = (
    "stem_k3_s22_o8_hswish r2_k5_s22_e3_i8_o16_se0.25 r2_k3_s11_conv_i16_o16_hse0.25_relu6 "
    "r1_k3_s22_x24_i16_o16_poolskip head_o32_f24_hswish_d0.5"
)

MODULES = (
    "stem_k3_s22_o8 r1_k3_s11_conv_i8_o8_noskip maxpool_k3_s22_ceil r1_k3_s22_b4_i8_o16 "
    "branches_i16_gse0.5(k1x7_o4|k1_o4,(k3x1_o4|k1x3_o4)|avgpool_k3_s11_countpad,k1_o4) head_noconv_d0 "
    "aux_b1_w0.3_o4_f6_d0.5 aux_b4_w0.4_o4_c5"
)


@pytest.fixture
def graph():
    return lower(parse_arch(TEXT), 32, 10)


@pytest.fixture
def images():
    return torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def test_the_seed_decides_the_weights(graph):
    one, same, other = (build_module(graph, seed).state_dict() for seed in (0, 0, 1))
    assert list(one) == list(same)
    assert all(torch.equal(one[name], same[name]) for name in one)
    drawn = [name for name in one if name.endswith(("conv.weight", "linear.weight"))]
    assert len(drawn) == sum(isinstance(op, Conv | Linear) for op in graph.ops)
    assert not any(torch.equal(one[name], other[name]) for name in drawn)


def test_building_leaves_the_global_generators_alone(graph):
    torch.manual_seed(3)
    numpy_state = np.random.get_state()[1].copy()  # noqa: NPY002
    state = torch.get_rng_state()
    build_module(graph, 0)
    assert torch.equal(torch.get_rng_state(), state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002


def test_initialisation():
    graph = lower(parse_arch("r1_k5_s11_e6_i32_o64 head_o1280"), 32, 1000)
    module = build_module(graph, 0)
    for name, fan_out in [("head.conv", 1280), ("b1.l1.expand", 192), ("b1.l1.depthwise", 25)]:
        weight = module.get_submodule(name).conv.weight
        spread = weight.std().item() / math.sqrt(2 / fan_out)
        assert spread == pytest.approx(1, abs=5 / math.sqrt(2 * weight.numel())), name  # 5 standard errors, seed fixed
        assert abs(weight.mean().item()) < 5 * math.sqrt(2 / fan_out / weight.numel()), name
    linear = module.get_submodule("classifier").linear
    assert linear.weight.std().item() == pytest.approx(0.01, rel=5 / math.sqrt(2 * linear.weight.numel()))
    assert not linear.bias.any()


def test_batch_norm_starts_with_our_constants(graph):
    norms = [part for part in build_module(graph, 0).modules() if isinstance(part, nn.BatchNorm2d)]
    assert len(norms) == sum(isinstance(op, Conv) and op.norm is not None for op in graph.ops)
    for norm in norms:
        assert (norm.eps, norm.momentum, norm.num_batches_tracked.item()) == (1e-3, BN_MOMENTUM, 0)
        assert (norm.running_var == 1).all()
        assert not norm.bias.any()
        assert not norm.running_mean.any()
    momenta = {p.momentum for p in build_module(graph, 0, bn_momentum=0.01).modules() if isinstance(p, nn.BatchNorm2d)}
    assert momenta == {0.01}


def test_a_convolution_has_either_bias_or_batch_norm(graph):
    module = build_module(graph, 0)
    biased = []
    for op in graph.ops:
        if isinstance(op, Conv):
            part = module.get_submodule(op.name)
            assert (part.conv.bias is None) == hasattr(part, "norm") == (op.norm is not None), op.name
            biased += [op.name] if part.conv.bias is not None else []
    assert biased == [f"b{b}.l{i}.se.{part}" for b in (1, 2) for i in (1, 2) for part in ("reduce", "gate")] + [
        "head.hidden"
    ]


def test_parameters_bear_the_names_of_operations(graph):
    names = {name.rsplit(".", 2)[0] for name, _ in build_module(graph, 0).named_parameters()}
    assert names == {op.name for op in graph.ops if isinstance(op, Conv | Linear)}


@PROPERTY
@given(sized_archs(max_width=16, max_blocks=3))
def test_every_tensor_has_the_shape_of_its_operation(sized):
    arch, resolution = sized
    graph = lower(arch, resolution, 5, training=True)
    module = GraphModule(graph).eval()
    seen = {}
    for op in graph.ops:
        module.get_submodule(op.name).register_forward_hook(
            lambda _, __, output, name=op.name: seen.update({name: tuple(output.shape)})
        )
    with torch.inference_mode():
        outputs = module.outputs(torch.zeros(2, 3, resolution, resolution))
    assert [logits.shape for logits in outputs] == [(2, 5)] * (1 + len(arch.aux))
    flat = {op.name: (2, op.shape[0]) for op in graph.ops if isinstance(op, Linear)}
    assert seen == {op.name: (2, *op.shape) for op in graph.ops} | flat


def test_it_works_at_another_resolution(graph, images):
    module = build_module(graph, 0).eval()
    assert module(F.interpolate(images, size=45)).shape == (4, 10)


def test_dropout_acts_in_training_only(graph, images):
    module = build_module(graph, 0, bn_momentum=0.0)  # BN's own statistics stay as they are
    module.train()
    torch.manual_seed(0)
    assert not torch.equal(module(images), module(images))
    module.eval()
    assert torch.equal(module(images), module(images))
    without = build_module(lower(parse_arch(TEXT.replace("d0.5", "d0")), 32, 10), 0).train()
    assert torch.equal(without(images), without(images))


@pytest.mark.parametrize("activation", BLOCK_ACTIVATIONS)
@pytest.mark.parametrize("op", ["e3", "conv"])
@pytest.mark.parametrize("se", ["", "_se0.5"])
def test_only_linear_ends_of_skipped_branches_start_at_zero(op, se, activation):
    """Gamma 0 before a ReLU would be for ever: at 0 it passes no gradient on."""
    text = f"stem_k3_s11_o8 r2_k3_s11_{op}_i8_o8{se}_{activation} r1_k3_s11_{op}_i8_o16{se}_{activation}"
    module = build_module(lower(parse_arch(text), 16, 10), 0)
    norms = {name: part.weight for name, part in module.named_modules() if isinstance(part, nn.BatchNorm2d)}
    zero = {name for name, gamma in norms.items() if not gamma.any()}
    assert all((gamma == 1).all() for name, gamma in norms.items() if name not in zero)
    assert zero == ({"b1.l1.project.norm", "b1.l2.project.norm"} if op == "e3" else set())


@pytest.mark.parametrize(
    "text",
    [
        TEXT.replace("se0.25", "se1"),  # two squeezed channels may both be dead by chance
        "stem_k3_s22_o8 r2_k3_s11_conv_i8_o8 r2_k3_s11_conv_i8_o8_poolskip head_o32",
        "stem_k3_s22_o8 r2_k3_s11_dwsep_i8_o8_relu6 r2_k3_s22_b8_i8_o16_gse0.5 r2_k3_s11_bv8_i16_o16 head_noconv_d0",
        "stem_k3_s22_o8 branches_i8_swish(k1_o8|k1_o8,(k1x3_o8|k3x1_o8)|maxpool_k3_s11,k1_o8) head_noconv_d0",
    ],
)
def test_every_parameter_learns(text, images):
    """Two steps: where gamma starts at 0, the weights before it wait for the first."""
    module = build_module(lower(parse_arch(text), 32, 10), 0).train()
    torch.manual_seed(0)
    optimizer = torch.optim.SGD(module.parameters(), 0.01)
    for _ in range(2):
        optimizer.zero_grad()
        F.cross_entropy(module(images), torch.arange(len(images))).backward()
        optimizer.step()
    assert [name for name, p in module.named_parameters() if not p.grad.any() or not p.grad.isfinite().all()] == []


def test_a_copy_is_independent(graph, images):
    module = build_module(graph, 0).eval()
    before = module(images)
    clone = copy.deepcopy(module)
    with torch.no_grad():
        clone.get_submodule("classifier").linear.bias.add_(1)
    assert torch.equal(module(images), before)
    torch.testing.assert_close(clone(images), before + 1)


def test_folded_weights_are_the_convolution_with_its_batch_norm(graph):
    assert_folds(build_module(graph, 0).eval(), graph)


def test_folded_weights_of_modules_auxiliary_heads_and_convolutions_without_norm():
    for norm in ("norm_e0.5", "nonorm"):
        graph = lower(parse_arch(f"{norm} {MODULES}"), 33, 10, training=True)
        assert_folds(build_module(graph, 0).eval(), graph)


def assert_folds(module, graph):
    generator = torch.Generator().manual_seed(1)
    for name, values in module.state_dict().items():
        if name.endswith(("norm.weight", "running_var")):
            values.uniform_(0.5, 1.5, generator=generator)
        elif name.endswith(("bias", "running_mean")):
            values.normal_(generator=generator)
    folded = folded_weights(module)
    assert list(folded) == [op.name for op in graph.ops if isinstance(op, Conv | Linear)]
    for op in graph.ops:
        if not isinstance(op, Conv | Linear):
            continue
        weight, bias = folded[op.name]
        assert (weight.dtype, bias.dtype) == (np.float32, np.float32)
        assert (weight.shape, bias.shape) == (weight_shape(op), (op.shape[0],))
        assert weight.flags.c_contiguous
        part = module.get_submodule(op.name)
        tensors = torch.from_numpy(weight), torch.from_numpy(bias)
        if isinstance(op, Linear):
            assert torch.equal(tensors[0], part.linear.weight)
            assert torch.equal(tensors[1], part.linear.bias)
            continue
        x = torch.randn(2, op.in_channels, 9, 9, generator=generator)
        expected = part.norm(part.conv(x)) if op.norm else part.conv(x)
        got = F.conv2d(x, *tensors, op.stride, part.conv.padding, groups=op.groups)
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5 * expected.abs().max().item())


def test_folded_weights_do_not_share_memory_with_the_module(graph):
    module = build_module(graph, 0)
    folded = folded_weights(module)
    before = {name: (weight.copy(), bias.copy()) for name, (weight, bias) in folded.items()}
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(1)
    for name, (weight, bias) in folded.items():
        assert np.array_equal(weight, before[name][0])
        assert np.array_equal(bias, before[name][1])


def test_an_unknown_operation_is_reported():
    @dataclass(frozen=True, slots=True)
    class Shuffle(Op):
        pass

    with pytest.raises(TypeError, match=r"no torch module for operation .*Shuffle\(name='s'"):
        GraphModule(Graph((3, 8, 8), (Shuffle("s", ("input",), (3, 8, 8)),)))


def test_published_network_runs(images):
    module = build_module(lower(zoo.get("mobilenet_v3_small"), 32, 10), 0).eval()
    with torch.inference_mode():
        assert module(images).isfinite().all()


def test_local_response_normalisation_by_the_formula():
    """AlexNet, section 3.3: b = a / (k + alpha / n sum a^2)^beta over n neighbouring channels, k = 1 (caffe's form)."""
    graph = lower(parse_arch("nonorm stem_k1_s11_o6 lrn_k3 head_noconv"), 4, 10)
    module = build_module(graph, 0).get_submodule("b1.l1.lrn")
    x = 100 * torch.randn(2, 6, 4, 4, generator=torch.Generator().manual_seed(0))
    squares = F.pad(x**2, (0, 0, 0, 0, 1, 1))
    sums = squares[:, :-2] + squares[:, 1:-1] + squares[:, 2:]
    torch.testing.assert_close(module(x), x / (1 + 1e-4 / 3 * sums) ** 0.75)


def test_epsilon_is_part_of_what_the_network_computes(images):
    one, other = (build_module(lower(parse_arch(f"norm_e{e} {TEXT}"), 32, 10), 0).eval() for e in ("0.001", "0.5"))
    other.load_state_dict(one.state_dict())
    assert not torch.allclose(one(images), other(images))


@pytest.fixture
def training_graph():
    return lower(parse_arch(MODULES), 33, 10, training=True)


def test_outputs_are_the_logits_and_those_of_the_auxiliary_heads(training_graph):
    module = build_module(training_graph, 0).eval()
    x = torch.randn(2, 3, 33, 33, generator=torch.Generator().manual_seed(0))
    main, first, second = module.outputs(x)
    assert torch.equal(module(x), main)
    tensors = {}
    for name in ("b1.l1.conv", "b4.l1.se.scale"):
        module.get_submodule(name).register_forward_hook(
            lambda _, __, output, name=name: tensors.update({name: output})
        )
    module(x)
    y = F.avg_pool2d(tensors["b1.l1.conv"], 5, 3)
    y = module.get_submodule("aux1.conv")(y)
    y = F.relu(module.get_submodule("aux1.hidden").linear(y.flatten(1)))
    torch.testing.assert_close(module.get_submodule("aux1.classifier").linear(y), first)
    y = F.avg_pool2d(tensors["b4.l1.se.scale"], 4, 3)  # the map is 4x4
    y = module.get_submodule("aux2.conv")(y)
    y = F.relu(module.get_submodule("aux2.final.norm")(F.conv2d(y, module.get_submodule("aux2.final.conv").weight)))
    torch.testing.assert_close(module.get_submodule("aux2.classifier").linear(y.flatten(1)), second)


def test_auxiliary_heads_are_absent_at_inference(training_graph):
    """They run in `outputs` alone, and a module lowered without them has the other weights under the same names."""
    module = build_module(training_graph, 0).eval()
    ran = []
    for op in training_graph.ops:
        module.get_submodule(op.name).register_forward_hook(lambda *_, name=op.name: ran.append(name))
    x = torch.randn(2, 3, 33, 33, generator=torch.Generator().manual_seed(0))
    logits = module(x)
    assert ran == [op.name for op in training_graph.ops if not op.name.startswith("aux")]
    deployed = build_module(lower(parse_arch(MODULES), 33, 10), 1).eval()
    deployed.load_state_dict({n: v for n, v in module.state_dict().items() if not n.startswith("aux")})
    assert torch.equal(deployed(x), logits)
    assert deployed.outputs(x)[1:] == ()


def test_gradients_of_all_outputs_reach_the_common_part(training_graph):
    module = build_module(training_graph, 0).train()
    x = torch.randn(4, 3, 33, 33, generator=torch.Generator().manual_seed(0))
    stem = module.get_submodule("stem").conv.weight
    outputs = module.outputs(x)
    for logits in outputs:
        (gradient,) = torch.autograd.grad(logits.square().sum(), stem, retain_graph=True)
        assert gradient.any()
    classifier = module.get_submodule("classifier").linear.weight
    with pytest.raises(RuntimeError, match="not have been used"):
        torch.autograd.grad(outputs[1].sum(), classifier)


@PROPERTY
@given(sized_archs(max_width=8, max_blocks=3))
def test_a_program_can_be_run_in_parts(sized):
    arch, resolution = sized
    module = GraphModule(lower(arch, resolution, 5)).eval()
    x = torch.randn(2, 3, resolution, resolution, generator=torch.Generator().manual_seed(0))
    program = module.program
    with torch.inference_mode():
        whole = module(x)
        alive = {INPUT: x}
        for position in range(len(program.steps)):
            assert tuple(alive) == program.alive(position)
            needed = {name for step in program.steps[position:] for name in step.inputs}
            made = {step.output for step in program.steps[position:]}
            assert set(alive) == needed - made  # all that is missing, and nothing else
            alive = program.advance(alive, position, position + 1)
    assert torch.equal(alive[program.outputs[0]], whole)
    assert tuple(alive) == program.alive(len(program.steps)) == program.outputs


def test_a_loaded_module_has_copies_of_the_tensors_and_draws_nothing(graph, images):
    module = build_module(graph, 0).eval()
    state = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    before = torch.get_rng_state()
    loaded = loaded_module(graph, state)
    assert torch.equal(torch.get_rng_state(), before)
    assert not any(part.training for part in loaded.modules())
    strides = {name: tensor.stride() for name, tensor in module.state_dict().items()}
    assert {name: tensor.stride() for name, tensor in loaded.state_dict().items()} == strides
    for tensor in state.values():
        tensor.zero_()
    assert torch.equal(loaded(images), module(images))
    with pytest.raises(RuntimeError, match="classifier"):
        loaded_module(graph, {name: tensor for name, tensor in state.items() if not name.startswith("classifier")})
