from __future__ import annotations

import itertools
import json
import math
import statistics
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from latency.estimator import (
    MAX_LEVEL_SHIFT,
    Block,
    Estimate,
    Goal,
    Pair,
    Session,
    Spread,
    accepted_pairs,
    estimate,
    hodges_lehmann,
    reached,
    session_log_ratios,
    t_quantile,
)
from latency.measurement import sessions_from_lists, sessions_to_lists
from tests.strategies import PROPERTY

QUIET = Spread(session_sd=0.0, process_sd=0.0)
ALONE = Goal(spread=Spread(session_sd=0.008, process_sd=0.0))
DISTURBED = [{"cpu_ratio": 0.9}, {"steal_ticks": 1}]


def block(ns: float, cpu_ratio: float | None = 1.0, steal_ticks: int = 0) -> Block:
    return Block(ns, ns, 5, cpu_ratio, 0, steal_ticks)


def pair(candidate_ns: float, reference_ns: float = 1e6) -> Pair:
    return Pair(block(candidate_ns), block(reference_ns))


def session(candidate_ns: float, reference_ns: float = 1e6, num_pairs: int = 4) -> Session:
    return (pair(candidate_ns, reference_ns),) * num_pairs


def swapped(sessions: list[Session]) -> list[Session]:
    return [tuple(Pair(p.reference, p.candidate) for p in one) for one in sessions]


def scaled(sessions: list[Session], factor: float) -> list[Session]:
    def slower(b: Block) -> Block:
        return replace(b, fastest_ns=b.fastest_ns * factor, median_ns=b.median_ns * factor)

    return [tuple(Pair(slower(p.candidate), p.reference) for p in one) for one in sessions]


def log_half_width(found: Estimate) -> float:
    """Of an interval that lies around the ratio evenly in logarithms, which is asserted."""
    low, high = found.interval
    assert low * high == pytest.approx(found.ratio**2)
    return math.log(high / low) / 2


@st.composite
def blocks(draw: st.DrawFn) -> Block:
    """Any block, on a machine that is never quiet for long."""
    fastest_ns = draw(st.floats(1e5, 1e8))
    return Block(
        fastest_ns,
        fastest_ns * draw(st.floats(1, 2)),
        draw(st.integers(1, 50)),
        draw(st.none() | st.floats(0.9, 1.0)),
        draw(st.integers(0, 9)),
        draw(st.sampled_from((0, 0, 0, 1))),
    )


sessions_of_a_process = st.lists(
    st.lists(st.builds(Pair, blocks(), blocks()), min_size=1, max_size=5).map(tuple), min_size=1, max_size=4
)
processes = st.lists(sessions_of_a_process, min_size=1, max_size=3)
FEWER = settings(PROPERTY, max_examples=40)


class TestTQuantile:
    @pytest.mark.parametrize("degrees", range(3, 61))
    def test_agrees_with_scipy(self, degrees: int) -> None:
        assert t_quantile(degrees) == pytest.approx(stats.t.ppf(0.975, degrees), rel=0.01)

    def test_two_degrees_and_very_many(self) -> None:
        assert t_quantile(2) == pytest.approx(stats.t.ppf(0.975, 2), rel=0.04)
        assert t_quantile(10**6) == pytest.approx(stats.norm.ppf(0.975), rel=1e-5)


class TestHodgesLehmann:
    @given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=12))
    @PROPERTY
    def test_is_the_median_of_all_means_of_two(self, values: list[float]) -> None:
        means = [(a + b) / 2 for a, b in itertools.combinations_with_replacement(values, 2)]
        assert hodges_lehmann(values) == pytest.approx(statistics.median(means), abs=1e-9)

    def test_by_hand(self) -> None:
        assert hodges_lehmann([7.0]) == 7
        assert hodges_lehmann([1.0, 2.0]) == 1.5
        assert hodges_lehmann([0.0, 1.0, 100.0]) == pytest.approx(25.5)  # of 0, 0.5, 1, 50, 50.5, 100
        assert hodges_lehmann([1.0] * 9 + [100.0] * 2) == 1


