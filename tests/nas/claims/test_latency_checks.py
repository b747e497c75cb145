"""Checks by latency: made-up ratios get the right verdicts, and what is compared is what the claim is about."""

from __future__ import annotations

import math

import numpy as np
import onnx
import pytest

import nas.claims.mnasnet_latency as mnasnet
import nas.claims.mobilenet_v3_activations_latency as activations
import nas.claims.netadapt_latency as netadapt
from latency.int8 import seeded_images
from latency.kernel_profile import Kernel
from nas.claims.claim import Check, Finding
from nas.claims.inception_latency import factorised
from nas.claims.int8_error import int8_error, logits
from nas.claims.lab import Lab, Ratio, Subject
from nas.claims.mobilenet_v1_latency import equal_width_layers
from nas.claims.mobilenet_v3_activations import softened
from nas.claims.mobilenet_v3_latency import last_stages, narrow_squeeze
from nas.claims.registry import registry
from search_spaces.arch_string import parse_arch
from search_spaces.count import count
from search_spaces.graph import Conv, Graph
from search_spaces.lower import lower
from search_spaces.onnx_model import check_model, emit_onnx
from search_spaces.zoo import ZOO
from tests.latency.synthetic_runtime import SyntheticMeter
from tests.nas.claims.fake_lab import FakeLab

SMALL = parse_arch("stem_k3_s22_o8_hswish r2_k3_s22_e3_i8_o16_hse0.25_hswish head_o32_f32_hswish_d0")


def checks(number: int) -> list[Check]:
    return [check for check in registry().checks[number] if check.kind == "latency"]


def examined(number: int, lab: Lab) -> Finding:
    [check] = checks(number)
    return check.run(lab)


HOLD_AT: dict[int, list[float]] = {
    1: [1 / n + 1 / 9 for n in (32, 64, 128, 256, 512, 1024)],
    5: [0.65, 0.35, 0.12],
    6: [(side / 224) ** 2 for side in (192, 160, 128)],
    11: [0.66],
    16: [0.80],
    23: [0.89, 0.23],
    24: [0.96],
    28: [1.02, 1.02, 1.08],
    29: [1.02, 1.0, 1.12],
    42: [1.018],
    46: [2.37],
    51: [18 / 25],
    52: [2 / 3],
    53: [8.0, 2.0],
}
"""Claim -> measured ratios at which it holds, in order."""


@pytest.mark.parametrize("number", HOLD_AT)
def test_as_published_it_holds(number: int) -> None:
    assert examined(number, FakeLab(HOLD_AT[number])).verdict == "holds"


@pytest.mark.parametrize("number", HOLD_AT)
def test_far_larger_it_holds_in_direction(number: int) -> None:
    found = examined(number, FakeLab([ratio**5 for ratio in HOLD_AT[number]]))
    assert found.verdict == "holds in direction"
    assert found.why


@pytest.mark.parametrize("number", HOLD_AT)
def test_the_other_way_round_it_fails(number: int) -> None:
    found = examined(number, FakeLab([1 / ratio for ratio in HOLD_AT[number]]))
    assert found.verdict == "fails here"
    assert found.why


@pytest.mark.parametrize("number", HOLD_AT)
def test_across_one_it_is_not_separated(number: int) -> None:
    assert examined(number, FakeLab([1.0])).verdict == "not separated"


@pytest.mark.parametrize("number", HOLD_AT)
def test_ratios_and_intervals_are_told(number: int) -> None:
    lab = FakeLab(HOLD_AT[number])
    found = examined(number, lab).found
    for ratio in HOLD_AT[number]:
        assert f"{ratio:.3f} (" in found


@pytest.mark.parametrize(
    ("value", "half_width", "verdict"),
    [(1.0, 0.005, "holds"), (1.0, 0.03, "not separated"), (1.05, 0.01, "fails here"), (0.9, 0.01, "fails here")],
)
def test_no_discernible_cost_of_squeeze(value: float, half_width: float, verdict: str) -> None:
    found = examined(17, FakeLab([value, 1.13], half_width))
    assert found.verdict == verdict
    assert bool(found.why) == (verdict != "holds")
    assert "1.130" in found.found


