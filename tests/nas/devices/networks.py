"""Small networks, and a meter and a trust that suit them. A server of the tests starts faster without the rest."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper

from latency.estimator import Goal
from latency.meter import MeterSettings
from nas.devices.trust import Trust

QUICK = MeterSettings(
    goal=Goal(half_width=0.2, min_sessions=2),
    budget_s=0.2,
    session_s=0.03,
    block_s=0.002,
    warmup_s=0.005,
    refill_s=0.001,
)
# Tiny networks on a shared core are off by more than 3 % now and then; what is too much has tests on made-up samples.
LENIENT = Trust(max_ratio=1e6, max_log_ratio=5, max_drift=50, max_factor=100, recheck_s=0.2)


def build_network(channels: int = 16, size: int = 32) -> bytes:
    """A convolution and an activation."""
    weight = np.random.default_rng(0).standard_normal((channels, 3, 3, 3), np.float32)
    nodes = [
        helper.make_node("Conv", ["input", "weight"], ["pre"], name="conv", kernel_shape=[3, 3], pads=[1] * 4),
        helper.make_node("Relu", ["pre"], ["output"], name="relu"),
    ]
    return build_model(nodes, [1, 3, size, size], [onnx.numpy_helper.from_array(weight, "weight")])


def build_model(nodes, shape, weights=(), domains=()) -> bytes:
    """Any model of these nodes from ``input`` to ``output``."""
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [None] * len(shape))],
        list(weights),
    )
    opsets = [helper.make_opsetid("", 17), *(helper.make_opsetid(domain, 1) for domain in domains)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
