"""The loop, on networks whose costs and accuracies are formulas of their widths."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from nas.netadapt.adaptation import Judgement, Position, Rules, UnreachableError, adapt
from nas.netadapt.schedule import ReductionSchedule
from nas.netadapt.selection import at_random, by_accuracy, by_slope
from search_spaces.arch_string import parse_arch
from search_spaces.narrowing import groups_of

SEED = parse_arch("stem_k3_s22_o16 r1_k3_s22_x80_i16_o24 r1_k3_s22_x80_i24_o40 head_o16")
GROUPS = ("b1.l1.expand", "b1.l1.project", "b2.l1.expand", "b2.l1.project")
COST = dict(zip(GROUPS, (1.0, 3.0, 2.0, 1.0), strict=True))
"""Of a channel."""
LOSS = dict(zip(GROUPS, (0.004, 0.003, 0.001, 0.002), strict=True))
"""Of accuracy with each channel. For a unit of cost: 0.004, 0.001, 0.0005, 0.002."""


def widths(arch):
    return {group.name: group.width for group in groups_of(arch) if group.name in GROUPS}


FULL = widths(SEED)


def cost(arch):
    return sum(COST[name] * width for name, width in widths(arch).items())


def accuracy(arch):
    return 1.0 - sum(LOSS[name] * (FULL[name] - width) for name, width in widths(arch).items())


def judge(parent, proposals):
    return Judgement.of(accuracy(parent.arch), proposals, [accuracy(proposal.arch) for proposal in proposals])


def rules(target, schedule="16ms", selection=by_slope):
    return Rules(ReductionSchedule.parse(schedule), cost(SEED), target, selection)


def run(target, schedule="16ms", selection=by_slope, start=None, **settle):
    start = start or Position(SEED, cost(SEED))
    return list(adapt(start, rules(target, schedule, selection), cost, judge, **settle))


def accepted(steps):
    return [step.choice.candidate.proposal.group for step in steps]


def test_the_cheapest_losses_go_first_and_each_width_to_its_end():
    """Linear costs and losses: the best networks cut widths in the order of loss for cost, as a fractional knapsack."""
    assert cost(SEED) == 352
    steps = run(128)
    by_ratio = ["b2.l1.expand", "b1.l1.project", "b2.l1.project", "b1.l1.expand"]
    order = list(dict.fromkeys(accepted(steps)))
    assert order == by_ratio[: len(order)]
    assert len(order) >= 3
    assert steps[-1].position.cost <= 128 < steps[-2].position.cost
    for before, after in pairwise(steps):
        assert after.parent == before.position
        assert before.position.step + 1 == after.position.step


def test_each_step_saves_what_the_schedule_asks_and_the_last_no_more_than_is_lacking():
    steps = run(230, "40ms*0.5")
    assert [step.asked for step in steps[:2]] == [40, 20]
    for step in steps:
        assert step.reduction == step.asked
        assert step.parent.cost - step.position.cost >= step.reduction
    *_, last = steps
    assert last.asked == min(40 * 0.5 ** (last.position.step - 1), last.parent.cost - 230)


def test_the_last_step_is_clipped():
    [step] = run(336, "0.5L")
    assert (step.asked, accepted([step])) == (16, ["b2.l1.expand"])
    assert widths(step.position.arch)["b2.l1.expand"] == 72  # and not half of the network


def test_the_last_step_lands_on_the_target_where_it_can():
    """Eight channels of the cheapest loss save 16, 15 more than is lacking; two other widths save 8."""
    [step] = run(351, "0.5L")
    assert {candidate.proposal.saving for candidate in step.judgement.candidates} == {8}
    assert accepted([step]) == ["b2.l1.project"]


@pytest.mark.parametrize("max_overshoot", [0.5, 0.01])  # everything lands; nothing does, so that there is no choice
def test_how_near_the_last_step_must_land_is_a_rule(max_overshoot):
    wanted = replace(rules(351, "0.5L"), max_overshoot=max_overshoot)
    [step] = adapt(Position(SEED, cost(SEED)), wanted, cost, judge)
    assert {8, 16} < {candidate.proposal.saving for candidate in step.judgement.candidates}
    assert accepted([step]) == ["b2.l1.expand"]


@pytest.mark.parametrize(("credits_excess", "taken"), [(False, "b1.l1.project"), (True, "b2.l1.expand")])
def test_savings_below_the_target_are_not_credited(credits_excess, taken):
    """Eight is lacking. Per unit of the whole saving 16 of b2.l1.expand lose least; of what is of use, all save 8."""
    losses = {"b1.l1.expand": 0.03, "b1.l1.project": 0.008, "b2.l1.expand": 0.009, "b2.l1.project": 0.02}
    saves = {"b1.l1.expand": 8, "b1.l1.project": 12, "b2.l1.expand": 16, "b2.l1.project": 8}
    start = Position(SEED, cost(SEED))

    def price(arch):
        [changed] = [name for name, width in widths(arch).items() if width < FULL[name]] or [None]
        return start.cost - saves.get(changed, 0)

    def judged(parent, proposals):
        return Judgement.of(0.9, proposals, [0.9 - losses[proposal.group] for proposal in proposals])

    wanted = replace(rules(start.cost - 8), max_overshoot=0.5, credits_excess=credits_excess)
    [step] = adapt(start, wanted, price, judged)
    assert accepted([step]) == [taken]
    useful = {c.proposal.group: c.proposal.useful_saving for c in step.judgement.candidates}
    assert useful == (saves if credits_excess else dict.fromkeys(saves, 8))


def test_where_nothing_saves_enough_less_is_asked_for():
    steps = run(100, "200ms")
    assert steps[0].asked == 200
    assert steps[0].reduction == 100  # the most of a single width is 2 x 72 channels
    assert all(step.parent.cost - step.position.cost >= step.reduction for step in steps)
    assert steps[-1].position.cost <= 100


def test_out_of_reach_is_said_with_the_best_and_the_steps_stand():
    seen = [Position(SEED, cost(SEED))]
    steps = adapt(seen[0], rules(10), cost, judge)
    with pytest.raises(
        UnreachableError, match=r"target 10 unreachable: after \d+ steps no width saves anything"
    ) as error:
        seen.extend(step.position for step in steps)
    assert error.value.best == seen[-1]
    assert len(seen) > 5
    assert set(widths(error.value.best.arch).values()) <= {8, 16}


def test_a_met_target_takes_no_step():
    assert run(352) == []


def test_going_on_from_any_position_gives_the_same_steps():
    for selection in (by_slope, by_accuracy, at_random(3)):
        steps = run(200, selection=selection)
        assert len(steps) > 4
        assert run(200, selection=selection, start=steps[2].position) == steps[3:]


def test_the_budget_is_kept_by_settled_costs_and_savings_are_predictions():
    """A device on which everything takes 20 more than it is priced at."""
    steps = run(200, settle=lambda parent, proposal: proposal.cost + 20)
    assert steps[-1].position.cost <= 200 < steps[-2].position.cost
    assert cost(steps[-1].position.arch) == steps[-1].position.cost - 20
    for step in steps:
        chosen = step.choice.candidate.proposal
        assert chosen.saving == cost(step.parent.arch) - cost(chosen.arch)


def test_a_gain_of_the_treatment_is_not_the_proposals():
    """Everything trained a little gains 0.3: changes are against the parent that was trained as well."""
    [first, *_] = adapt(
        Position(SEED, cost(SEED)),
        rules(330),
        cost,
        lambda parent, proposals: Judgement.of(
            accuracy(parent.arch) + 0.3, proposals, [accuracy(proposal.arch) + 0.3 for proposal in proposals]
        ),
    )
    assert all(candidate.accuracy_change < 0 for candidate in first.judgement.candidates)
    assert accepted([first]) == ["b2.l1.expand"]
