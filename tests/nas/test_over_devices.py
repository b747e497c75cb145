"""Rewards over several devices as closed forms."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latency.latency import Latency
from nas.objective import Objective
from nas.over_devices import DeviceObjectives, objectives_told
from nas.trial import Trial
from search_spaces.arch_string import parse_arch
from tests.strategies import PROPERTY

ARCH = parse_arch("r1_k3_s11_e1_i32_o16 head_o8")
T = {"phone": 2.0, "board": 10.0, "laptop": 4.0}
MS = {"phone": 3.0, "board": 8.0, "laptop": 4.4}  # 1.5, 0.8 and 1.1 of their targets
HOWS = ("worst", "mean", "each")


def latency(ms, status="ok", source="measured"):
    return Latency(ms, (0.9 * ms, 1.2 * ms), ms / 5, (0.9 * ms / 5, 1.2 * ms / 5), status, source, 7, 2)


def found(ms=None):
    return {name: latency(value) for name, value in (ms or MS).items()}


def objectives(how, form="power", alpha=-0.07, beta=-0.15):
    by_device = {name: Objective(target_ms=target, form=form, alpha=alpha, beta=beta) for name, target in T.items()}
    return DeviceObjectives(by_device, how)


def test_worst_is_the_objective_at_the_largest_ratio():
    assert objectives("worst").reward(0.8, found()) == pytest.approx(0.8 * 1.5**-0.15)
    assert objectives("worst").latency(found()).latency_ms == pytest.approx(2.0 * 1.5)
    assert objectives("worst", form="absolute").reward(0.8, found()) == pytest.approx(0.8 - 0.15 * 0.5)


def test_mean_is_the_objective_at_the_mean_ratio():
    ratio = (1.5 + 0.8 + 1.1) / 3
    assert objectives("mean").reward(0.8, found()) == pytest.approx(0.8 * ratio**-0.15)
    assert objectives("mean").latency(found()).latency_ms == pytest.approx(2.0 * ratio)


def test_each_is_the_mean_of_the_rewards():
    rewards = [0.8 * 1.5**-0.15, 0.8 * 0.8**-0.07, 0.8 * 1.1**-0.15]
    assert objectives("each").reward(0.8, found()) == pytest.approx(math.fsum(rewards) / 3)
    assert objectives("each").latency(found()) == latency(3.0)  # of the first device


@PROPERTY
@given(st.sampled_from(HOWS), st.floats(0.1, 100), st.floats(0, 1), st.sampled_from(("power", "absolute")))
def test_with_one_device_all_three_are_the_plain_objective(how, ms, accuracy, form):
    one = Objective(target_ms=3.0, form=form)
    both = DeviceObjectives({"local": one}, how)
    assert both.latency({"local": latency(ms)}) == latency(ms)
    assert both.reward(accuracy, {"local": latency(ms)}) == one.reward(accuracy, ms)
    assert both.failure_reward == one.failure_reward


@PROPERTY
@given(st.sampled_from(("worst", "mean")), st.lists(st.floats(0.01, 1e3), min_size=3, max_size=3), st.floats(0, 1))
def test_the_equivalent_latency_earns_the_reward(how, values, accuracy):
    """And lies in its interval, in milliseconds and as a ratio to the first device's reference alike."""
    several = objectives(how)
    latencies = found(dict(zip(T, values, strict=True)))
    equivalent = several.latency(latencies)
    assert several.reward(accuracy, latencies) == several.first.reward(accuracy, equivalent.latency_ms)
    assert equivalent.latency_ms == pytest.approx(5 * equivalent.ratio)
    assert equivalent.interval_ms == pytest.approx([0.9 * equivalent.latency_ms, 1.2 * equivalent.latency_ms])
    ratios = [values[i] / list(T.values())[i] for i in range(3)]
    assert min(ratios) * (1 - 1e-9) <= equivalent.latency_ms / 2.0 <= max(ratios) * (1 + 1e-9)


@PROPERTY
@given(st.sampled_from(HOWS), st.lists(st.floats(0.01, 1e3), min_size=3, max_size=3), st.integers(0, 2))
def test_faster_on_any_device_never_costs(how, values, which):
    latencies = found(dict(zip(T, values, strict=True)))
    name = list(T)[which]
    faster = {**latencies, name: latency(values[which] * 0.9)}
    assert objectives(how).reward(0.5, faster) >= objectives(how).reward(0.5, latencies)


@pytest.mark.parametrize("form", ["power", "absolute"])
@pytest.mark.parametrize("how", HOWS)
def test_where_the_rewards_spread_came_from(how, form):
    several = objectives(how, form)
    fast, slow = found(), found({name: 2 * ms for name, ms in MS.items()})
    assert several.spread([0.6, 0.8], [fast, fast]) == pytest.approx(1)
    assert several.spread([0.8, 0.8], [fast, slow]) == pytest.approx(0)
    # the shares' definition, on rewards as they are told
    accuracies, latencies = [0.6, 0.8, 0.7], [fast, slow, {**fast, "board": latency(20.0)}]
    rewards = np.array([several.reward(a, x) for a, x in zip(accuracies, latencies, strict=True)])
    terms, sums = (np.array(accuracies), rewards) if form == "absolute" else (np.log(accuracies), np.log(rewards))
    expected = np.cov(terms, sums)[0, 1] / sums.var(ddof=1)
    assert several.spread(accuracies, latencies) == pytest.approx(expected)


def test_the_order_of_arrival_does_not_matter():
    for how in HOWS:
        backwards = dict(reversed(found().items()))
        assert objectives(how).latency(backwards) == objectives(how).latency(found())
        assert objectives(how).reward(0.8, backwards) == objectives(how).reward(0.8, found())


def test_one_device_that_fails_fails_the_network():
    for how in HOWS:
        failed = objectives(how).latency({**found(), "board": Latency.failure("no such kernel")})
        assert (failed.status, failed.reason) == ("failed", "board: no such kernel")
    one = DeviceObjectives({"local": Objective(target_ms=1.0)})
    assert one.latency({"local": Latency.failure("no such kernel")}).reason == "no such kernel"


def test_the_least_trusted_device_says_how_far_to_trust():
    noisy = replace(latency(8.0, "unstable", "table"), reason="busy")
    combined = objectives("mean").latency({**found(), "laptop": latency(4.4, "wide"), "board": noisy})
    assert (combined.status, combined.source, combined.reason) == ("unstable", "table", "board: busy")
    assert (combined.num_pairs, combined.num_rejected) == (21, 6)
    assert objectives("worst").latency(found()).source == "measured"


def test_what_controllers_are_told():
    trial = Trial(
        number=0,
        choices={},
        arch=ARCH,
        status="ok",
        reward=0.5,
        macs=1,
        params=1,
        accuracy=0.75,
        latency=latency(3.5),
        device_latencies=found(),
    )
    assert objectives_told("each", trial) == (0.25, 3.0, 8.0, 4.4)
    for how in ("worst", "mean"):
        assert objectives_told(how, trial) == (0.25, 3.5)
    for how in HOWS:
        assert objectives_told(how, replace(trial, device_latencies={})) == (0.25, 3.5)


def test_no_device_no_objective():
    with pytest.raises(ValueError, match="at least one"):
        DeviceObjectives({})