PUBLISHED_OF_ONE_TYPE = [63 / 78, 1.0, 116 / 78, 146 / 78]


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        (PUBLISHED_OF_ONE_TYPE, "holds"),
        ([0.81, 1.0, 3.0, 5.0], "holds in direction"),
        ([0.81, 1.0, 1.0, 1.87], "not separated"),
        ([0.75, 0.84, 1.40, 1.57], "fails here"),
    ],
)
def test_networks_of_one_type(values: list[float], verdict: str) -> None:
    found = examined(34, FakeLab(values))
    assert found.verdict == verdict
    if verdict == "fails here":
        assert "1.12 and 1.12 times as slow here, 1.24 and 1.26 times on the phone" in found.why


class ProfiledLab(FakeLab):
    """Kernels of the 1x1 convolutions take as long as is said, all others a microsecond."""

    def __init__(self, pointwise_us: float) -> None:
        super().__init__()
        self._pointwise_us = pointwise_us

    def kernels(self, subject: bytes | Subject | Graph) -> list[Kernel]:
        return [
            Kernel(k.name, k.op_type, self._pointwise_us if "pointwise" in k.name else 1.0, k.origin, "", (), (), {})
            for k in super().kernels(subject)
        ]


@pytest.mark.parametrize(
    ("pointwise_us", "verdict"), [(50.0, "holds"), (2.0, "holds in direction"), (0.5, "fails here")]
)
def test_time_by_type(pointwise_us: float, verdict: str) -> None:
    # 13 pointwise; 13 depthwise, the first convolution, pooling and classifier make 16
    found = examined(4, ProfiledLab(pointwise_us))
    assert found.verdict == verdict
    assert f"conv1x1 {100 * 13 * pointwise_us / (13 * pointwise_us + 16):.1f} %" in found.found


def test_layers_compared_have_the_ratio_of_the_formula() -> None:
    for width in (32, 1024):
        separable, full = (count(equal_width_layers(op, width)).macs for op in ("dwsep", "conv"))
        assert separable / full == pytest.approx(1 / width + 1 / 9)


def test_last_stages_differ_by_what_the_networks_differ() -> None:
    old, new = map(count, last_stages(Lab()))
    before, after = ZOO["mobilenet_v3_large_original_last_stage"], ZOO["mobilenet_v3_large"]
    assert old.macs - new.macs == before.macs - after.macs
    assert old.params - new.params == before.params - after.params


def test_narrow_squeeze_changes_nothing_but_two_layers() -> None:
    lab = Lab()
    ours, given = narrow_squeeze(lab).ops, lab.graph("mobilenet_v3_large").ops
    differing = {a.name.rpartition(".")[2] for a, b in zip(ours, given, strict=True) if a != b}
    assert differing == {"reduce", "gate"}
    gates = [op for op in ours if op.name.endswith("se.gate")]
    assert all(isinstance(gate, Conv) and gate.activation == "hsigmoid" for gate in gates)


@pytest.mark.parametrize(
    ("whole", "factors", "ratio"),
    [((5, 5), [(3, 3), (3, 3)], 18 / 25), ((3, 3), [(1, 3), (3, 1)], 2 / 3), ((7, 7), [(1, 7), (7, 1)], 2 / 7)],
)
def test_factors(whole: tuple[int, int], factors: list[tuple[int, int]], ratio: float) -> None:
    after, before = factorised((16, 9, 9), whole, *factors)
    assert count(after).macs / count(before).macs == pytest.approx(ratio)


