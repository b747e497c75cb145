"""A runtime whose times are a formula: fuses, reorders, and answers like a meter, so that tables have a truth to find.

It takes real ONNX models and gives traces that go through the real `latency.kernel_profile.kernels`.
"""

from __future__ import annotations

import base64
import hashlib
import math
import time

import numpy as np
import onnx
from onnx import helper

from latency.deployment import Deployment
from latency.device_info import DeviceInfo
from latency.estimator import Block, Goal, Pair
from latency.measurement import Measurement
from latency.meter import MeterSettings
from search_spaces.arch import ArchSpec, BlockSpec, Head, SqueezeExcite, Stem
from search_spaces.choice import Choice
from search_spaces.space import SearchSpace

RESOLUTION = 32
NUM_CLASSES = 10
STAIR = 16
SLOWDOWN = 1.25  # of all kernels by profiling
NOTING_US = 1.0  # of each kernel
ACTIVATIONS = {"Relu", "Clip", "HardSwish", "Sigmoid", "HardSigmoid"}


def device(**changes) -> DeviceInfo:
    fields = {
        "cpu": "formula",
        "num_cores": 1,
        "memory_gib": 1.0,
        "system": "none",
        "machine": "paper",
        "python": "3",
        "onnxruntime": "0",
        "options": "none",
    }
    return DeviceInfo(**{**fields, **Deployment(resolution=RESOLUTION).to_dict(), **changes})


def _padded(width):
    return -(-width // STAIR) * STAIR


class _Model:
    def __init__(self, model: bytes) -> None:
        graph = onnx.shape_inference.infer_shapes(onnx.load_from_string(model)).graph
        self.nodes = list(graph.node)
        self.shapes = {t.name: tuple(t.dims) for t in graph.initializer}
        for value in [*graph.input, *graph.value_info, *graph.output]:
            self.shapes[value.name] = tuple(d.dim_value for d in value.type.tensor_type.shape.dim)
        self.readers = {}
        for node in self.nodes:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)

    def executed(self):
        """(node, microseconds) of every kernel, in order."""
        swallowed, kernels = set(), []
        for node in self.nodes:
            if node.name in swallowed:
                continue
            if node.op_type == "Conv":
                kernels.append(self._convolution(node, swallowed))
            elif node.op_type == "Mul":
                kernels += self._scale(node)
            else:
                work = math.prod(self.shapes[node.input[0]]) + math.prod(self.shapes[node.output[0]])
                kernels.append((node, 1.0 + work / 2000))
        return kernels

    def _convolution(self, node, swallowed):
        output, readers = node.output[0], self.readers.get(node.output[0], [])
        extra_us = 0.0
        if len(readers) == 1 and readers[0].op_type in ACTIVATIONS:
            swallowed.add(readers[0].name)
            output = readers[0].output[0]
        elif len(readers) == 1 and readers[0].op_type == "Add" and self.shapes[output][1] % STAIR == 0:
            swallowed.add(readers[0].name)
            extra_us = math.prod(self.shapes[output]) / 3000
            output = readers[0].output[0]
        out_channels, per_group, kernel, _ = self.shapes[node.input[1]]
        groups = next(a.i for a in node.attribute if a.name == "group")
        positions = math.prod(self.shapes[output][2:])
        in_widths = 1 if groups > 1 else _padded(per_group)
        time_us = 2.0 + extra_us + kernel**2 * in_widths * _padded(out_channels) * positions / 40000
        return helper.make_node("Conv", node.input, [output], name=f"{node.output[0]}_nchwc"), time_us

    def _scale(self, node):
        data, gates = node.input
        work_us = 0.5 + math.prod(self.shapes[data]) / 4000
        result = f"{node.output[0]}/plain"
        return [
            (helper.make_node("ReorderOutput", [data], [f"{data}/plain"], name=f"out_{node.name}"), work_us),
            (helper.make_node("Mul", [f"{data}/plain", gates], [result], name=node.name), work_us),
            (helper.make_node("ReorderInput", [result], node.output, name=f"in_{node.name}"), work_us),
        ]


