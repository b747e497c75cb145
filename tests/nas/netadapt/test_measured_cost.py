"""Prices that an adaptation's own measurements correct, by a device whose times are a formula."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import islice, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latency.latency import Latency
from latency.measurement import Measurement
from latency.meter import GRADES
from latency.metered import MeteredLatency
from latency.reference import Reference
from latency.table import fit_table
from latency.table_build import observe, variant_networks
from nas.errors import UserError
from nas.netadapt.corrected_prices import Measured, fitted_line
from nas.netadapt.cost import table_price_ms
from nas.netadapt.measured_cost import MAX_TRIES, MeasuredCost
from nas.netadapt.proposal import offer
from search_spaces.arch_string import parse_arch
from search_spaces.edits import one_layer_blocks
from tests.latency.synthetic_runtime import NUM_CLASSES, REFERENCE, SyntheticMeter, true_us

SEED = one_layer_blocks(
    parse_arch("stem_k3_s22_o24 r1_k3_s22_x96_i24_o32 r2_k3_s11_e3_i32_o32_se0.25 r2_k5_s22_e4_i32_o64 head_o96")
)
MODEL = MeteredLatency(SyntheticMeter(), REFERENCE, num_classes=NUM_CLASSES).model
REFERENCE_MS = true_us(MODEL(REFERENCE)) / 1000


class ScriptedMeter(SyntheticMeter):
    """Answers with what is in `script`, then as usual; notes who was measured against whom."""

    def __init__(self, **options):
        super().__init__(**options)
        self.script, self.asked = [], []

    def measure(self, candidate, reference, settings=None, *, seed=0, fresh_process=False):
        self.asked.append((candidate, reference))
        answer = self.script.pop(0) if self.script else "ok"
        self.slowdown = 2.0 if answer == "slow" else 1.0
        found = super().measure(candidate, reference, settings)
        if answer == "failed":
            shas = (found.candidate_sha256, found.reference_sha256, found.device)
            return Measurement.failure(
                "out of memory", candidate_sha256=shas[0], reference_sha256=shas[1], device=shas[2]
            )
        return found


def metered_on(meter):
    return MeteredLatency(meter, REFERENCE, num_classes=NUM_CLASSES, frozen=Reference(MODEL(REFERENCE), REFERENCE_MS))


@pytest.fixture(scope="module")
def table():
    """Of few networks and a noisy hour."""
    metered = metered_on(SyntheticMeter(noise=0.03, seed=3))
    return fit_table(
        [observe(metered, variant, NUM_CLASSES) for variant in islice(variant_networks(SEED, 0, 1), 8)],
        device=metered.meter.device,
        population=f"variants of {SEED}",
        num_classes=NUM_CLASSES,
        reference=REFERENCE,
        reference_ms=REFERENCE_MS,
    )


@pytest.fixture
def meter():
    return ScriptedMeter()


@pytest.fixture
def rests():
    return []


@pytest.fixture
def cost(table, meter, rests):
    return MeasuredCost(table, metered_on(meter), grade=GRADES["search"], rest=rests.append)


def true_ms(arch):
    return true_us(MODEL(arch)) / 1000


def proposals(cost, parent, share=0.01):
    return [proposal.arch for proposal in offer(parent, cost, share * cost(parent)).proposals]


def walk(cost, num_steps):
    """Steps as an adaptation takes them, with what was measured."""
    latency = cost.seed(SEED)
    networks, parent = [Measured(SEED, latency)], SEED
    for step in range(num_steps):
        offered = proposals(cost, parent)
        child = offered[step % len(offered)]
        settled = cost.settle(parent, latency, child)
        networks.append(Measured(child, settled.latency, settled.change))
        parent, latency = child, settled.latency
    return networks


def test_prices_are_the_table_s_before_anything_is_measured(cost, table):
    assert cost(SEED) == table_price_ms(table)(SEED) == pytest.approx(table.price(SEED).latency_ms)
    assert (cost.line.offset_ms, cost.line.scale) == (0, 1)


def test_the_seed_is_priced_as_measured(cost, table):
    before = cost(SEED)
    latency = cost.seed(SEED)
    assert latency.latency_ms == pytest.approx(true_ms(SEED))
    assert cost(SEED) == pytest.approx(latency.latency_ms)
    assert abs(before / true_ms(SEED) - 1) > 0.005


def test_a_step_is_measured_against_the_reference_and_beside_its_parent(cost, meter):
    latency = cost.seed(SEED)
    child = proposals(cost, SEED)[0]
    predicted = cost(child) / cost(SEED)
    meter.asked.clear()
    settled = cost.settle(SEED, latency, child)
    assert meter.asked == [(MODEL(child), MODEL(REFERENCE)), (MODEL(child), MODEL(SEED))]
    assert settled.latency.latency_ms == pytest.approx(true_ms(child))
    assert settled.change.ratio == pytest.approx(true_ms(child) / true_ms(SEED))
    assert settled.change.latency_ms == pytest.approx(true_ms(child))
    assert settled.predicted_ratio == predicted
    assert cost(child) / cost(SEED) != predicted


def test_all_measurements_are_of_the_grade(table, meter):
    cost = MeasuredCost(table, metered_on(meter))
    latency = cost.seed(SEED)
    assert len(meter.asked) == GRADES["final"].num_processes
    cost.settle(SEED, latency, proposals(cost, SEED)[0])
    assert len(meter.asked) == 3 * GRADES["final"].num_processes


def test_what_was_learnt_predicts_the_next_steps_better(table, meter):
    """A table of another hour, in which narrower networks took less than they do now."""
    full = max(network.ratio for network in table.networks)
    networks = tuple(replace(network, ratio=full * (network.ratio / full) ** 1.5) for network in table.networks)
    optimistic = replace(table, networks=networks).corrected([])
    cost = MeasuredCost(optimistic, metered_on(meter), grade=GRADES["search"])
    last = walk(cost, 5)[-1].arch
    steps = proposals(cost, last)
    assert len(steps) >= 3

    def errors(price):
        return [abs(price(step) / price(last) - true_ms(step) / true_ms(last)) for step in steps]

    assert sum(errors(cost)) < 0.7 * sum(errors(table_price_ms(optimistic)))


def test_a_resumed_adaptation_prices_alike(cost, table, meter):
    networks = walk(cost, 3)
    stored = [
        Measured(
            parse_arch(str(network.arch)),
            Latency.from_dict(network.latency.to_dict()),
            network.change and Latency.from_dict(network.change.to_dict()),
        )
        for network in networks
    ]
    meter.asked.clear()
    resumed = MeasuredCost(table, metered_on(meter), stored)
    one_by_one = MeasuredCost(table, metered_on(meter))
    for network in stored:
        one_by_one.learn(network)
    assert meter.asked == []
    assert resumed.line == one_by_one.line == cost.line
    for arch in proposals(cost, networks[-1].arch):
        assert resumed(arch) == one_by_one(arch) == cost(arch)


@pytest.mark.parametrize("order", [[0, 0], [1], [0, 1, 0]])
def test_networks_are_learnt_in_order(cost, table, order):
    networks = walk(cost, 1)
    with pytest.raises(ValueError, match="the seed is learnt first"):
        MeasuredCost(table, metered_on(SyntheticMeter()), [networks[number] for number in order])


@pytest.mark.parametrize("answer", ["failed", "slow"])
def test_disturbed_is_measured_again(cost, meter, rests, answer):
    attempts = 1 if answer == "failed" else 3  # `MeteredLatency` takes disturbed ones again itself
    meter.script = [answer] * attempts
    assert cost.seed(SEED).status == "ok"
    assert len(meter.asked) == attempts + 1
    assert len(rests) == 1


@pytest.mark.parametrize(
    ("answer", "reason"), [("failed", "out of memory"), ("slow", "the reference runs 2.00 times slower")]
)
def test_too_busy_is_an_error_that_says_how_to_go_on(cost, meter, rests, answer, reason):
    latency = cost.seed(SEED)
    child, before = proposals(cost, SEED)[0], cost(SEED)
    meter.script = [answer] * 3 * MAX_TRIES
    with pytest.raises(UserError, match=reason) as error:
        cost.settle(SEED, latency, child)
    assert len(rests) == MAX_TRIES - 1
    assert "--resume" in str(error.value)
    assert "\n" not in str(error.value)
    assert cost(SEED) == before
    meter.script = []
    assert cost.settle(SEED, latency, child).change.status == "ok"


def test_networks_without_a_price_are_named(cost):
    with pytest.raises(UserError, match="the table has no price for"):
        cost.learn(Measured(REFERENCE, exact(1.0)))


# the line


def exact(latency_ms, half_width=1e-9):
    low, high = math.exp(-half_width), math.exp(half_width)
    return Latency(latency_ms, (latency_ms * low, latency_ms * high), latency_ms, (latency_ms * low, latency_ms * high),
                   "ok", "measured", 9)  # fmt: skip


def chain(latencies_ms, half_width=1e-9):
    """Networks called after their number, and what was measured of them."""
    archs = [
        parse_arch(f"stem_k3_s22_o{8 + number} r1_k3_s11_e3_i{8 + number}_o16 head_o16")
        for number in range(len(latencies_ms))
    ]
    changes = [None, *(exact(b / a, half_width) for a, b in pairwise(latencies_ms))]
    found = [Measured(*each) for each in zip(archs, map(exact, latencies_ms), changes, strict=True)]
    return found, {arch: number for number, arch in enumerate(archs)}


def line_through(latencies_ms, prices, half_width=1e-9):
    found, number = chain(latencies_ms, half_width)
    return fitted_line(found, lambda arch: prices[number[arch]])


def test_line_of_the_seed_alone_shifts():
    line = line_through([5.0], [4.0])
    assert (line.scale, line.offset_ms) == (1, 1)


@given(st.floats(0.5, 1.5), st.lists(st.floats(0.02, 0.2), min_size=1, max_size=20))
def test_scale_lies_between_the_table_and_what_was_saved(scale, savings):
    prices = [10 - sum(savings[:number]) for number in range(len(savings) + 1)]
    line = line_through([4 + scale * price for price in prices], prices)
    # a table is known to 0.2, so that it weighs 25; a step to 0.5, so that it weighs 4
    assert line.scale == pytest.approx((25 + 4 * len(savings) * scale) / (25 + 4 * len(savings)), rel=1e-3)


def test_sum_of_savings_comes_out_right():
    """Each step is off by half, to either side; all together the table promises a fifth too much."""
    savings = [0.1] * 40
    prices = [10 - sum(savings[:number]) for number in range(41)]
    true = [0.8 * saving * (1.5 if number % 2 else 0.5) for number, saving in enumerate(savings)]
    line = line_through([10 - sum(true[:number]) for number in range(41)], prices)
    assert line.scale * sum(savings) == pytest.approx(sum(true), rel=0.05)


def test_noisy_changes_say_little():
    prices, latencies = [10.0, 9.9], [10.0, 9.95]
    sure, unsure = line_through(latencies, prices), line_through(latencies, prices, half_width=0.05)
    assert sure.scale == pytest.approx((25 + 4 * 0.5) / 29, rel=1e-3)
    assert 0.99 < unsure.scale < 1


def test_no_noise_makes_narrower_networks_dearer():
    prices = [10 - 0.1 * number for number in range(9)]
    assert line_through([10 + number for number in range(9)], prices).scale > 0