def test_one_type_everywhere_keeps_widths_and_depth() -> None:
    a1 = Lab().arch("mnasnet_a1")
    alike = mnasnet.of_one_type(a1, 5, 3)
    layers = list(zip(a1.layers(), alike.layers(), strict=True))
    assert all((a.out_channels, a.stride) == (b.out_channels, b.stride) for a, b in layers)
    assert {(b.kernel, b.expanded_channels // b.in_channels, b.squeezed_channels) for _, b in layers} == {(5, 3, 0)}


def outputs(model: bytes, image: np.ndarray) -> np.ndarray:
    return logits(model, [image])[0]


def test_forms_of_hard_swish_compute_the_same() -> None:
    model = emit_onnx(lower(SMALL, 32, 5))
    image = 3 * np.random.default_rng(0).standard_normal((1, 3, 32, 32), dtype=np.float32)
    expected = outputs(model, image)
    for form in ("hard sigmoid and mul", "four operators"):
        rewritten = activations.with_hard_swish_as(model, form)
        check_model(rewritten)
        assert "HardSwish" not in {node.op_type for node in onnx.load_from_string(rewritten).graph.node}
        assert outputs(rewritten, image) == pytest.approx(expected, rel=1e-4, abs=1e-5)
    relu = activations.with_hard_swish_as(model, "relu")
    check_model(relu)
    assert outputs(relu, image) != pytest.approx(expected, rel=1e-2)


def test_softened_networks_have_no_hard_functions_and_the_same_weights() -> None:
    hard = lower(SMALL, 32, 5)
    soft = softened(hard)
    assert {"swish", "sigmoid"} <= {op.activation for op in soft.ops if isinstance(op, Conv)}
    assert not {"hswish", "hsigmoid"} & {op.activation for op in soft.ops if isinstance(op, Conv)}
    assert count(soft) == count(hard)


def test_int8_error_is_small_and_a_function_of_the_seed() -> None:
    graph = lower(SMALL, 32, 5)
    errors = [int8_error(graph, seed) for seed in (0, 0, 1)]
    assert errors[0] == errors[1] != errors[2]
    assert all(1e-4 < error < 0.5 for error in errors)


@pytest.mark.parametrize(
    ("hard", "soft", "verdict"),
    [(0.05, 0.10, "holds"), (0.10, 0.05, "fails here"), (0.10, 0.10, "not separated")],
)
def test_error_of_int8(hard: float, soft: float, verdict: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def error(graph: Graph, seed: int) -> float:
        is_soft = any(isinstance(op, Conv) and op.activation == "swish" for op in graph.ops)
        return (soft if is_soft else hard) * (1 + 0.1 * math.sin(seed + is_soft))

    monkeypatch.setattr(activations, "int8_error", error)
    monkeypatch.setattr("latency.int8.quantize", lambda model, images: model)
    lab = FakeLab([1.08])
    found = examined(27, lab)
    assert found.verdict == verdict
    assert "1.080" in found.found
    assert len(lab.asked) == 1


def test_images_for_int8_are_of_the_networks_size() -> None:
    from latency.deployment import Deployment

    assert next(seeded_images(Deployment(), 2)).shape == (1, *Lab().graph("mobilenet_v3_small").input_shape)


def measured(macs: int, value: float) -> mnasnet.Measured:
    return mnasnet.Measured(SMALL, macs, Ratio(value, (0.99 * value, 1.01 * value), "ok"))


def test_the_most_unlike_are_networks_of_equal_macs() -> None:
    networks = [measured(1000, 1.0), measured(1005, 1.4), measured(2000, 5.0), measured(1004, 1.1)]
    slow, fast = mnasnet.most_unlike(networks)
    assert (slow.ratio.value, fast.ratio.value) == (1.4, 1.0)
    assert mnasnet.certain_gap(slow, fast) == pytest.approx(1.4 * 0.99 / 1.01)


@pytest.mark.parametrize(("spread", "verdict"), [(0.001, "not separated"), (0.1, "holds in direction"), (0.5, "holds")])
def test_macs_as_proxy(spread: float, verdict: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mnasnet, "_NUM_NETWORKS", 8)
    monkeypatch.setattr(mnasnet, "_SAME_MACS", 1.0)
    values = [1.0 + spread * math.sin(number) for number in range(8)]
    assert examined(31, FakeLab(values)).verdict == verdict


def test_sums_of_layers_against_a_runtime_that_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(netadapt, "_NETWORK", "mobilenet_v1@0.25")
    monkeypatch.setattr(netadapt, "_NUM_BUILDING", 8)
    monkeypatch.setattr(netadapt, "_NUM_FRESH", 8)
    found = examined(37, Lab(SyntheticMeter()))
    assert found.verdict == "holds"
    assert "a table from 8 networks of random widths, 8 fresh ones" in found.found
