"""Budgets: what they parse to, the cost that they make, and an adaptation to two of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.errors import UserError
from nas.netadapt.adaptation import Judgement, Position, Rules, adapt
from nas.netadapt.budget import Budget, Goal, parse_budgets
from nas.netadapt.cost import mac_cost, param_cost
from nas.netadapt.schedule import Amount, ReductionSchedule
from search_spaces.arch_string import parse_arch
from tests.strategies import PROPERTY

SEED = parse_arch("stem_k3_s22_o16 r1_k3_s22_x80_i16_o24 r1_k3_s22_x80_i24_o40 head_o16")
RESOLUTION, NUM_CLASSES = 32, 10
MACS, PARAMS = (of(RESOLUTION, NUM_CLASSES).cost(SEED) for of in (mac_cost, param_cost))


def goal(*texts, **prices):
    return Goal.of(parse_budgets(texts), SEED, RESOLUTION, NUM_CLASSES, **prices)


def price_ms(arch):
    return 4.0


@pytest.mark.parametrize(
    ("text", "resource", "value", "unit"),
    [
        ("latency=0.7L", "latency", 0.7, "L"),
        ("latency=3.0ms", "latency", 3.0, "ms"),
        ("macs=0.5L", "macs", 0.5, "L"),
        ("macs=2.5e+08", "macs", 2.5e8, ""),
        ("params=3e6", "params", 3e6, ""),
        (" params = 3000000 ", "params", 3e6, ""),
        ("params=1.2L", "params", 1.2, "L"),
    ],
)
def test_budgets(text, resource, value, unit):
    budget = Budget.parse(text)
    assert budget == Budget(resource, Amount(value, unit))
    assert Budget.parse(str(budget)) == budget


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["0.7L"], "--budget '0.7L': must be a resource and an amount, as latency=0.7L or params=3e6"),
        (["energy=0.7L"], "--budget 'energy=0.7L': unknown resource 'energy'; known: latency, macs, params"),
        (["=3"], "unknown resource ''"),
        (["params=3ms"], "--budget params '3ms': must be a share of the seed's cost, as 0.8L, or a number, as 3e6"),
        (["macs=3ms"], "--budget macs '3ms': must be"),
        (["latency=3"], "--budget latency '3': must be a share of the seed's cost, as 0.8L, or milliseconds, as 3.0ms"),
        (["params=0"], "--budget params '0': must be"),
        (["params=-3e6"], "must be"),
        (["params=1e999"], "must be"),
        (["params=3M"], "must be"),
        (["params=3e6L"], "must be"),
        (["params="], "must be"),
        (["params=nan"], "must be"),
        (["macs=0.5L", "params=3e6", "macs=9e6"], "--budget macs=0.5L and macs=9000000: macs twice"),
        (["macs=0.5L", "macs=0.5L"], "macs twice"),
    ],
)
def test_what_is_no_budget(texts, message):
    with pytest.raises(UserError) as error:
        parse_budgets(texts)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_they_stay_in_their_order():
    budgets = parse_budgets(["params=3e6", "latency=0.7L"])
    assert [budget.resource for budget in budgets] == ["params", "latency"]


@PROPERTY
@given(st.floats(1e-300, 1e300), st.sampled_from(["L", "ms", ""]))
def test_budgets_are_kept_without_loss(value, unit):
    budget = Budget("params" if unit != "ms" else "latency", Amount(value, unit))
    assert Budget.parse(str(budget)) == budget


@pytest.mark.parametrize(
    ("text", "cost", "unit", "target"),
    [
        ("latency=0.7L", 4.0, "ms", 0.7 * 4.0),
        ("latency=3.0ms", 4.0, "ms", 3.0),
        ("macs=0.5L", MACS, "MACs", 0.5 * MACS),
        ("params=3e3", PARAMS, "params", 3e3),
    ],
)
def test_a_single_budget_is_a_target_in_its_own_unit(text, cost, unit, target):
    single = goal(text, price_ms=price_ms)
    assert (single.model.unit, single.model.cost(SEED)) == (unit, cost)
    assert single.model.amount(single.target, cost, "--target") == pytest.approx(target)
    assert single.model.budgets == {}
    assert single.option == f"--budget {Budget.parse(text)}"


def test_several_are_one_cost_with_the_target_1():
    several = goal("latency=0.8L", "params=0.5L", "macs=1L", price_ms=price_ms)
    assert several.model.budgets == {"latency": pytest.approx(3.2), "params": 0.5 * PARAMS, "macs": MACS}
    assert several.model.cost(SEED) == pytest.approx(2.0)
    assert several.model.amount(several.target, 2.0, "--target") == 1.0
    assert several.option == "--budget latency=0.8L --budget params=0.5L --budget macs=1L"


def test_the_l_of_a_measured_seed_is_its_measured_latency():
    several = goal("latency=0.5L", "params=1L", price_ms=price_ms, seed_latency_ms=5.0)
    assert several.model.budgets["latency"] == 2.5
    assert several.model.settled(SEED, 5.0) == 2.0
    assert several.model.cost(SEED) == 4.0 / 2.5


def test_a_measured_seed_changes_no_other_budget():
    assert goal("macs=0.5L", "params=1L", seed_latency_ms=5.0).model.budgets == {"macs": 0.5 * MACS, "params": PARAMS}


def test_latency_needs_prices():
    with pytest.raises(UserError, match=r"^--budget latency=0\.7L: latency has to be priced; give --table FILE"):
        goal("macs=0.5L", "latency=0.7L")


@pytest.mark.parametrize(
    "texts", [("macs=0.6L", "params=0.5L"), ("macs=0.5L", "params=0.7L"), ("macs=0.7L", "params=1L")]
)
def test_an_adaptation_keeps_all_budgets_and_relieves_the_worst_at_every_step(texts):
    several = goal(*texts)
    model = several.model
    rules = Rules(ReductionSchedule.parse("0.02L"), model.cost(SEED), 1.0)

    def judge(parent, proposals):
        """What loses least is what keeps most multiply-adds: it does not see the other budget."""
        macs = model.amounts["macs"]
        return Judgement.of(macs(parent.arch), proposals, [macs(proposal.arch) for proposal in proposals])

    steps = list(adapt(Position(SEED, model.cost(SEED)), rules, model.cost, judge))
    for step in steps:
        before, after = model.reading(step.parent.arch), model.reading(step.position.arch)
        worst = max(before, key=lambda resource: before[resource] / model.budgets[resource])
        assert after[worst] < before[worst]
        assert step.parent.cost - step.position.cost >= step.reduction * (1 - 1e-9)
    end = model.reading(steps[-1].position.arch)
    assert all(end[resource] <= budget for resource, budget in model.budgets.items())
    assert model.cost(steps[-1].parent.arch) > 1
