"""Costs: counts are those of whole networks, several are one against their budgets, measurements replace prices."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.errors import UserError
from nas.netadapt.cost import CostModel, amount_text, latency_cost, mac_cost, param_cost
from nas.netadapt.schedule import Amount
from search_spaces.arch_string import parse_arch
from search_spaces.count import count
from search_spaces.lower import lower
from search_spaces.zoo import get
from tests.strategies import PROPERTY, sized_archs

ARCH = parse_arch("stem_k3_s22_o16 r1_k3_s22_x64_i16_o24 head_o64")
THREE = CostModel(
    {"latency": lambda arch: 3.0, "macs": lambda arch: 2e6, "params": lambda arch: 1e5},
    {"latency": 2.0, "macs": 1e6, "params": 1e6},
)
"""1.5, 2 and 0.1 times the budgets."""


@settings(PROPERTY, max_examples=40)
@given(sized_archs())
def test_sums_over_layers_are_the_counts_of_the_network(sized):
    arch, resolution = sized
    counts = count(lower(arch, resolution, 7))
    assert mac_cost(resolution, 7).cost(arch) == counts.macs
    assert param_cost(resolution, 7).cost(arch) == counts.params


def test_parameters_of_mnasnet_a1():
    assert param_cost(224, 1000).cost(get("mnasnet_a1")) == 3_887_038


@pytest.mark.parametrize("of", [mac_cost, param_cost])
def test_a_network_that_does_not_fit_is_an_error_of_the_user(of):
    with pytest.raises(UserError, match=r"^at 32 px: b10\.l1"):
        of(32, 10).cost(get("inception_v3"))


@pytest.mark.parametrize(
    ("model", "name", "unit", "text"),
    [
        (latency_cost(lambda arch: 3.0), "table", "ms", "3.000 ms"),
        (mac_cost(32, 10), "macs", "MACs", "0.00 M MACs"),
        (param_cost(32, 10), "params", "params", "3 params"),
        (THREE, "budgets", "x budget", "3.000 x budget"),
    ],
)
def test_names_and_units(model, name, unit, text):
    assert (model.name, model.unit, model.text(3.0)) == (name, unit, text)


def test_prices_are_asked_each_time():
    prices = iter([3.0, 2.0])
    model = latency_cost(lambda arch: next(prices))
    assert [model.cost(ARCH), model.cost(ARCH)] == [3.0, 2.0]


def test_the_cost_of_several_is_the_furthest_above_its_budget():
    assert THREE.cost(ARCH) == 2.0
    assert THREE.reading(ARCH) == {"latency": 3.0, "macs": 2e6, "params": 1e5}
    assert (
        THREE.reading_text(ARCH)
        == "3.000 ms of 2.000 ms, 2.00 M MACs of 1.00 M MACs, 100,000 params of 1,000,000 params"
    )


@PROPERTY
@given(st.lists(st.tuples(st.floats(0.1, 1e9), st.floats(0.1, 1e9)), min_size=3, max_size=3))
def test_all_budgets_are_kept_where_the_cost_is_1_at_most(pairs):
    resources = ("latency", "macs", "params")
    amounts = {resource: (lambda arch, own=own: own) for resource, (own, _) in zip(resources, pairs, strict=True)}
    model = CostModel(amounts, dict(zip(resources, (budget for _, budget in pairs), strict=True)))
    assert (model.cost(ARCH) <= 1) == all(own <= budget for own, budget in pairs)


@pytest.mark.parametrize(("latency_ms", "settled"), [(None, 2.0), (3.8, 2.0), (4.4, 2.2), (0.1, 2.0)])
def test_a_measured_latency_takes_the_place_of_its_price(latency_ms, settled):
    assert THREE.settled(ARCH, latency_ms) == settled
    assert THREE.reading(ARCH, latency_ms)["latency"] == (latency_ms or 3.0)
    assert THREE.reading(ARCH, latency_ms)["macs"] == 2e6


def test_measured_alone_it_is_the_cost_and_counts_do_not_care():
    assert latency_cost(lambda arch: 3.0).settled(ARCH, 3.3) == 3.3
    assert param_cost(32, 10).settled(ARCH, 3.3) == param_cost(32, 10).cost(ARCH)


def test_a_measured_network_needs_no_price():
    def unpriced(arch):
        raise UserError("no price")

    assert latency_cost(unpriced).settled(ARCH, 3.3) == 3.3


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (mac_cost(32, 10), "--schedule 0.5ms: multiply-adds are no milliseconds"),
        (param_cost(32, 10), "--schedule 0.5ms: parameters are no milliseconds; give a share, as 0.01L"),
        (THREE, "--schedule 0.5ms: several budgets have no unit in common; give a share, as 0.01L"),
    ],
)
def test_milliseconds_where_there_are_none(model, message):
    with pytest.raises(UserError) as error:
        model.amount(Amount.parse("0.5ms", "--schedule"), 3.0, "--schedule")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_amounts_are_in_the_unit_of_the_cost():
    assert latency_cost(lambda arch: 3.0).amount(Amount(0.5, "ms"), 3.0, "--target") == 0.5
    assert param_cost(32, 10).amount(Amount(3e6, ""), 4e6, "--budget") == 3e6
    assert THREE.amount(Amount(0.25, "L"), 2.0, "--schedule") == 0.5


@pytest.mark.parametrize(
    ("amounts", "budgets"),
    [
        ({}, {}),
        ({"macs": len, "params": len}, {}),
        ({"macs": len, "params": len}, {"macs": 1.0}),
        ({"macs": len}, {"params": 1.0}),
    ],
)
def test_one_cost_or_a_budget_for_each(amounts, budgets):
    with pytest.raises(ValueError, match="one cost, or a budget for each"):
        CostModel(amounts, budgets)


def test_counts_as_people_read_them():
    texts = [amount_text("latency", 2.34567), amount_text("macs", 311_579_072), amount_text("params", 3_887_038)]
    assert texts == ["2.346 ms", "311.58 M MACs", "3,887,038 params"]
