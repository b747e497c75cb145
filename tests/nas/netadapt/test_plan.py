"""Plans: of one cost, of several budgets, and what they refuse."""

from __future__ import annotations

import pytest

from nas.errors import UserError
from nas.netadapt.budget import Goal, parse_budgets
from nas.netadapt.cost import mac_cost, param_cost
from nas.netadapt.plan import lowest, plan
from nas.netadapt.proposal import GROUPS
from nas.netadapt.schedule import Amount, ReductionSchedule
from search_spaces.arch_string import parse_arch

SEED = parse_arch("stem_k3_s22_o16 r1_k3_s22_x80_i16_o24 r1_k3_s22_x80_i24_o40 head_o16")
RESOLUTION, NUM_CLASSES = 32, 10
MODELS = {"macs": mac_cost(RESOLUTION, NUM_CLASSES), "params": param_cost(RESOLUTION, NUM_CLASSES)}
COSTS = {resource: model.cost(SEED) for resource, model in MODELS.items()}
LOWEST = {resource: lowest(SEED, model.cost, GROUPS["v3"]) for resource, model in MODELS.items()}


def planned(*budgets, schedule="0.05L", groups="v3", price_ms=None):
    goal = Goal.of(parse_budgets(budgets), SEED, RESOLUTION, NUM_CLASSES, price_ms=price_ms)
    steps = ReductionSchedule.parse(schedule)
    return plan("tiny", SEED, goal.model, steps, goal.target, groups, goal.option)


def refused(*budgets, **arguments):
    with pytest.raises(UserError) as error:
        planned(*budgets, **arguments)
    message = str(error.value)
    assert "\n" not in message
    return message


def test_a_single_budget_plans_as_a_target():
    documents = [
        planned("params=0.7L").to_dict(),
        plan(
            "tiny", SEED, MODELS["params"], ReductionSchedule.parse("0.05L"), Amount.parse("0.7L", "--target")
        ).to_dict(),
    ]
    for document in documents:
        assert document.pop("seconds") >= 0
    assert documents[0] == documents[1]
    assert "budgets" not in documents[0]
    assert (documents[0]["cost"], documents[0]["unit"], documents[0]["max_steps"]) == ("params", "params", 6)


def test_several_budgets_are_listed_beside_what_the_seed_takes():
    found = planned("macs=0.8L", "params=4e3")
    document = found.to_dict()
    assert document["budgets"] == [
        {"resource": "macs", "seed": COSTS["macs"], "budget": 0.8 * COSTS["macs"]},
        {"resource": "params", "seed": COSTS["params"], "budget": 4000.0},
    ]
    assert (document["cost"], document["unit"], document["target"]) == ("budgets", "x budget", 1.0)
    assert document["seed_cost"] == pytest.approx(max(1 / 0.8, COSTS["params"] / 4000))
    assert document["proposals"]
    assert found.reduction == pytest.approx(0.05 * document["seed_cost"])


def test_a_proposal_relieves_the_furthest_resource():
    """Parameters are at 2 budgets, multiply-adds at 1.01: what saves multiply-adds alone saves nothing."""
    found = planned(f"macs={COSTS['macs'] / 1.01}", "params=0.5L")
    alone = planned("params=0.5L")
    assert [p.group for p in found.offer.proposals] == [p.group for p in alone.offer.proposals]
    for proposal, other in zip(found.offer.proposals, alone.offer.proposals, strict=True):
        assert proposal.after == other.after
        assert proposal.saving == pytest.approx(other.saving / (0.5 * COSTS["params"]))


def test_budgets_that_are_kept_already():
    message = refused("macs=1L", "params=1.2e4")
    macs, params = f"{COSTS['macs'] / 1e6:.2f} M MACs", f"{COSTS['params']:,} params"
    assert message == (
        f"--budget macs=1L --budget params=12000: tiny has {macs} of {macs}, {params} of 12,000 params, which is no more; "
        "give a lower target"
    )


def test_one_of_them_may_be_kept_already():
    assert planned("macs=2L", "params=0.7L").lowest < 1


def test_out_of_reach_names_the_resource_and_its_lowest():
    message = refused("macs=0.9L", "params=100")
    low = LOWEST["params"]
    assert message == (
        f"--budget macs=0.9L --budget params=100: tiny at its narrowest has {low:,} params "
        f"({low / COSTS['params']:.3f}L), the lowest that is possible; --groups all narrows stem and head too"
    )


def test_both_out_of_reach():
    message = refused("macs=0.01L", "params=100", groups="all")
    assert message.count("L)") == 2
    assert " M MACs (" in message
    assert " params (" in message
    assert "--groups" not in message


def test_budgets_that_exclude_each_other():
    """A device on which networks of fewer parameters take longer."""

    def price_ms(arch):
        return 1e4 / MODELS["params"].cost(arch)

    assert refused("latency=1.01L", "params=0.5L", price_ms=price_ms).endswith(
        "x budget: each budget can be kept alone, but not all of them together; --groups all narrows stem and head too"
    )
    alone = refused("latency=0.9L", "params=0.5L", price_ms=price_ms)
    assert f"at its narrowest has {price_ms(SEED):.3f} ms (1.000L), the lowest that is possible" in alone


def test_a_schedule_that_ends_too_early_names_the_furthest_resource():
    message = refused("macs=0.95L", "params=0.5L", schedule="0.1L*0.5")
    assert message == (
        "--budget macs=0.95L --budget params=0.5L: the steps of --schedule 0.1L*0.5 save 0.400 x budget in all, so the "
        f"lowest that they are sure to reach is {0.8 * COSTS['params']:,.0f} params (0.800L); let them decay less"
    )


def test_a_single_budget_is_named_as_it_was_given():
    assert refused("params=100").startswith("--budget params=100: tiny at its narrowest has")
    assert refused("params=1e5").startswith("--budget params=100000: tiny has")


def test_milliseconds_of_several():
    assert refused("macs=0.9L", "params=0.5L", schedule="0.5ms").startswith(
        "--schedule 0.5ms: several budgets have no unit in common"
    )
