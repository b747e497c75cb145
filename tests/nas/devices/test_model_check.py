"""Which models devices are spared."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from nas.devices.model_check import MAX_NODES, ModelRefusedError, check_model
from search_spaces.lower import lower
from search_spaces.onnx_model import emit_onnx
from search_spaces.zoo import get
from tests.nas.devices.conftest import build_model

RELU = helper.make_node("Relu", ["input"], ["output"], name="relu")


def external(name="weight"):
    tensor = numpy_helper.from_array(np.ones(4, np.float32), name)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    return tensor


def branch(nodes, weights=()):
    value = helper.make_tensor_value_info("inner", TensorProto.FLOAT, [4])
    return helper.make_graph(nodes, "branch", [], [value], list(weights))


def with_sparse_initializer():
    model = onnx.load_model_from_string(build_model([RELU], [4]))
    model.graph.sparse_initializer.add().values.CopyFrom(external())
    return model.SerializeToString()


def with_function():
    model = onnx.load_model_from_string(build_model([RELU], [4]))
    model.functions.add(name="f", domain="")
    return model.SerializeToString()


ATTRIBUTE = helper.make_node("Constant", [], ["c"], name="constant", value=external("hidden"))
BRANCHES = {"then_branch": branch([], [external()]), "else_branch": branch([])}


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (b"", "no graph"),
        (b"not a model", "cannot be parsed"),
        (build_model([RELU], [4], [external()]), "tensor 'weight' lies in another file"),
        (build_model([ATTRIBUTE, RELU], [4]), "tensor 'hidden' lies in another file"),
        (with_sparse_initializer(), "tensor 'weight' lies in another file"),
        (build_model([helper.make_node("If", ["input"], ["output"], name="if", **BRANCHES)], [1]), "control flow"),
        (build_model([helper.make_node("Relu", ["input"], ["output"], sub=branch([]))], [1]), "control flow"),
        (
            build_model([helper.make_node("Evil", ["input"], ["output"], domain="acme")], [4], domains=["acme"]),
            "domain 'acme'",
        ),
        (build_model([RELU], [4], domains=["acme"]), "domain 'acme'"),
        (build_model([helper.make_node("Nonsense", ["input"], ["output"], name="n")], [4]), "no operator 'Nonsense'"),
        (build_model([RELU], ["batch"]), r"shape \['batch'\]: static shapes"),
        (build_model([RELU] * (MAX_NODES + 1), [4]), f"{MAX_NODES + 1} nodes"),
        (build_model([helper.make_node("Relu", ["nowhere"], ["output"])], [4]), "invalid"),
        (with_function(), "functions of its own"),
    ],
)
def test_refused_with_the_reason(model, reason):
    with pytest.raises(ModelRefusedError, match=reason):
        check_model(model)


@pytest.mark.parametrize(
    "name",  # of each family one
    ["googlenet", "inception_v3", "mnasnet_small", "mobilenet_v1", "mobilenet_v2", "mobilenet_v3_small", "se_resnet50"],
)
def test_networks_of_the_zoo_pass(name):
    check_model(emit_onnx(lower(get(name), 97, 10)))


def test_operators_of_the_runtime_pass():
    gelu = helper.make_node("Gelu", ["input"], ["output"], domain="com.microsoft")
    check_model(build_model([gelu], [4], domains=["com.microsoft"]))
