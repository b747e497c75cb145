from __future__ import annotations

import base64

import pytest
from onnx import NodeProto, TensorProto, helper

from latency.kernel_profile import kernels, profile
from latency.meter_process import MeasuringError, MeterProcess

SOURCE_NODES = {"stem", "expand", "depthwise", "se.pool", "se.reduce", "se.gate", "se.scale", "project", "add"}


def graph_of(nodes: list[NodeProto]) -> bytes:
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "g", [value("input", TensorProto.FLOAT, [1])], [value("out", TensorProto.FLOAT, [1])]
    )
    serialised: bytes = helper.make_model(graph).SerializeToString()
    return serialised


def origins_of(source: list[NodeProto], executed: list[NodeProto]) -> dict[str, str | None]:
    trace = {
        "optimized": base64.b64encode(graph_of(executed)).decode(),
        "events": [[node.name, node.op_type, [5, 3, 4], [], []] for node in executed],
    }
    return {kernel.name: kernel.origin for kernel in kernels(graph_of(source), trace)}


def test_every_executed_kernel_has_an_origin(process: MeterProcess, network: bytes) -> None:
    rows = profile(process, network, num_runs=3)
    assert len({row.name for row in rows}) == len(rows) >= 7
    assert {(row.origin or "").partition("/")[0] for row in rows} <= SOURCE_NODES
    # Whatever the build fuses, the convolutions themselves are executed and found.
    convolutions = {(row.origin or "").partition("/")[0] for row in rows if "Conv" in row.op_type}
    assert convolutions == {"stem", "expand", "depthwise", "se.reduce", "se.gate", "project"}
    stem = next(row for row in rows if row.origin == "stem")
    assert stem.attributes["kernel_shape"] == [3, 3]
    assert stem.input_shapes[0] == (1, 3, 24, 24)
    assert all(row.median_us >= 0 for row in rows)


def test_fused_renamed_and_left_alone() -> None:
    node = helper.make_node
    source = [
        node("Conv", ["input", "w"], ["a/pre"], name="a"),
        node("HardSwish", ["a/pre"], ["a"], name="a/hswish"),
        node("Conv", ["a", "w"], ["b"], name="b"),
        node("Softmax", ["b"], ["out"], name="c"),
    ]
    executed = [
        node("ReorderInput", ["input"], ["t0"], name="ReorderInput"),
        node("Conv", ["t0", "w"], ["t1"], name="a/pre_nchwc"),
        node("Conv", ["t1", "w"], ["t2"], name="b_nchwc"),
        node("ReorderOutput", ["t2"], ["b"], name="ReorderOutput_token_7"),
        node("Softmax", ["b"], ["out"], name="c"),
    ]
    assert origins_of(source, executed) == {
        "ReorderInput": "a",  # changes the image for whoever reads it
        "a/pre_nchwc": "a",
        "b_nchwc": "b",
        "ReorderOutput_token_7": "b",
        "c": "c",
    }


def test_fused_in_the_plain_layout_and_without_a_trace() -> None:
    node = helper.make_node
    source = [node("Conv", ["input", "w"], ["a"], name="a"), node("Relu", ["a"], ["out"], name="r")]
    assert origins_of(source, [node("FusedConv", ["input", "w"], ["out"], name="fused a")]) == {"fused a": "a"}
    assert origins_of(source, [node("Mystery", ["x"], ["y"], name="m")]) == {"m": None}


def test_int8_kernels_belong_to_the_operations_they_compute() -> None:
    node = helper.make_node
    source = [
        node("QuantizeLinear", ["input", "s", "z"], ["q0"], name="input_QuantizeLinear"),
        node("DequantizeLinear", ["q0", "s", "z"], ["d0"], name="input_DequantizeLinear"),
        node("DequantizeLinear", ["w", "s", "z"], ["dw"], name="w_DequantizeLinear"),
        node("Conv", ["d0", "dw"], ["a/pre"], name="a"),
        node("QuantizeLinear", ["a/pre", "s", "z"], ["q1"], name="a/pre_QuantizeLinear"),
        node("DequantizeLinear", ["q1", "s", "z"], ["d1"], name="a/pre_DequantizeLinear"),
        node("HardSwish", ["d1"], ["a"], name="a/hswish"),
        node("QuantizeLinear", ["a", "s", "z"], ["q2"], name="a_QuantizeLinear"),
        node("DequantizeLinear", ["q2", "s", "z"], ["out"], name="a_DequantizeLinear"),
    ]
    executed = [
        node("QuantizeLinear", ["input", "s", "z"], ["q0"], name="input_QuantizeLinear"),
        node("Transpose", ["q0"], ["t0"], name="Transpose"),
        node("QLinearConv", ["t0", "s", "z", "w", "s", "z", "s", "z"], ["t1"], name="a_token_4"),
        node("DequantizeLinear", ["t1", "s", "z"], ["d1"], name="a/pre_DequantizeLinear"),
        node("HardSigmoid", ["d1"], ["t2"]),  # the runtime takes HardSwish apart and names nothing
        node("Mul", ["d1", "t2"], ["t3"]),
        node("QuantizeLinear", ["t3", "s", "z"], ["q2"], name="a_QuantizeLinear"),
        node("DequantizeLinear", ["q2", "s", "z"], ["out"], name="a_DequantizeLinear"),
    ]
    trace = {
        "optimized": base64.b64encode(graph_of(executed)).decode(),
        "events": [
            [step.name or f"{step.op_type}_{50 + n}", step.op_type, [1], [], []] for n, step in enumerate(executed)
        ],
    }
    assert {kernel.name: kernel.origin for kernel in kernels(graph_of(source), trace)} == {
        "input_QuantizeLinear": "a",
        "Transpose": "a",
        "a_token_4": "a",
        "a/pre_DequantizeLinear": "a",
        "HardSigmoid_54": "a",
        "Mul_55": "a",
        "a_QuantizeLinear": "a/hswish",
        "a_DequantizeLinear": "a/hswish",
    }


def test_a_node_may_be_called_after_a_number() -> None:
    node = helper.make_node
    source = [node("Relu", ["input"], ["a"], name="a"), node("Relu", ["a"], ["out"], name="a_token_1")]
    assert origins_of(source, source) == {"a": "a", "a_token_1": "a_token_1"}


def test_kernels_of_subgraphs_do_not_shift_the_others() -> None:
    node = helper.make_node
    nodes = [node("Loop", ["input"], ["a"], name="loop"), node("Relu", ["a"], ["out"], name="r")]
    trace = {
        "optimized": base64.b64encode(graph_of(nodes)).decode(),
        "events": [[name, op_type, [1], [], []] for name, op_type in (("x", "Add"), ("loop", "Loop"), ("r", "Relu"))],
    }
    found = [(kernel.name, kernel.origin) for kernel in kernels(graph_of(nodes), trace)]
    assert found == [("x", None), ("loop", "loop"), ("r", "r")]


def test_median_of_runs() -> None:
    executed = [helper.make_node("Relu", ["input"], ["out"], name="r")]
    trace = {
        "optimized": base64.b64encode(graph_of(executed)).decode(),
        "events": [["r", "Relu", [9, 3, 4], [[1]], [[1]]]],
    }
    assert kernels(graph_of(executed), trace)[0].median_us == 4


def test_bad_models_are_errors(process: MeterProcess, network: bytes) -> None:
    with pytest.raises(MeasuringError, match="cannot load"):
        profile(process, b"not a model")
    with pytest.raises(ValueError, match="at least 1"):
        profile(process, network, num_runs=0)
    assert profile(process, network, num_runs=1)