def true_us(model: bytes) -> float:
    return 20.0 + sum(time_us for _, time_us in _Model(model).executed())


class SyntheticMeter:
    """Answers as `latency.metered.Meter` does.

    noise: relative, of measurements and of single profiled inferences. pause_s: real time that a measurement takes.
    """

    def __init__(self, noise: float = 0.0, seed: int = 0, pause_s: float = 0.0, **device_changes) -> None:
        self.device = device(**device_changes)
        self.noise, self.pause_s = noise, pause_s
        self.rng = np.random.default_rng(seed)
        self.num_measured = 0
        self.slowdown = 1.0  # of the machine: whatever runs

    def measure(self, candidate, reference, settings=None, *, seed=0, fresh_process=False) -> Measurement:
        time.sleep(self.pause_s)
        self.num_measured += 1
        goal = (settings or MeterSettings()).goal if settings else Goal()
        factor = math.exp(self.noise * self.rng.standard_normal())
        unit_ns = 1000 * self.slowdown
        candidate_ns, reference_ns = unit_ns * true_us(candidate) * factor, unit_ns * true_us(reference)
        pair = Pair(Block(candidate_ns, candidate_ns, 5), Block(reference_ns, reference_ns, 5))
        return Measurement.from_sessions(
            [(pair, pair)] * 8,
            candidate_sha256=hashlib.sha256(candidate).hexdigest(),
            reference_sha256=hashlib.sha256(reference).hexdigest(),
            device=self.device.key,
            environment={},
            goal=goal,
        )

    def trace(self, model, num_runs=20):
        kernels = _Model(model).executed()
        state = math.exp(3 * self.noise * self.rng.standard_normal())  # a profile sees the machine in one state
        events = []
        for node, time_us in kernels:
            noises = np.exp(self.noise * self.rng.standard_normal(num_runs))
            durations = (SLOWDOWN * time_us * state * noises + NOTING_US).tolist()
            events.append([node.name, node.op_type, durations, [], []])
        value = helper.make_tensor_value_info
        ends = [value("input", 1, [1])], [value("logits", 1, [1])]
        graph = helper.make_graph([node for node, _ in kernels], "executed", *ends)
        optimized = helper.make_model(graph).SerializeToString()
        return {"optimized": base64.b64encode(optimized).decode(), "events": events}

    def close(self):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


def _to_arch(choices):
    blocks, width = [], 16
    for number, stride in ((1, 2), (2, 1)):
        op = choices[f"b{number}.op"]
        blocks.append(
            BlockSpec(
                kernel=choices[f"b{number}.kernel"],
                stride=stride,
                in_channels=width,
                out_channels=choices[f"b{number}.filters"],
                op="conv" if op == "conv" else "mbconv",
                repeats=2,
                expand_ratio=3 if op == "mbconv3" else 1,
                se=SqueezeExcite(0.25) if choices[f"b{number}.se"] else None,
                skip=choices[f"b{number}.skip"],
            )
        )
        width = blocks[-1].out_channels
    return ArchSpec(tuple(blocks), Stem(channels=16), Head(channels=64))


def _no_choices(arch):
    raise ValueError(f"not needed: {arch}")


SPACE = SearchSpace(
    "tiny",
    tuple(
        Choice(f"b{number}.{name}", options)
        for number in (1, 2)
        for name, options in (
            ("op", ("conv", "mbconv1", "mbconv3")),
            ("kernel", (3, 5)),
            ("se", (0, 1)),
            ("skip", ("identity", "pool", "none")),
            ("filters", (16, 24, 32)),
        )
    ),
    _to_arch,
    _no_choices,
)

REFERENCE = SPACE.decode({choice.name: choice.options[-1] for choice in SPACE.choices})


def samples(num, seed):
    rng = np.random.default_rng(seed)
    return [SPACE.decode(SPACE.sample(rng)) for _ in range(num)]
