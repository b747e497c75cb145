"""The ONNX interpreter: valid models that compute in ONNX Runtime what the torch module computes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from search_spaces import zoo
from search_spaces.arch import DEFAULT_NORM
from search_spaces.arch_string import parse_arch
from search_spaces.graph import Add, Conv, Graph, Linear, Op
from search_spaces.lower import lower
from search_spaces.mnasnet import MNASNET
from search_spaces.onnx_model import OUTPUT, check_model, emit_onnx, given_weights, seeded_weights, weight_shape
from search_spaces.torch_module import build_module, folded_weights
from tests.strategies import PROPERTY, sized_archs

MODULES = (
    "norm_e0.01 stem_k3_s22_o8_valid maxpool_k3_s22_ceil lrn r1_k3_s22_bv4_i8_o16_relu6 avgpool_k3_s11_countpad "
    "branches_i16_gse0.5_swish(k1x7_o4|k1_o4,(k3x1_o4|k1x3_o4)|avgpool_k3_s11,k1_o4) r1_k3_s11_dwsep_i16_o16_swish "
    "branches_i16(k3_s22_o8_valid|maxpool_k3_s22_valid) head_noconv_d0 aux_b4_w0.3_o8_f8"
)
SMALL = "stem_k3_s22_o8_relu6 r2_k3_s22_e3_i8_o16_se0.25_hswish r1_k3_s22_conv_i16_o16_hse0.5_poolskip head_o32_f16"


def trained_module(graph, seed):
    """A module whose BN and biases are as different from their initial values as training would make them."""
    module = build_module(graph, seed).eval()
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.weight.uniform_(0.5, 1.5, generator=generator)
                part.bias.normal_(0, 0.3, generator=generator)
                part.running_mean.normal_(0, 0.3, generator=generator)
                part.running_var.uniform_(0.5, 2.0, generator=generator)
            elif isinstance(part, nn.Conv2d | nn.Linear) and part.bias is not None:
                part.bias.normal_(0, 0.1, generator=generator)
    return module


def run(model, images):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return session.run([OUTPUT], {"input": images})[0]


def relative_error(graph, seed, batch=1):
    """Largest difference between ONNX Runtime and torch over the largest logit, for random weights and images."""
    module = trained_module(graph, seed)
    model = emit_onnx(graph, given_weights(folded_weights(module)), batch=batch)
    check_model(model)
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(batch or 3, *graph.input_shape, generator=generator)
    with torch.inference_mode():
        expected = module(images).numpy()
    got = run(model, images.numpy())
    assert got.shape == expected.shape
    scale = np.abs(expected).max()
    assert 1e-2 < scale < 1e6, f"logits of scale {scale} prove nothing"
    return np.abs(got - expected).max() / scale


@pytest.mark.parametrize("part", range(5))
def test_runtime_equals_torch_on_random_architectures(part):
    rng = np.random.default_rng(part)
    for number in range(10):
        arch = MNASNET.decode(MNASNET.sample(rng))
        graph = lower(arch, 32 if number % 2 else 64, 10)
        assert relative_error(graph, seed=10 * part + number) < 1e-4, str(arch)


@pytest.mark.parametrize("name", zoo.ZOO)
def test_runtime_equals_torch_on_published_networks(name):
    resolution = 97 if name == "inception_v3" else 65
    assert relative_error(lower(zoo.get(name), resolution, 10), seed=0) < 1e-4


@settings(PROPERTY, max_examples=100)
@given(sized_archs(max_width=16, max_blocks=3), st.sampled_from((None, 1, 2)))
def test_runtime_equals_torch_on_any_architecture(sized, batch):
    arch, resolution = sized
    assert relative_error(lower(arch, resolution, 10), seed=0, batch=batch) < 1e-4


POOLS = [
    f"{kind}pool_k{kernel}_s{stride}{stride}{padding}"
    for kind in ("max", "avg")
    for kernel, padding in ((3, ""), (5, ""), (2, "_valid"), (3, "_valid"), (2, "_ceil"), (3, "_ceil"), (5, "_ceil"))
    for stride in (1, 2)
] + ["avgpool_k3_s11_countpad", "avgpool_k3_s22_countpad"]


@pytest.mark.parametrize("pool", POOLS)
def test_runtime_equals_torch_on_poolings_of_even_and_odd_maps(pool):
    arch = parse_arch(f"stem_k1_s11_o4 {pool} head_noconv")
    for resolution in (5, 6, 7, 8):
        assert relative_error(lower(arch, resolution, 10), seed=0) < 1e-5


def test_free_batch_dimension():
    graph = lower(parse_arch(SMALL), 32, 10)
    model = emit_onnx(graph, batch=None)
    check_model(model)
    images = np.random.default_rng(0).standard_normal((3, 3, 32, 32), dtype=np.float32)
    together = run(model, images)
    assert together.shape == (3, 10)
    one_by_one = np.concatenate([run(emit_onnx(graph), image[None]) for image in images])
    np.testing.assert_allclose(together, one_by_one, rtol=1e-4, atol=1e-5 * np.abs(together).max())


def test_interface_and_versions():
    model = onnx.load_from_string(emit_onnx(lower(parse_arch(SMALL), 32, 10), batch=2))
    (image,), (logits,) = model.graph.input, model.graph.output
    assert (image.name, [d.dim_value for d in image.type.tensor_type.shape.dim]) == ("input", [2, 3, 32, 32])
    assert (logits.name, [d.dim_value for d in logits.type.tensor_type.shape.dim]) == ("logits", [2, 10])
    assert [(opset.domain, opset.version <= 17) for opset in model.opset_import] == [("", True)]
    assert model.ir_version <= 8


@pytest.mark.parametrize("text", [SMALL, MODULES])
def test_tensors_and_nodes_bear_the_names_of_operations(text):
    graph = lower(parse_arch(text), 32, 10)
    model = onnx.load_from_string(emit_onnx(graph))
    names = [node.name for node in model.graph.node]
    assert len(set(names)) == len(names)
    assert [name for name in names if "/" not in name] == [op.name for op in graph.ops]
    outputs = {output for node in model.graph.node for output in node.output}
    assert {op.name for op in graph.ops[:-1]} | {"logits"} <= outputs
    assert outputs - {op.name for op in graph.ops} - {"logits"} == {
        *(f"{op.name}/pre" for op in graph.ops if isinstance(op, Conv | Add) and op.activation != "none"),
        *(f"{op.name}/sigmoid" for op in graph.ops if isinstance(op, Conv) and op.activation == "swish"),
        "classifier/flat",
    }


@pytest.mark.parametrize("text", [SMALL, MODULES])
def test_shapes_that_onnx_infers_are_those_of_the_graph(text):
    graph = lower(parse_arch(text), 45, 10)
    inferred = onnx.shape_inference.infer_shapes(onnx.load_from_string(emit_onnx(graph)), strict_mode=True)
    shapes = {v.name: tuple(d.dim_value for d in v.type.tensor_type.shape.dim) for v in inferred.graph.value_info}
    for op in graph.ops[:-1]:
        assert shapes[op.name] == (1, *op.shape)


def test_metadata_round_trip():
    metadata = {"mean": "0.485,0.456,0.406", "arch": SMALL, "class": "Straße"}
    model = emit_onnx(lower(parse_arch(SMALL), 32, 10), metadata=metadata)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    assert session.get_modelmeta().custom_metadata_map == metadata


def test_bytes_are_a_function_of_the_seed():
    graph = lower(parse_arch(SMALL), 32, 10)
    default, zero, again, one = (emit_onnx(graph, w) for w in (None, *map(seeded_weights, (0, 0, 1))))
    assert default == zero == again != one


def test_seeded_weights_are_he_normal_and_ordinary_numbers():
    source = seeded_weights(0)
    for op in lower(zoo.get("mnasnet_b1"), 224, 1000).ops:
        if isinstance(op, Conv | Linear):
            weight, bias = source(op)
            fan_in = np.prod(weight.shape[1:])
            assert weight.shape == weight_shape(op)
            assert weight.dtype == bias.dtype == np.float32
            assert not bias.any()
            spread = weight.std() / np.sqrt(2 / fan_in)
            assert spread == pytest.approx(1, abs=5 / np.sqrt(2 * weight.size)), op.name
            assert np.abs(weight[weight != 0]).min() > np.finfo(np.float32).tiny


def test_seeded_weights_of_a_tensor_larger_than_the_pool():
    source = seeded_weights(0)
    weight, _ = source(Linear("big", ("x",), (3000, 1, 1), 1000, 0.0))
    assert weight.shape == (3000, 1000)
    assert weight.std() == pytest.approx(np.sqrt(2 / 1000), rel=0.01)
    assert source(Linear("next", ("x",), (10, 1, 1), 10, 0.0))[0].shape == (10, 10)


def test_weights_of_a_wrong_shape_are_refused():
    graph = lower(parse_arch(SMALL), 32, 10)
    wrong = np.zeros((8, 4, 3, 3), np.float32), np.zeros(8, np.float32)
    weights = {**folded_weights(build_module(graph, 0)), "stem": wrong}
    with pytest.raises(ValueError, match=r"stem: weight \(8, 4, 3, 3\) and bias \(8,\); .* \(8, 3, 3, 3\) and \(8,\)"):
        emit_onnx(graph, given_weights(weights))


def test_auxiliary_heads_are_not_deployed():
    arch = parse_arch(MODULES)
    training = lower(arch, 32, 10, training=True)
    with pytest.raises(ValueError, match="a graph with auxiliary heads is for training"):
        emit_onnx(training)
    weights = folded_weights(build_module(training, 0))
    model = emit_onnx(lower(arch, 32, 10), given_weights(weights))
    assert not [t.name for t in onnx.load_from_string(model).graph.initializer if t.name.startswith("aux")]
    assert [name for name in weights if name.startswith("aux")] == ["aux1.conv", "aux1.hidden", "aux1.classifier"]


def test_what_has_no_operator_is_reported():
    @dataclass(frozen=True, slots=True)
    class Shuffle(Op):
        pass

    with pytest.raises(TypeError, match=r"no ONNX operator for operation .*Shuffle\(name='s'"):
        emit_onnx(Graph((3, 8, 8), (Shuffle("s", ("input",), (3, 8, 8)),)))
    gelu = Conv("c", ("input",), (4, 8, 8), 3, (1, 1), 1, 1, False, DEFAULT_NORM, "gelu")
    with pytest.raises(ValueError, match="no ONNX operator for activation 'gelu'"):
        emit_onnx(Graph((3, 8, 8), (gelu,)))
