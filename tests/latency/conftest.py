"""Small ONNX networks, and one measuring process for all tests that need a real one."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numpy as np
import onnx
import pytest
from onnx import NodeProto, TensorProto, helper

from latency.cores import measuring_core
from latency.estimator import Goal
from latency.measuring_lock import measuring_lock
from latency.meter import MeterSettings
from latency.meter_process import MeterProcess

# The real clock decides how long these take, not whether they pass: a budget ends them soon and the goal is loose.
QUICK = MeterSettings(
    goal=Goal(half_width=0.2, min_sessions=2),
    budget_s=0.2,
    session_s=0.02,
    refill_s=0.001,
    block_s=0.002,
    warmup_s=0.003,
    max_warmup_s=0.05,
)


def _model(nodes: list[NodeProto], shape: list[int | str], weights: dict[str, np.ndarray], output: str) -> bytes:
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
        [onnx.numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    serialised: bytes = model.SerializeToString()
    return serialised


def _conv(name: str, source: str, output: str, kernel: int, group: int = 1) -> NodeProto:
    return helper.make_node(
        "Conv",
        [source, f"{name}.weight", f"{name}.bias"],
        [output],
        name=name,
        kernel_shape=[kernel, kernel],
        pads=[kernel // 2] * 4,
        group=group,
    )


def build_network(channels: int = 32, size: int = 24, batch: int | str = 1) -> bytes:
    """Stem, then an inverted residual with squeeze-and-excitation: all that the search spaces are made of."""
    rng = np.random.default_rng(0)
    shapes = {
        "stem": (channels, 3, 3, 3),
        "expand": (2 * channels, channels, 1, 1),
        "depthwise": (2 * channels, 1, 3, 3),
        "se.reduce": (8, 2 * channels, 1, 1),
        "se.gate": (2 * channels, 8, 1, 1),
        "project": (channels, 2 * channels, 1, 1),
    }
    weights = {f"{name}.weight": rng.standard_normal(shape, np.float32) / 8 for name, shape in shapes.items()}
    weights |= {f"{name}.bias": np.zeros(shape[0], np.float32) for name, shape in shapes.items()}
    node = helper.make_node
    nodes = [
        _conv("stem", "input", "stem/pre", 3),
        node("HardSwish", ["stem/pre"], ["stem"], name="stem/hswish"),
        _conv("expand", "stem", "expand/pre", 1),
        node("Relu", ["expand/pre"], ["expand"], name="expand/relu"),
        _conv("depthwise", "expand", "depthwise/pre", 3, group=2 * channels),
        node("Relu", ["depthwise/pre"], ["depthwise"], name="depthwise/relu"),
        node("GlobalAveragePool", ["depthwise"], ["se.pool"], name="se.pool"),
        _conv("se.reduce", "se.pool", "se.reduce/pre", 1),
        node("Relu", ["se.reduce/pre"], ["se.reduce"], name="se.reduce/relu"),
        _conv("se.gate", "se.reduce", "se.gate/pre", 1),
        node("Sigmoid", ["se.gate/pre"], ["se.gate"], name="se.gate/sigmoid"),
        node("Mul", ["depthwise", "se.gate"], ["se.scale"], name="se.scale"),
        _conv("project", "se.scale", "project", 1),
        node("Add", ["project", "stem"], ["add"], name="add"),
    ]
    return _model(nodes, [batch, 3, size, size], weights, "add")


def build_endless() -> bytes:
    """A network that never ends: 2 ** 62 turns of a loop."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["keep_going"], ["go_on"]),
            helper.make_node("Add", ["x", "x"], ["y"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("keep_going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [1]),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("y", TensorProto.FLOAT, [1]),
        ],
    )
    loop = helper.make_node("Loop", ["turns", "", "input"], ["output"], name="loop", body=body)
    return _model([loop], [1], {"turns": np.array(2**62, np.int64)}, "output")


@pytest.fixture(scope="session", autouse=True)
def own_lock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A search that runs on this machine must not hold up the tests, nor they it."""
    lock = functools.partial(measuring_lock, tmp_path_factory.mktemp("lock") / "lock")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("latency.meter_process.measuring_lock", lock)
        yield


@pytest.fixture(scope="session")
def network() -> bytes:
    return build_network()


@pytest.fixture(scope="session")
def larger_network() -> bytes:
    return build_network(channels=64, size=48)


@pytest.fixture(scope="session")
def dynamic_network() -> bytes:
    return build_network(batch="batch")


@pytest.fixture(scope="session")
def batch_of_two() -> bytes:
    return build_network(batch=2)


@pytest.fixture(scope="session")
def endless_network() -> bytes:
    return build_endless()


@pytest.fixture(scope="session")
def quick() -> MeterSettings:
    return QUICK


@pytest.fixture(scope="module")
def process() -> Iterator[MeterProcess]:
    with MeterProcess(measuring_core()) as running:
        yield running
