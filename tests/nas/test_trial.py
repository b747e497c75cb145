import itertools
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latency.latency import Latency
from nas.jsonl import JsonLines
from nas.trial import FORMAT, VERSION, Trial, best_trial, pareto_front, read_trials
from search_spaces.arch_string import parse_arch
from tests.strategies import PROPERTY, archs

ARCH = parse_arch("r1_k3_s11_e1_i32_o16 head_o8")


def measured(latency_ms):
    return Latency(latency_ms, (latency_ms, latency_ms), 1.0, (0.9, 1.1), "ok", "measured", num_pairs=8)


def trial(number, accuracy, latency_ms, reward=0.0):
    return Trial(
        number=number,
        choices={"a": 1},
        arch=ARCH,
        status="ok",
        reward=reward,
        macs=5,
        params=6,
        accuracy=accuracy,
        latency=measured(latency_ms),
    )


def failed(number, reward=0.0):
    return Trial(
        number=number,
        choices={},
        arch=ARCH,
        status="failed",
        reward=reward,
        macs=5,
        params=6,
        reason="CUDA out of memory",
    )


LATENCIES = (
    st.none()
    | st.builds(Latency.failure, st.text(max_size=5))
    | st.builds(
        lambda ms, ratio, status, reason: Latency(
            ms, (ms / 2, ms * 2), ratio, (ratio / 2, ratio * 2), status, "measured", 4, 2, reason
        ),
        st.floats(1e-3, 1e6),
        st.floats(1e-3, 1e3),
        st.sampled_from(("ok", "wide", "unstable")),
        st.none() | st.text(max_size=5),
    )
)
TRIALS = st.builds(
    Trial,
    number=st.integers(0, 10**6),
    choices=st.dictionaries(
        st.text(max_size=4), st.text(max_size=4) | st.integers() | st.floats(-1e9, 1e9), max_size=4
    ),
    arch=archs(max_blocks=2),
    status=st.sampled_from(("ok", "failed", "rejected")),
    reward=st.floats(-1e9, 1e9),
    macs=st.integers(0, 10**12),
    params=st.integers(0, 10**9),
    accuracy=st.none() | st.floats(0, 1),
    latency=LATENCIES,
    reason=st.none() | st.text(),
    repeat_of=st.none() | st.integers(0, 10**6),
    device_latencies=st.dictionaries(st.text(min_size=1, max_size=4), LATENCIES.filter(bool), max_size=2),
    times=st.dictionaries(st.text(max_size=4), st.floats(0, 1e10), max_size=3),
)


@PROPERTY
@given(TRIALS)
def test_a_line_of_the_journal_round_trips(one):
    document = json.loads(json.dumps(one.to_dict(), allow_nan=False))
    assert Trial.from_dict(document) == one
    assert document["key"] == one.arch.key


def test_a_journal_is_read_by_number(tmp_path):
    path = tmp_path / "trials.jsonl"
    trials = [trial(2, 0.5, 3.0), failed(0), trial(1, 0.25, 1.0)]
    with JsonLines(path, FORMAT, VERSION) as lines:
        for one in trials:
            lines.append(one.to_dict())
    assert read_trials(path) == sorted(trials, key=lambda t: t.number)


def test_a_failed_latency_is_no_latency():
    assert trial(0, 0.5, 3.0).latency_ms == 3.0
    assert failed(0).latency_ms is None
    assert replace(failed(0), latency=Latency.failure("no such kernel")).latency_ms is None


# few values, so that ties abound
POINTS = st.lists(st.tuples(st.integers(0, 4), st.integers(1, 4)), max_size=12).map(
    lambda points: [trial(number, accuracy / 4, float(ms)) for number, (accuracy, ms) in enumerate(points)]
)


def beats(one, other):
    """At least as good in both, and better in one, or equal and earlier."""
    at_least = one.accuracy >= other.accuracy and one.latency_ms <= other.latency_ms
    equal = one.accuracy == other.accuracy and one.latency_ms == other.latency_ms
    return at_least and (not equal or one.number < other.number)


@PROPERTY
@given(POINTS)
def test_pareto_front_is_what_nothing_beats(trials):
    front = pareto_front(trials)
    assert {t.number for t in front} == {t.number for t in trials if not any(beats(other, t) for other in trials)}
    assert all(a.latency_ms < b.latency_ms and a.accuracy < b.accuracy for a, b in itertools.pairwise(front))


@PROPERTY
@given(POINTS, st.randoms(use_true_random=False))
def test_pareto_front_is_idempotent_and_free_of_order(trials, random):
    front = pareto_front(trials)
    assert pareto_front(front) == front
    assert pareto_front(random.sample(trials, len(trials))) == front


def test_pareto_front_keeps_the_earliest_of_equals():
    trials = [trial(3, 0.5, 2.0), trial(1, 0.5, 2.0), trial(2, 0.5, 2.0), trial(0, 0.5, 2.5)]
    assert [t.number for t in pareto_front(trials)] == [1]


def test_only_trials_that_worked_count():
    nowhere = replace(failed(1, reward=9.0), accuracy=0.9, latency=measured(0.1))
    unmeasured = replace(trial(2, 0.9, 1.0), latency=Latency.failure("no such kernel"))
    good = trial(3, 0.5, 2.0, reward=-1.0)
    assert pareto_front([nowhere, unmeasured, good]) == [good]
    assert best_trial([nowhere, good]) == good
    assert pareto_front([nowhere]) == pareto_front([]) == []
    assert best_trial([nowhere]) is best_trial([]) is None


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_the_best_is_the_earliest_of_equals(order):
    trials = [trial(0, 0.5, 2.0, reward=0.4), trial(1, 0.6, 2.0, reward=0.5), trial(2, 0.7, 3.0, reward=0.5)]
    assert best_trial([trials[i] for i in order]) == trials[1]
