"""Which candidate is accepted where accuracy falls, stays, rises, and where candidates tie."""

from __future__ import annotations

from collections import Counter

import pytest

from nas.netadapt.proposal import Proposal
from nas.netadapt.selection import Candidate, at_random, by_accuracy, by_slope
from search_spaces.arch_string import parse_arch

PARENT = 0.5


def candidate(group, change, saving):
    arch = parse_arch(f"r1_k3_s11_x{len(group)}_i32_o16")
    return Candidate(Proposal(group, "expansion", (group,), 16, 8, arch, 1.0, saving), PARENT + change, change)


def chosen(rule, *triples):
    choice = rule([candidate(*triple) for triple in triples])
    return choice.candidate.proposal.group, choice.tied


def test_of_losses_the_least_for_what_is_saved():
    assert chosen(by_slope, ("a", -0.02, 1.0), ("bb", -0.03, 2.0), ("ccc", -0.01, 0.4)) == ("bb", ())


def test_of_gains_not_the_smallest_saving_but_the_largest():
    # the bare ratio would take "a": 0.1 an unit, as it would a saving of next to nothing
    assert chosen(by_slope, ("a", 0.01, 0.1), ("bb", 0.02, 1.0), ("ccc", 0.001, 1.5)) == ("ccc", ())


def test_what_loses_nothing_goes_before_all_losses():
    assert chosen(by_slope, ("a", -1e-6, 9.0), ("bb", 0.0, 0.1)) == ("bb", ())


def test_of_equal_savings_without_loss_the_most_accurate():
    assert chosen(by_slope, ("a", 0.0, 1.0), ("bb", 0.02, 1.0)) == ("bb", ())


def test_of_equal_slopes_the_larger_saving():
    assert chosen(by_slope, ("a", -0.25, 1.0), ("bb", -0.5, 2.0)) == ("bb", ())


@pytest.mark.parametrize("rule", [by_slope, by_accuracy])
@pytest.mark.parametrize("change", [-0.25, 0.0, 0.25])
def test_the_first_of_a_declared_tie(rule, change):
    assert chosen(rule, ("a", -0.5, 0.1), ("bb", change, 1.0), ("ccc", change, 1.0)) == ("bb", ("ccc",))


def test_netadapts_own_rule_looks_at_accuracy_and_then_at_the_saving():
    assert chosen(by_accuracy, ("a", -0.01, 0.1), ("bb", -0.02, 9.0)) == ("a", ())
    assert chosen(by_accuracy, ("a", -0.01, 0.1), ("bb", -0.01, 0.2)) == ("bb", ())


def test_random_draws_are_a_function_of_seed_and_candidates():
    triples = [("a", -0.1, 1.0), ("bb", -0.2, 1.0), ("ccc", -0.3, 1.0)]
    drawn = [chosen(at_random(seed), *triples)[0] for seed in range(60)]
    assert drawn == [chosen(at_random(seed), *triples)[0] for seed in range(60)]
    assert min(Counter(drawn)[group] for group, _, _ in triples) >= 10
