"""Judging by rounds with made-up outcomes: who goes on, what is asked of whom, who ties."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.netadapt.adaptation import Position
from nas.netadapt.outcomes import paired
from nas.netadapt.proposal import Proposal
from nas.netadapt.selection import RULES
from nas.netadapt.tournament import FINALISTS, Round, Tournament, halving, published, survivors
from search_spaces.arch_string import parse_arch

NUM_IMAGES = 80
PARENT = Position(parse_arch("r1_k3_s11_x256_i32_o16"), 100.0)
GAIN = 0.01
"""Of a step of training, whatever the network."""


@cache
def arch_of(number):
    return parse_arch(f"r1_k3_s11_x{8 * (number + 1)}_i32_o16")


def proposal(number, saving=1.0):
    return Proposal(f"w{number}", "expansion", (f"w{number}",), 256, 8, arch_of(number), 100.0 - saving, saving)


class Bench:
    """Outcomes by formula; remembers what it was asked.

    losses: of each proposal, against the parent. noise: of single images, the same whatever the round.
    """

    def __init__(self, losses, noise=0.0, gains=None):
        self.losses, self.noise, self.gains = losses, noise, gains or {}
        self.asked = []

    def __call__(self, parent, archs, round_):
        assert parent is PARENT
        assert archs[0] is parent.arch
        self.asked.append((round_, archs[1:]))
        num_images = round(round_.share * NUM_IMAGES)
        return [self._outcomes(arch, round_)[:num_images] for arch in archs]

    def _outcomes(self, arch, round_):
        mean = 0.5 + GAIN * round_.num_steps
        for number, loss in enumerate(self.losses):
            if arch_of(number) is arch:
                mean += self.gains.get(number, 0.0) * round_.num_steps - loss
        if not self.noise:
            return np.full(NUM_IMAGES, mean)
        return mean + self.noise * np.random.default_rng(int(arch.key[:8], 16)).standard_normal(NUM_IMAGES)


def judged(bench, rounds, rule="accuracy", savings=None):
    proposals = [proposal(n, 1.0 if savings is None else savings[n]) for n in range(len(bench.losses))]
    return Tournament(rounds, bench, RULES[rule])(PARENT, proposals)


def groups(candidates):
    return [candidate.proposal.group for candidate in candidates]


def test_rounds_train_longer_on_more_images():
    assert halving(64) == (Round(1, 0, 0.25), Round(2, 4, 0.5), Round(3, 8, 1.0))
    assert halving(2) == (Round(1, 0, 0.25), Round(2, 1, 0.5), Round(3, 1, 1.0))
    assert halving(0) == (Round(1, 0, 1.0),)
    assert published(90) == (Round(1, 90, 1.0),)


@pytest.mark.parametrize(
    ("num", "first", "later"), [(1, 1, 1), (3, 3, 3), (4, 3, 3), (9, 3, 3), (10, 3, 3), (22, 7, 3)]
)
def test_who_survives(num, first, later):
    assert [survivors(num, Round(number, 0, 0.5)) for number in (1, 2)] == [first, later]


def test_a_third_goes_on_then_three():
    bench = Bench([0.01 * (n + 1) for n in range(18)])
    found = judged(bench, halving(24))
    assert [(round_.number, len(archs)) for round_, archs in bench.asked] == [(1, 18), (2, 6), (3, FINALISTS)]
    assert groups(found.candidates) == ["w0", "w1", "w2"]
    # the last ones to fall out first, each time in the network's order
    assert groups(found.eliminated) == [f"w{n}" for n in (*range(3, 6), *range(6, 18))]
    assert found.parent == pytest.approx(0.5 + 3 * GAIN)


def test_finalists_stay_in_the_networks_order():
    found = judged(Bench([0.05, 0.03, 0.04, 0.01, 0.02]), halving(9))
    assert groups(found.candidates) == ["w1", "w3", "w4"]
    assert groups(found.eliminated) == ["w0", "w2"]


@pytest.mark.parametrize("num", [1, 2, 3])
def test_few_proposals_meet_in_the_last_round_at_once(num):
    bench = Bench([0.01] * num)
    found = judged(bench, halving(9))
    assert [round_.number for round_, _ in bench.asked] == [3]
    assert (len(found.candidates), found.eliminated) == (num, ())


def test_four_skip_the_second_round():
    bench = Bench([0.01, 0.02, 0.03, 0.04])
    assert groups(judged(bench, halving(9)).eliminated) == ["w3"]
    assert [round_.number for round_, _ in bench.asked] == [1, 3]


def test_what_training_gains_is_nobodys():
    changes = {}
    for num_steps in (0, 90):
        found = judged(Bench([0.0, 0.02]), published(num_steps))
        changes[num_steps] = [candidate.accuracy_change for candidate in found.candidates]
    assert changes[0] == pytest.approx([0.0, -0.02])
    assert changes[90] == pytest.approx(changes[0])


def test_a_late_bloomer_may_win_where_it_gets_that_far():
    found = judged(Bench([0.01, 0.02, 0.03, 0.04], gains={2: 0.02}), halving(24))
    best = RULES["accuracy"].select(found.candidates).candidate
    assert best.proposal.group == "w2"
    assert best.accuracy_change == pytest.approx(-0.03 + 3 * 0.02)


def test_the_rule_says_who_goes_on():
    losses, savings = [0.01, 0.02, 0.03, 0.04], [0.1, 4.0, 4.0, 4.0]
    assert groups(judged(Bench(losses), halving(9), "accuracy", savings).eliminated) == ["w3"]
    assert groups(judged(Bench(losses), halving(9), "slope", savings).eliminated) == ["w0"]  # 0.1 for each unit


def test_changes_and_intervals_are_paired_image_by_image():
    bench = Bench([0.01, 0.3], noise=0.1)
    found = judged(bench, published(0))
    control, first, second = bench(PARENT, [PARENT.arch, arch_of(0), arch_of(1)], Round(1, 0, 1.0))
    for candidate, own in zip(found.candidates, (first, second), strict=True):
        assert (candidate.accuracy_change, candidate.half_width) == (
            paired(own, control).mean,
            paired(own, control).half_width,
        )
        assert candidate.half_width > 0


def test_ties_are_those_that_noise_hides():
    found = judged(Bench([0.010, 0.011, 0.4], noise=0.1), published(0))
    leader = RULES["accuracy"].select(found.candidates).candidate.proposal.group
    assert {leader, *found.tied} == {"w0", "w1"}
    assert judged(Bench([0.010, 0.011, 0.4]), published(0)).tied == ()  # without noise all are told apart


def test_ties_are_by_what_the_rule_compares():
    savings = [1.0, 20.0]
    assert judged(Bench([0.05, 0.05], noise=0.02), published(0), "accuracy", savings).tied == ("w0",)
    assert judged(Bench([0.05, 0.05], noise=0.02), published(0), "slope", savings).tied == ()  # 0.05 and 0.0025 a unit


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(1, 50), min_size=1, max_size=25, unique=True))
def test_every_proposal_ends_once_and_the_best_wins(losses):
    bench = Bench([loss / 100 for loss in losses])
    found = judged(bench, halving(90))
    assert sorted(groups((*found.candidates, *found.eliminated))) == sorted(f"w{n}" for n in range(len(losses)))
    winner = RULES["accuracy"].select(found.candidates).candidate.proposal.group
    assert winner == f"w{losses.index(min(losses))}"
    numbers = [round_.number for round_, _ in bench.asked]
    assert numbers == sorted(set(numbers))
    assert numbers[-1] == 3
    sizes = [len(archs) for _, archs in bench.asked]
    assert sizes == sorted(sizes, reverse=True)
