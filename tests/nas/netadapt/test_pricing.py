"""What a step costs: as priced, as measured, alone and as one of several budgets."""

from __future__ import annotations

from collections import namedtuple

import pytest

from latency.latency import Latency
from nas.netadapt.cost import CostModel, mac_cost
from nas.netadapt.measured_cost import Settled
from nas.netadapt.pricing import AsMeasured, AsPriced, Settlement
from search_spaces.arch_string import parse_arch
from search_spaces.count import count
from search_spaces.lower import lower

WIDE, NARROW = parse_arch("r1_k3_s11_x64_i32_o16"), parse_arch("r1_k3_s11_x48_i32_o16")
Call = namedtuple("Call", "parent latency accepted")


def latency(ms):
    return Latency(ms, (ms, ms), ms / 4, (ms / 4, ms / 4), "ok", "measured", 20, 1)


class Latencies:
    """Priced at 3 ms and 2.4 ms, measured at 2.5 ms, which is 0.81 of the parent."""

    def __init__(self):
        self.calls = []

    def __call__(self, arch):
        return {WIDE: 3.0, NARROW: 2.4}[arch]

    def settle(self, *call):
        self.calls.append(Call(*call))
        return Settled(latency(2.5), latency(0.81), 0.8)


def macs(arch):
    return count(lower(arch, 32, 10)).macs


def test_as_priced_a_network_costs_its_price():
    found = AsPriced(mac_cost(32, 10)).settle(WIDE, None, NARROW)
    assert found == Settlement(macs(NARROW), macs(NARROW) / macs(WIDE))
    assert 0 < found.predicted_ratio < 1


def test_as_measured_the_measurement_counts_not_the_price():
    latencies = Latencies()
    pricing = AsMeasured(CostModel({"latency": latencies}), latencies)
    assert pricing.model.cost(NARROW) == 2.4
    assert pricing.settle(WIDE, latency(3.0), NARROW) == Settlement(2.5, 0.8, latency(2.5), latency(0.81))
    assert latencies.calls == [Call(WIDE, latency(3.0), NARROW)]


@pytest.mark.parametrize(
    ("budget_macs", "cost"), [(1e12, 2.5 / 2.0), (macs(NARROW) / 4, 4.0)], ids=["of latency", "of multiply-adds"]
)
def test_of_several_budgets_that_which_is_furthest_off(budget_macs, cost):
    latencies = Latencies()
    amounts = {"latency": latencies, "macs": macs}
    model = CostModel(amounts, {"latency": 2.0, "macs": budget_macs})
    assert AsMeasured(model, latencies).settle(WIDE, latency(3.0), NARROW).cost == pytest.approx(cost)


def test_where_steps_are_measured_the_seed_was():
    latencies = Latencies()
    with pytest.raises(AssertionError, match="the seed was"):
        AsMeasured(CostModel({"latency": latencies}), latencies).settle(WIDE, None, NARROW)
