from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest

from nas.claims.lab import Lab
from nas.errors import UserError
from nas.measurement_cache import CachedMeter
from search_spaces.arch import BlockSpec
from search_spaces.arch_string import parse_arch
from search_spaces.lower import lower_block
from search_spaces.onnx_model import check_model
from search_spaces.zoo import ZOO
from tests.latency.synthetic_runtime import SyntheticMeter, true_us
from tests.nas.claims.fake_meter import FakeMeter

SMALL, OTHER = (parse_arch(f"stem_k3_s22_o8 r1_k3_s11_e{ratio}_i8_o8 head_o16") for ratio in (1, 3))


def test_counts_at_the_resolution_that_the_name_means() -> None:
    lab = Lab()
    assert lab.count("inception_v3").macs == ZOO["inception_v3"].macs  # at 299
    assert lab.count("mobilenet_v1/160").macs == lab.count("mobilenet_v1", 160).macs < ZOO["mobilenet_v1"].macs
    assert lab.count(ZOO["mobilenet_v1"].arch).macs == ZOO["mobilenet_v1"].macs


def test_layers_hold_the_operations_of_the_blocks() -> None:
    layers = Lab().layers(OTHER)
    assert list(layers) == ["b1.l1"]
    assert list(layers["b1.l1"]) == ["expand", "depthwise", "project", "add"]


def test_every_check_draws_the_same_numbers() -> None:
    lab = Lab(seed=3)
    assert lab.rng().integers(1 << 30) == lab.rng().integers(1 << 30) != Lab(seed=4).rng().integers(1 << 30)


def test_ratio_measures_both_networks_and_tells_which() -> None:
    meter, told = FakeMeter([(0.8, "ok")]), []
    ratio = Lab(meter, say=told.append).ratio(SMALL, "mobilenet_v1@0.25/32", what="small ones")
    assert (ratio.value, ratio.below_one, ratio.above_one) == (0.8, True, False)
    assert str(ratio) == "0.800 (0.792 to 0.808)"
    assert told == ["measuring small ones"]
    ((candidate, reference),) = meter.pairs
    assert candidate == Lab().model(SMALL)
    assert reference == Lab().model("mobilenet_v1@0.25/32")


def test_an_unstable_ratio_is_taken_again_elsewhere_in_memory() -> None:
    meter = FakeMeter([(0.5, "unstable"), (0.8, "wide")])
    ratio = Lab(meter).ratio(SMALL, OTHER)
    assert meter.seeds == [0, 1]
    assert str(ratio) == "0.800 (0.792 to 0.808, wide)"


def test_and_given_as_it_is_in_the_end() -> None:
    meter = FakeMeter([(1.2, "unstable")])
    ratio = Lab(meter).ratio(SMALL, OTHER)
    assert (ratio.status, ratio.above_one, len(meter.seeds)) == ("unstable", True, 3)


@pytest.mark.parametrize("grade", ["search", "final"])
def test_a_network_that_cannot_be_run_is_an_error(grade: Literal["search", "final"]) -> None:
    meter = FakeMeter([(1.0, "failed")])
    with pytest.raises(UserError, match=r"^layer x cannot be measured: no such operator$"):
        Lab(meter).ratio(SMALL, OTHER, what="layer x", grade=grade)
    assert meter.seeds == [0]


def test_a_final_ratio_pools_processes() -> None:
    once, often = (Lab(SyntheticMeter(noise=0.005)).ratio(SMALL, OTHER, grade=grade) for grade in ("search", "final"))
    meter = SyntheticMeter()
    exact = Lab(meter).ratio(SMALL, OTHER, grade="final")
    assert meter.num_measured == 5
    assert exact.value == pytest.approx(true_us(Lab().model(SMALL)) / true_us(Lab().model(OTHER)))
    for ratio in (once, often):
        assert ratio.interval[0] < exact.value < ratio.interval[1]
    assert often.interval[1] / often.interval[0] < once.interval[1] / once.interval[0]


def test_layers_alone_can_be_measured() -> None:
    layer = lower_block(BlockSpec(3, 1, 8, 8), (8, 16, 16), 1)
    check_model(Lab().model(layer))
    assert Lab(SyntheticMeter()).ratio(layer, layer).value == pytest.approx(1)


def test_what_was_measured_is_not_measured_again(tmp_path: Path) -> None:
    meter = FakeMeter([(0.8, "ok"), (0.9, "ok")])
    values = [Lab(CachedMeter(meter, tmp_path)).ratio(SMALL, OTHER).value for _ in range(2)]
    assert values == [0.8, 0.8]
    assert Lab(CachedMeter(meter, tmp_path, fresh=True)).ratio(SMALL, OTHER).value == 0.9
    assert len(meter.seeds) == 2


def test_a_check_that_measures_must_say_so() -> None:
    with pytest.raises(RuntimeError, match="kind latency"):
        Lab().ratio(SMALL, OTHER)