class TestOneProcess:
    @pytest.mark.parametrize("num_sessions", [1, 2, 5, 9])
    def test_constant_ratio_is_exact_and_its_interval_the_prior_one(self, num_sessions: int) -> None:
        found = estimate([[session(3e6, 2e6)] * num_sessions], ALONE)
        assert found.ratio == pytest.approx(1.5, rel=1e-12)
        degrees = 4 + num_sessions - 1  # the prior counts as 4 sessions
        by_hand = stats.t.ppf(0.975, degrees) * math.sqrt(4 * 0.008**2 / degrees / num_sessions)
        assert log_half_width(found) == pytest.approx(by_hand, rel=0.01)
        assert (found.num_pairs, found.num_rejected) == (4 * num_sessions, 0)

    def test_spread_of_sessions_by_hand(self) -> None:
        found = estimate([[session(1e6 * math.exp(x)) for x in (0.0, 0.01, 0.05)]], ALONE)
        assert math.log(found.ratio) == pytest.approx(0.0175)  # means of two: 0, 0.005, 0.01, 0.025, 0.03 and 0.05
        squares = 0.02**2 + 0.01**2 + 0.03**2  # about their mean, 0.02
        by_hand = stats.t.ppf(0.975, 6) * math.sqrt((4 * 0.008**2 + squares) / 6 / 3)
        assert log_half_width(found) == pytest.approx(by_hand, rel=0.01)

    def test_quiet_device_with_equal_sessions_is_certain(self) -> None:
        found = estimate([[session(3e6)] * 3], Goal(spread=QUIET))
        assert found.interval == pytest.approx((3, 3), rel=1e-12)
        assert (found.status, found.reason) == ("ok", None)

    def test_a_block_counts_with_its_fastest_inference(self) -> None:
        slow_in_the_median = Pair(Block(2e6, 9e6, 5, 1.0), Block(1e6, 1e6, 5, 1.0))
        assert estimate([[(slow_in_the_median,) * 4] * 3]).ratio == pytest.approx(2, rel=1e-12)

    def test_pairs_of_a_session_repeated_say_nothing_new(self) -> None:
        few, many = ([session(1e6 * math.exp(x), num_pairs=n) for x in (0, 0.01, 0.02)] for n in (2, 50))
        assert estimate([few]).interval == pytest.approx(estimate([many]).interval, rel=1e-12)

    def test_drift_cancels_over_sessions_of_alternating_order(self) -> None:
        slowness = iter(np.exp(0.002 * np.arange(32)))  # log-linear, 0.2 % a block, 6.4 % in all
        sessions: list[Session] = []
        for number in range(4):
            pairs = []
            for _ in range(4):
                first, second = next(slowness), next(slowness)
                candidate, reference = (second, first) if number % 2 else (first, second)  # as in take_sessions
                pairs.append(pair(2e6 * candidate, 1e6 * reference))
            sessions.append(tuple(pairs))
        assert session_log_ratios(sessions) == pytest.approx(math.log(2) + 0.002 * np.array([-1, 1, -1, 1]))
        found = estimate([sessions])
        assert found.ratio == pytest.approx(2, rel=1e-12)
        assert found.num_rejected == 0

    def test_burst_below_the_filter_is_outvoted(self) -> None:
        spoiled = (pair(1.1e6), *session(1e6, num_pairs=7))
        found = estimate([[spoiled, session(1e6), session(1e6)]])
        assert (found.ratio, found.num_rejected) == (pytest.approx(1, rel=1e-12), 0)


