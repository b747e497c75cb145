from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from latency.cores import measuring_core
from latency.deployment import Deployment
from latency.int8 import quantize, seeded_images
from latency.kernel_profile import Kernel, kernels, profile
from latency.kernel_trace import trace
from latency.meter import MeterSettings
from latency.meter_process import MeterProcess
from latency.runtime import session_options
from search_spaces import zoo
from search_spaces.graph import Conv
from search_spaces.lower import lower
from search_spaces.onnx_model import check_model, emit_onnx

SMALL = Deployment(resolution=24, dtype="int8")
ZOO = Deployment(resolution=64, dtype="int8")


def outputs(model: bytes, images: list[np.ndarray]) -> np.ndarray:
    options = session_options(Deployment())
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return np.stack([session.run(None, {"input": image})[0] for image in images])


def scales(model: bytes) -> dict[str, np.ndarray]:
    graph = onnx.load_from_string(model).graph
    named = {i.name: onnx.numpy_helper.to_array(i) for i in graph.initializer}
    conversions = (node for node in graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear"))
    return {node.name: named[node.input[1]] for node in conversions}


@pytest.fixture(scope="module")
def quantized(network: bytes) -> bytes:
    return quantize(network, seeded_images(SMALL))


def test_agrees_with_the_float_network_on_other_images(network: bytes, quantized: bytes) -> None:
    images = list(seeded_images(SMALL, num=4, seed=1))
    expected, found = outputs(network, images), outputs(quantized, images)
    assert found.shape == expected.shape
    for one, other in zip(expected, found, strict=True):
        assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.95
    assert found.std() == pytest.approx(expected.std(), rel=0.1)


def test_weights_of_seven_bits(network: bytes, quantized: bytes) -> None:
    def largest(model: bytes) -> int:
        weights = [i for i in onnx.load_from_string(model).graph.initializer if i.name.endswith("weight_quantized")]
        assert weights
        return max(int(np.abs(onnx.numpy_helper.to_array(weight).astype(int)).max()) for weight in weights)

    assert largest(quantized) == 127
    assert largest(quantize(network, seeded_images(SMALL), reduce_range=True)) <= 64


def test_border_names_and_metadata_stay() -> None:
    model = emit_onnx(lower(zoo.get("mobilenet_v3_small"), 32, 10), batch=2, metadata={"mean": "0.5"})
    found = quantize(model, seeded_images(Deployment(resolution=32, batch=2), num=1))
    check_model(found)
    before, after = onnx.load_from_string(model), onnx.load_from_string(found)
    assert (after.graph.input, after.graph.output) == (before.graph.input, before.graph.output)
    assert after.metadata_props == before.metadata_props
    assert {node.domain for node in after.graph.node} == {""}
    assert {opset.domain for opset in after.opset_import} == {""}
    assert (after.ir_version, after.opset_import[0].version) == (before.ir_version, before.opset_import[0].version)
    kept = {node.name for node in after.graph.node}
    assert {node.name for node in before.graph.node if node.op_type not in ("Relu", "Clip")} <= kept
    assert len(found) < 0.35 * len(model)  # a byte for each four, and the conversions


def test_same_images_same_bytes(network: bytes, quantized: bytes) -> None:
    assert quantize(network, seeded_images(SMALL)) == quantized
    assert quantize(network, seeded_images(SMALL, seed=1)) != quantized


NOISE = list(seeded_images(Deployment(resolution=32), num=2))
DARK = [np.zeros((1, 3, 32, 32), np.float32)]  # every range is the single value 0


@pytest.mark.parametrize(
    ("name", "images"),
    [("mnasnet_a1", NOISE), ("mobilenet_v2", NOISE), ("mobilenet_v3_large", NOISE), ("mobilenet_v3_large", DARK)],
)
def test_random_weights_have_usable_scales(name: str, images: list[np.ndarray]) -> None:
    found = scales(quantize(emit_onnx(lower(zoo.get(name), 32, 10)), images))
    assert len(found) > 100
    assert all(np.isfinite(scale).all() and (scale > 0).all() for scale in found.values())


def test_images_must_fit(network: bytes) -> None:
    with pytest.raises(ValueError, match=r"images of shape \(1, 3, 32, 32\); input 'input' takes \(1, 3, 24, 24\)"):
        quantize(network, seeded_images(Deployment(resolution=32)))
    with pytest.raises(ValueError, match="images of float64"):
        quantize(network, [np.zeros((1, 3, 24, 24))])
    with pytest.raises(ValueError, match="no images"):
        quantize(network, [])
    with pytest.raises(ValueError, match="images with values that are not finite"):
        quantize(network, [np.full((1, 3, 24, 24), np.nan, np.float32)])


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e38])
def test_weights_that_training_has_ruined_are_named(network: bytes, value: float) -> None:
    model = onnx.load_from_string(network)
    weight = next(i for i in model.graph.initializer if i.name == "expand.weight")
    weight.CopyFrom(onnx.numpy_helper.from_array(np.full(tuple(weight.dims), value, np.float32), weight.name))
    with pytest.raises(ValueError, match="tensor 'expand/pre' is not finite"):
        quantize(model.SerializeToString(), seeded_images(SMALL, num=1))


def test_seeded_images() -> None:
    deployment = Deployment(resolution=40, batch=3)
    images = list(seeded_images(deployment, num=2))
    assert [(image.shape, image.dtype) for image in images] == [((3, 3, 40, 40), np.float32)] * 2
    assert not np.array_equal(*images)
    assert np.array_equal(images, list(seeded_images(deployment, num=2)))
    with pytest.raises(ValueError, match="at least 1 batch"):
        seeded_images(deployment, num=0)


def zoo_kernels(name: str) -> tuple[set[str], list[Kernel]]:
    """Names of the convolutions, and what is executed for the int8 network."""
    graph = lower(zoo.get(name), ZOO.resolution, 10)
    model = quantize(emit_onnx(graph), seeded_images(ZOO, num=1))
    rows = kernels(model, trace(model, 2, session_options(ZOO), ZOO.provider))
    return {op.name for op in graph.ops if isinstance(op, Conv)}, rows


@pytest.mark.parametrize("name", ["mobilenet_v2", "mobilenet_v3_large"])
def test_every_kernel_of_an_int8_network_has_an_origin(name: str) -> None:
    convolutions, rows = zoo_kernels(name)
    assert [row for row in rows if row.origin is None] == []
    int8 = [row.origin for row in rows if row.op_type == "QLinearConv"]
    assert sorted(filter(None, int8)) == sorted(convolutions)  # each once: none is taken for its neighbour
    operations = {operation.name for operation in lower(zoo.get(name), ZOO.resolution, 10).ops}
    assert {(row.origin or "").partition("/")[0] for row in rows} <= operations
    first, last = rows[0], rows[-1]
    assert (first.op_type, first.origin) == ("QuantizeLinear", "stem")
    assert (last.op_type, last.origin) == ("DequantizeLinear", "classifier")


def test_measured_and_profiled_in_the_measuring_process(quantized: bytes, quick: MeterSettings) -> None:
    with MeterProcess(measuring_core(), SMALL) as child:
        found = child.measure(quantized, quantized, quick)
        assert found.status != "failed"
        assert found.device == child.device.key
        assert child.device.dtype == "int8"
        rows = profile(child, quantized, num_runs=2)
    assert "QLinearConv" in {row.op_type for row in rows}
    assert all(row.origin for row in rows)
