"""A float32 network as an int8 one: static quantisation, after a look at what values its tensors take on some images.

Written as QuantizeLinear and DequantizeLinear around the float operators (QDQ), which the runtime fuses into its int8
kernels; what has none (HardSwish, HardSigmoid) runs in float32 between two conversions. Nodes keep their names, so that
`latency.kernel_profile` traces kernels to the operations of the float32 network. Images and logits stay float32.

Runs on the host, not on the device: needs onnx, and onnxruntime's quantisation tools.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import onnx
import onnxruntime as ort
from onnx import ModelProto, TensorProto, helper
from onnxruntime.quantization import CalibrationMethod, QDQQuantizer, QuantType
from onnxruntime.quantization.calibrate import TensorsData

from latency.deployment import CPU_PROVIDER, Deployment

# Operators with an int8 kernel on the CPU. A list of our own: the default is whatever the installed version registers.
_INT8_OPERATORS = (
    "Add",
    "AveragePool",
    "Clip",
    "Concat",
    "Conv",
    "Flatten",
    "Gemm",
    "GlobalAveragePool",
    "MaxPool",
    "Mul",
    "Relu",
    "Sigmoid",
)

# ONNX Runtime's guidance (quantize_static, "Choosing parameters for CPU inference"): x86 wants unsigned activations and
# signed weights; ARM prefers both signed and runs this pair too. One model for both, so that a latency is of the same
# network everywhere, and the pair whose loss is smaller where it is not the favourite: with signed activations
# MobileNetV2 and V3-Large took 1.7 and 1.9 times as long on x86 (ONNX Runtime 1.32, AMD EPYC with AVX-512 VNNI).
_ACTIVATION_TYPE = QuantType.QUInt8
_WEIGHT_TYPE = QuantType.QInt8

Ranges = dict[str, tuple[np.ndarray, np.ndarray]]
"""Tensor name -> its smallest and its largest value, float32 scalars."""


def seeded_images(deployment: Deployment, num: int = 8, seed: int = 0) -> Iterator[np.ndarray]:
    """Standard normal noise for networks with random weights, whose latency is asked and whose accuracy is not.

    Args:
        deployment: its batch and resolution.
        num: how many batches, at least 1.
        seed: of the noise; the same gives the same images.

    Returns:
        Arrays of shape (batch, 3, resolution, resolution), float32.

    Raises:
        ValueError: fewer than one batch.
    """
    if num < 1:
        raise ValueError(f"num {num}: at least 1 batch of images is needed")
    rng = np.random.default_rng(seed)
    shape = (deployment.batch, 3, deployment.resolution, deployment.resolution)
    return (rng.standard_normal(shape, dtype=np.float32) for _ in range(num))


def quantize(model: bytes, images: Iterable[np.ndarray], *, reduce_range: bool = False) -> bytes:
    """`model` with int8 weights (a scale for each output channel) and uint8 activations (a scale for each tensor).

    A tensor's range is the smallest one with 0 that holds its values on all `images`.

    Args:
        model: ONNX bytes, float32, one input; opset 13 or later.
        images: at least one array of the input's shape, (batch, 3, H, W), float32, normalised as the network expects.
        reduce_range: weights of 7 bits, for x86 processors without VNNI, whose int8 kernels otherwise saturate: the
            same latency, better accuracy there and a little worse elsewhere.

    Returns:
        ONNX bytes of standard operators; the same input, output and metadata.

    Raises:
        ValueError: no images, images of another shape or type, or tensors that are not finite on them.
    """
    network = onnx.load_from_string(model)
    quantizer = QDQQuantizer(
        onnx.load_from_string(model),  # it works in place
        per_channel=True,  # the ranges of folded depthwise weights differ widely by channel (arXiv 1906.04721, figure 2)
        reduce_range=reduce_range,
        weight_qType=_WEIGHT_TYPE,
        activation_qType=_ACTIVATION_TYPE,
        tensors_range=TensorsData(CalibrationMethod.MinMax, _ranges(network, images)),
        nodes_to_quantize=[],
        nodes_to_exclude=[],
        op_types_to_quantize=list(_INT8_OPERATORS),
        extra_options={},
    )
    quantizer.quantize_model()
    quantizer.model.topological_sort()  # the conversions were appended
    quantized: ModelProto = quantizer.model.model
    helper.set_model_props(quantized, {prop.key: prop.value for prop in network.metadata_props})
    quantized.producer_name, quantized.producer_version = network.producer_name, network.producer_version
    serialised: bytes = quantized.SerializeToString()
    return serialised


def _ranges(network: ModelProto, images: Iterable[np.ndarray]) -> Ranges:
    """Smallest and largest value of the input and of every node's output.

    Not by the calibrators of onnxruntime.quantization: their sessions take all cores, the measuring one included.
    """
    source = network.graph.input[0]
    names = [source.name, *(name for node in network.graph.node for name in node.output)]
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    observed = _with_extremes(network, names)
    session = ort.InferenceSession(observed.SerializeToString(), options, providers=[CPU_PROVIDER])
    wanted = [output.name for output in observed.graph.output]
    extremes = []
    for image in images:
        _check_image(image, source)
        extremes.append(session.run(wanted, {source.name: image}))
    if not extremes:
        raise ValueError("no images: at least one is needed to find the ranges of the tensors")
    table = np.array(extremes, np.float32).reshape(len(extremes), len(names), 2)
    lowest, highest = table[..., 0].min(axis=0), table[..., 1].max(axis=0)
    with np.errstate(invalid="ignore", over="ignore"):
        usable = np.isfinite(highest - lowest)
    if not usable.all():
        name = names[int(np.argmin(usable))]
        raise ValueError(
            f"tensor {name!r} is not finite on the images, so that it has no scale; are weights and images?"
        )
    return {name: (low, high) for name, low, high in zip(names, lowest, highest, strict=True)}


def _with_extremes(network: ModelProto, names: list[str]) -> ModelProto:
    """A copy whose outputs are the minimum and the maximum of each tensor in `names`, in that order."""
    observed = ModelProto()
    observed.CopyFrom(network)
    del observed.graph.output[:]
    for index, name in enumerate(names):
        for operator in ("ReduceMin", "ReduceMax"):
            extreme = f"extreme/{index}/{operator}"
            observed.graph.node.append(helper.make_node(operator, [name], [extreme], name=extreme, keepdims=0))
            observed.graph.output.append(helper.make_tensor_value_info(extreme, TensorProto.FLOAT, []))
    return observed


def _check_image(image: np.ndarray, source: onnx.ValueInfoProto) -> None:
    shape = tuple(size.dim_value for size in source.type.tensor_type.shape.dim)
    if image.dtype != np.float32 or image.ndim != len(shape):
        raise ValueError(f"images of {image.dtype}, shape {image.shape}; float32 of shape {shape} are needed")
    if any(wanted not in (0, size) for size, wanted in zip(image.shape, shape, strict=True)):  # 0: a free dimension
        raise ValueError(f"images of shape {image.shape}; input {source.name!r} takes {shape}, where 0 is any size")
    if not np.isfinite(image).all():
        raise ValueError("images with values that are not finite: normalise them as in training")
