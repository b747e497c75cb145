from dataclasses import replace
from functools import reduce

from latency.latency import Latency
from nas.standing import READINGS, Standing
from nas.trial import Trial, best_trial, pareto_front, read_trials
from search_spaces.arch_string import parse_arch
from tests.nas.report_runs import make_run

ARCH = parse_arch("r1_k3_s11_e1_i32_o16 head_o8")


def trial(number, accuracy=0.75, ms=3.0, **changes):
    latency = Latency(ms, (ms, ms), 1.0, (1.0, 1.0), "ok", "measured", num_pairs=2)
    fields = {"status": "ok", "reward": accuracy, "accuracy": accuracy, "latency": latency, **changes}
    return Trial(number=number, choices={}, arch=ARCH, macs=1, params=1, **fields)


def failed(number, status="failed"):
    return replace(trial(number), status=status, reward=0.0, accuracy=None, latency=None, reason="out of memory")


def after(*trials):
    return reduce(Standing.after, trials, Standing())


def test_before_the_first_trial_nothing_is_known_but_counts():
    assert Standing().readings == {"front_networks": 0, "trials_done": 0, "trials_failed": 0}


def test_every_reading_is_described():
    assert after(trial(0)).readings.keys() == READINGS.keys()


def test_the_latest_and_the_best():
    standing = after(trial(0, 0.8, 4.0), trial(1, 0.7, 2.0), failed(2), failed(3, "rejected"), trial(4, repeat_of=1))
    assert standing.readings == {
        "reward": 0.75,
        "accuracy": 0.75,
        "latency_ms": 3.0,
        "best_reward": 0.8,
        "best_accuracy": 0.8,
        "best_latency_ms": 4.0,
        "front_networks": 3,
        "trials_done": 3,
        "trials_failed": 1,
    }


def test_a_failed_trial_has_a_reward_but_neither_accuracy_nor_latency():
    readings = after(trial(0), failed(1)).readings
    assert READINGS.keys() - readings.keys() == {"accuracy", "latency_ms"}
    assert (readings["reward"], readings["best_reward"]) == (0.0, 0.75)


def test_folding_is_the_same_as_looking_at_all(tmp_path):
    make_run(tmp_path / "run")
    trials = read_trials(tmp_path / "run" / "trials.jsonl")
    for order in (trials, trials[::-1]):
        standing = after(*order)
        assert standing.best == best_trial(trials)
        assert list(standing.front) == pareto_front(trials)
        assert standing.num_failed == sum(t.status == "failed" for t in trials) == 2