class TestProperties:
    @given(processes)
    @FEWER
    def test_swapping_the_networks_inverts_ratio_and_interval(self, runs: list[list[Session]]) -> None:
        there, back = estimate(runs), estimate([swapped(sessions) for sessions in runs])
        assert back.ratio == pytest.approx(1 / there.ratio)
        assert back.interval == pytest.approx((1 / there.interval[1], 1 / there.interval[0]))
        assert (back.status, back.num_pairs, back.num_rejected) == (there.status, there.num_pairs, there.num_rejected)

    @given(sessions_of_a_process)
    @PROPERTY
    def test_rejection_does_not_see_which_network_was_slower(self, sessions: list[Session]) -> None:
        there, back = accepted_pairs(sessions), accepted_pairs(swapped(sessions))
        assert [mask.tolist() for mask in there] == [mask.tolist() for mask in back]

    @given(sessions_of_a_process, st.sampled_from((0.01, 0.5, 3.0, 100.0)))
    @PROPERTY
    def test_ratio_scales_with_the_candidate_and_rejection_does_not_see_it(
        self, sessions: list[Session], factor: float
    ) -> None:
        before, after = estimate([sessions]), estimate([scaled(sessions, factor)])
        assert after.ratio == pytest.approx(factor * before.ratio)
        assert after.interval == pytest.approx((factor * before.interval[0], factor * before.interval[1]))
        assert after.num_rejected == before.num_rejected

    @given(processes)
    @FEWER
    def test_interval_contains_the_ratio_and_every_pair_is_counted(self, runs: list[list[Session]]) -> None:
        found = estimate(runs)
        assert 0 < found.interval[0] <= found.ratio <= found.interval[1] < math.inf
        assert found.num_pairs + found.num_rejected == sum(len(s) for sessions in runs for s in sessions)
        assert (found.status == "ok") == (found.reason is None)

    @given(processes)
    @FEWER
    def test_order_of_processes_does_not_matter(self, runs: list[list[Session]]) -> None:
        there, back = estimate(runs), estimate(runs[::-1])
        assert back.ratio == pytest.approx(there.ratio)
        assert back.interval == pytest.approx(there.interval)
        assert back.status == there.status

    @given(sessions_of_a_process)
    @PROPERTY
    def test_sessions_survive_json(self, sessions: list[Session]) -> None:
        rows = json.loads(json.dumps(sessions_to_lists(sessions), allow_nan=False))
        assert sessions_from_lists(rows) == tuple(sessions)


class TestRejection:
    @pytest.mark.parametrize("spoiled", DISTURBED)
    @pytest.mark.parametrize("role", ["candidate", "reference"])
    def test_disturbed_block_costs_its_pair_whichever_network_it_hit(
        self, spoiled: dict[str, float], role: str
    ) -> None:
        hit = replace(pair(1e6), **{role: replace(block(1e6), **spoiled)})  # type: ignore[arg-type]
        masks = accepted_pairs([session(1e6), (pair(1e6), hit, pair(1e6))])
        assert [mask.tolist() for mask in masks] == [[True] * 4, [True, False, True]]

    def test_slow_pairs_go_and_fast_ones_stay(self) -> None:
        levels = [1.0, 1.0, 1.0, 1.0 + 0.9 * MAX_LEVEL_SHIFT, 1.0 + 1.1 * MAX_LEVEL_SHIFT, 3.0, 0.5]
        one = tuple(pair(1e6 * level, 1e6 * level) for level in levels)
        assert accepted_pairs([one])[0].tolist() == [True, True, True, True, False, False, True]

    def test_a_quiet_third_sets_the_level(self) -> None:
        levels = [1e6] * 3 + [1.2e6] * 6
        assert accepted_pairs([tuple(pair(ns, ns) for ns in levels)])[0].tolist() == [True] * 3 + [False] * 6

    def test_a_pair_is_as_slow_as_the_geometric_mean_of_its_blocks(self) -> None:
        one = (*session(1e6), pair(1.15e6), pair(1.18e6))  # roots: 1.072 and 1.086
        assert accepted_pairs([one])[0].tolist() == [True] * 5 + [False]

    def test_one_level_for_all_sessions_of_a_process(self) -> None:
        masks = accepted_pairs([session(1e6, 1e6), session(1.2e6, 1.2e6)])
        assert [mask.tolist() for mask in masks] == [[True] * 4, [False] * 4]
        assert session_log_ratios([session(1e6), session(1.3e6, 1.2e6)]) == (0.0,)

    def test_disturbed_pairs_do_not_set_the_level(self) -> None:
        fast_but_disturbed = Pair(block(0.5e6, cpu_ratio=0.5), block(0.5e6))
        masks = accepted_pairs([(fast_but_disturbed,) * 3 + session(1e6)])
        assert masks[0].tolist() == [False] * 3 + [True] * 4

    def test_unknown_cpu_time_and_short_switches_reject_nothing(self) -> None:
        unknown = Block(1e6, 1e6, 5, None, involuntary_switches=3)
        assert accepted_pairs([(Pair(unknown, unknown),) * 4])[0].all()


class TestStatus:
    def test_mostly_disturbed_is_unstable(self) -> None:
        hit = (Pair(block(2e6, 0.5), block(2e6, 0.5)),) * 10
        found = estimate([[session(1e6, num_pairs=2)] * 3 + [hit]])
        assert (found.status, found.num_pairs, found.num_rejected) == ("unstable", 6, 10)
        assert found.reason == "10 of 16 pairs were disturbed"

    def test_nothing_accepted_is_unstable_with_a_ratio_from_all(self) -> None:
        found = estimate([[(Pair(block(2e6, 0.5), block(1e6)),) * 4] * 3])
        assert (found.status, found.num_pairs, found.num_rejected) == ("unstable", 0, 12)
        assert found.ratio == pytest.approx(2, rel=1e-12)

    def test_half_disturbed_is_not_unstable(self) -> None:
        half = session(1e6, num_pairs=2) + (Pair(block(1e6, 0.5), block(1e6)),) * 2
        found = estimate([[half] * 3], Goal(spread=QUIET))
        assert (found.status, found.num_rejected) == ("ok", 6)

    def test_few_sessions_are_wide(self) -> None:
        found = estimate([[session(1e6, num_pairs=50)] * 2], Goal(spread=QUIET))
        assert (found.status, found.reason) == ("wide", "2 sessions, 3 wanted")

    def test_the_process_with_the_fewest_sessions_counts(self) -> None:
        found = estimate([[session(1e6)] * 5, [session(1e6)] * 2], Goal(spread=QUIET))
        assert (found.status, found.reason) == ("wide", "2 sessions, 3 wanted")

    def test_noise_is_wide(self) -> None:
        found = estimate([[session(1e6 * math.exp(x)) for x in (-0.05, 0.02, 0.04, -0.01, 0.03)]])
        assert found.status == "wide"
        assert found.reason is not None
        assert found.reason.endswith("0.70% wanted")

    def test_reached_when_ok(self) -> None:
        goal, calm = Goal(min_sessions=5), [session(1e6)] * 5
        assert reached(calm, goal)
        assert not reached(calm[:4], goal)
        assert not reached([*calm[:4], session(1.05e6)], goal)
        assert not reached([(Pair(block(1e6, 0.5), block(1e6)),) * 4] * 5, goal)


class TestProcesses:
    def test_centre_is_the_hodges_lehmann_average_of_the_processes(self) -> None:
        logs = [0.0, 0.01, 0.3]
        found = estimate([[session(1e6 * math.exp(x))] * 3 for x in logs])
        assert found.ratio == pytest.approx(math.exp(hodges_lehmann(logs)), rel=1e-12)
        assert found.num_pairs == 36

    def test_interval_of_equal_processes_by_hand(self) -> None:
        spread = Spread(session_sd=0.008, process_sd=0.003)
        found = estimate([[session(1e6)] * 4] * 5, Goal(spread=spread))
        expected = 0.003**2 + 4 * 0.008**2 / 7 / 4  # of one process
        by_hand = stats.t.ppf(0.975, 8) * math.sqrt(4 * expected / 8 / 5)
        assert log_half_width(found) == pytest.approx(by_hand, rel=0.01)

    def test_interval_grows_with_their_spread(self) -> None:
        widths = [
            log_half_width(estimate([[session(1e6 * math.exp(x))] * 4 for x in (-sd, 0, sd)]))
            for sd in (0, 0.005, 0.02, 0.1)
        ]
        assert widths == sorted(set(widths))
        assert widths[-1] > 0.05

    def test_several_are_wide_where_they_disagree(self) -> None:
        agreeing = [[session(1e6)] * 5] * 3
        assert estimate(agreeing).status == "ok"
        assert estimate([*agreeing[:2], [session(1.03e6)] * 5]).status == "wide"

    def test_process_sd_widens_the_interval_but_does_not_judge_a_single_process(self) -> None:
        calm = [session(1e6)] * 5
        goals = [Goal(spread=Spread(process_sd=sd)) for sd in (0, 0.05)]
        narrow, wide = (estimate([calm], goal) for goal in goals)
        assert log_half_width(wide) > 5 * log_half_width(narrow)
        assert (narrow.status, wide.status) == ("ok", "ok")
        assert reached(calm, goals[1])
        assert estimate([calm, calm], goals[1]).status == "wide"

    def test_a_process_without_an_accepted_pair_does_not_count(self) -> None:
        quiet, busy = [session(2e6)] * 4, [tuple(replace(p, candidate=block(9e6, 0.5)) for p in session(2e6))] * 4
        found = estimate([quiet, quiet, busy])
        assert found.ratio == pytest.approx(2)
        assert (found.num_pairs, found.num_rejected) == (32, 16)
        assert estimate([busy, busy, quiet]).status == "unstable"


class TestRefusals:
    @pytest.mark.parametrize(
        ("fastest_ns", "median_ns"),
        [(0, 1), (-1, 1), (2, 1), (1, math.inf), (math.nan, 1), (1, math.nan), (math.inf, math.inf)],
    )
    def test_impossible_times(self, fastest_ns: float, median_ns: float) -> None:
        with pytest.raises(ValueError, match="must be positive, in order"):
            Block(fastest_ns, median_ns, 5)

    @pytest.mark.parametrize("runs", [[], [[]], [[session(1e6)], []], [[()]]])
    def test_nothing_to_estimate_from(self, runs: list[list[Session]]) -> None:
        with pytest.raises(ValueError, match="at least one is needed"):
            estimate(runs)

    @pytest.mark.parametrize(("half_width", "min_sessions"), [(0, 3), (1, 3), (math.nan, 3), (0.01, 1)])
    def test_impossible_goals(self, half_width: float, min_sessions: int) -> None:
        with pytest.raises(ValueError, match="half-width"):
            Goal(half_width=half_width, min_sessions=min_sessions)

    @pytest.mark.parametrize("sd", [-0.001, math.nan, math.inf])
    def test_impossible_spreads(self, sd: float) -> None:
        with pytest.raises(ValueError, match="finite and not negative"):
            Spread(session_sd=sd)
        with pytest.raises(ValueError, match="finite and not negative"):
            Spread(process_sd=sd)

    @pytest.mark.parametrize("rows", [[], [[1e6, 1e6, 5]], [[1e6], [1e6]], [[2e6, 1e6, 5], [1e6, 1e6, 5]]])
    def test_rows_that_no_pair_has(self, rows: list[list[float]]) -> None:
        with pytest.raises((ValueError, TypeError)):
            Pair.from_list(rows)


class TestSimulations:
    """Fixed seeds: these never fail by chance."""

    @pytest.mark.parametrize("layout_sd", [0.004, 0.008, 0.012])
    def test_intervals_cover_the_truth(self, layout_sd: float) -> None:
        noise, truth, num_jobs, hits = np.random.default_rng(1), 1.3, 300, 0

        def fastest_ns(true_ns: float) -> float:  # of 5 inferences, a third of which share the core; never too fast
            bursts = noise.exponential(0.05, 5) * (noise.random(5) < 0.33) + noise.exponential(0.005, 5)
            return true_ns * (1 + float(bursts.min()))

        for _ in range(num_jobs):
            process = 0.003 * noise.standard_normal()
            sessions = []
            for _ in range(4):
                layout = math.exp(process + layout_sd * noise.standard_normal())
                sessions.append(tuple(pair(fastest_ns(truth * layout * 1e6), fastest_ns(1e6)) for _ in range(6)))
            low, high = estimate([sessions]).interval
            hits += low <= truth <= high
        assert hits / num_jobs >= 0.90

    def test_fastest_inference_is_less_biased_than_the_median_one(self) -> None:
        noise, num_jobs = np.random.default_rng(2), 100
        biases = {"fastest": 0.0, "median": 0.0}

        def taken(slowdown: float) -> Block:  # a neighbour hits half of the inferences
            times = 1e6 * (1 + slowdown * (noise.random(6) < 0.5) + 0.002 * noise.random(6))
            return Block(float(times.min()), float(np.median(times)), 6, 1.0)

        def by_median(b: Block) -> Block:
            return replace(b, fastest_ns=b.median_ns)

        for _ in range(num_jobs):
            sessions = [tuple(Pair(taken(0.20), taken(0.10)) for _ in range(6)) for _ in range(4)]
            medians = [tuple(Pair(by_median(p.candidate), by_median(p.reference)) for p in one) for one in sessions]
            biases["fastest"] += math.log(estimate([sessions]).ratio) / num_jobs
            biases["median"] += math.log(estimate([medians]).ratio) / num_jobs
        assert biases["median"] > 0.02  # the neighbour is felt
        assert abs(biases["fastest"]) <= biases["median"] / 2
