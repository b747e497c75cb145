"""Choosing the seed, landing the uniform multiplier, keeping edits: by formulas in place of devices and trainings."""

import math
from dataclasses import replace

import numpy as np
import pytest

from latency.latency import Latency
from nas.errors import UserError
from nas.netadapt.uniform import multiplied
from nas.objective import Objective
from nas.reproduction.edit_trial import EditTrial
from nas.reproduction.redesign import EDITS, edited
from nas.reproduction.redesigning import redesigned
from nas.reproduction.reproduce_config import EditSection, RedesignSection, ReproduceConfig
from nas.reproduction.seed import seeds_of
from nas.reproduction.shortlist import judged, shortlist_of
from nas.reproduction.shortlisted import best_of
from nas.reproduction.widening import widened
from nas.trial import Trial
from search_spaces.count import count
from search_spaces.edits import scaled
from search_spaces.lower import lower
from search_spaces.zoo import get

SEED = get("mnasnet_a1")


def ms(arch):
    return count(lower(arch, 64, 10)).macs / 1e6


def latency(arch):
    return exactly(ms(arch))


def exactly(latency_ms):
    ends = (latency_ms, latency_ms)
    return Latency(
        latency_ms=latency_ms,
        interval_ms=ends,
        ratio=latency_ms / 10,
        ratio_interval=(latency_ms / 10, latency_ms / 10),
        status="ok",
        source="measured",
        num_pairs=8,
        num_rejected=0,
    )


def trial(number, multiplier, reward, **fields):
    arch = multiplied(SEED, multiplier)
    known = {"macs": 1, "params": 1, "accuracy": 0.5, "latency": latency(arch), "status": "ok"}
    return Trial(number=number, choices={}, arch=arch, reward=reward, **(known | fields))


def seed_of(*arguments, **options):
    return next(seeds_of(*arguments, **options))


def test_the_seed_is_the_best_trial_that_is_slow_enough():
    target = ms(multiplied(SEED, 0.8)) * 1.001
    trials = [
        trial(0, 0.5, 0.9),  # too fast
        trial(1, 1.0, 0.7),
        trial(2, 0.9, 0.8),
        trial(3, 0.95, 0.8),  # as good, but later
        trial(4, 1.0, 0.95, status="failed", accuracy=None),
    ]
    assert seed_of(trials, latency, 10, target, math.inf, lambda arch: [arch]).trial.number == 2
    with pytest.raises(UserError, match="as slow as the target"):
        seed_of(trials[:1], latency, 10, target, math.inf, lambda arch: [arch])


def test_a_seed_that_is_too_slow_comes_after_all_others():
    trials = [trial(0, 1.0, 0.9), trial(1, 0.9, 0.5), trial(2, 0.95, 0.8)]
    most = ms(multiplied(SEED, 0.92))
    assert seed_of(trials, latency, 10, 1e-3, most, lambda arch: [arch]).trial.number == 1
    assert seed_of([trials[0], trials[2]], latency, 10, 1e-3, most, lambda arch: [arch]).trial.number == 0


def test_a_search_with_another_time_of_the_reference_is_on_the_same_scale():
    """The search has measured on a machine in a slower mood: milliseconds differ, ratios to the reference do not."""
    target, slower = ms(multiplied(SEED, 0.8)) * 1.001, []
    for found in (trial(0, 0.5, 0.9), trial(1, 1.0, 0.7), trial(2, 0.9, 0.8)):
        before = found.latency
        ends = tuple(3 * end for end in before.interval_ms)
        slower.append(replace(found, latency=replace(before, latency_ms=3 * before.latency_ms, interval_ms=ends)))
    assert seed_of(slower, latency, 10, target, 1.01 * ms(SEED), lambda arch: [arch]).trial.number == 2


def test_a_seed_that_the_edits_alone_make_too_fast_is_passed_over():
    target = 0.99 * ms(multiplied(SEED, 0.9))
    trials = [trial(0, 0.9, 0.9), trial(1, 1.0, 0.5)]
    halved = [multiplied(SEED, 0.5), multiplied(SEED, 1.0)]
    found = seed_of(trials, latency, 10, target, math.inf, lambda arch: [arch, halved[arch == trials[1].arch]])
    assert found.trial.number == 1


def test_a_seed_that_is_too_fast_is_widened():
    target = ms(SEED)
    trials = [trial(0, 0.8, 0.9), trial(1, 1.0, 0.7)]
    assert seed_of(trials, latency, 10, target, math.inf, lambda arch: [arch]).trial.number == 1
    found = seed_of(trials, latency, 10, target, math.inf, lambda arch: [arch], widest=1.5)
    assert (found.trial.number, found.arch) == (0, scaled(trials[0].arch, found.multiplier))
    assert ms(scaled(trials[0].arch, found.multiplier - 0.05)) < target <= ms(found.arch)
    little = seed_of(trials, latency, 10, target, math.inf, lambda arch: [arch], widest=found.multiplier - 0.04)
    assert (little.trial.number, little.arch, little.multiplier) == (1, trials[1].arch, 1.0)


def test_the_shortlist_goes_down_by_reward_and_ends_where_trials_are_too_slow():
    trials = [trial(0, 1.0, 0.9), trial(1, 0.9, 0.5), trial(2, 0.95, 0.8), trial(3, 0.5, 0.99), trial(4, 0.85, 0.8)]
    target, most = ms(multiplied(SEED, 0.8)), ms(multiplied(SEED, 0.96))
    numbers = [seed.trial.number for seed in seeds_of(trials, latency, 10, target, most, lambda arch: [arch])]
    assert numbers == [2, 4, 1]
    slow = [seed.trial.number for seed in seeds_of(trials, latency, 10, target, 1.01 * target, lambda arch: [arch])]
    assert slow == [0, 2, 4, 1]


def config(**sections):
    search = {"objective": {"target": f"{ms(SEED):.9f}ms"}, "data": {"source": "PHOTOS"}}
    known = {"target": f"{0.6 * ms(SEED):.9f}ms", "search": search, "comparison": {"networks": ["mobilenet_v2"]}}
    return ReproduceConfig(**(known | sections))


def test_those_on_the_shortlist_are_compared_at_the_target():
    """One that is slow by itself is not ahead for that."""
    trials = [trial(0, 1.0, 0.9), trial(1, 0.9, 0.8), trial(2, 0.95, 0.7), trial(3, 0.5, 0.99), trial(4, 0.8, 0.6)]
    told = []
    found = shortlist_of(trials, config(shortlist=3), latency, 10, lambda arch: [arch], told.append)
    assert told == found
    assert [candidate.seed.trial.number for candidate in found] == [0, 1, 2]
    for candidate in found:
        fitted = candidate.fitted
        assert fitted.arch == multiplied(candidate.seed.arch, fitted.multiplier)
        assert fitted.cost == ms(fitted.arch) <= 0.6 * ms(SEED)
        assert fitted.cost > 0.5 * ms(SEED)
    entries = judged(found, {0: 60, 1: 62, 2: 62}, 100)
    assert [entry.accuracy for entry in entries] == [0.6, 0.62, 0.62]
    assert [entry.fitted_ms for entry in entries] == [candidate.fitted.cost for candidate in found]
    assert best_of(entries).trial == 1  # of equals the first
    assert best_of(judged(found, {0: 63, 1: 62, 2: 62}, 100)).trial == 0


def test_without_a_shortlist_nothing_is_fitted():
    (only,) = shortlist_of([trial(0, 1.0, 0.9), trial(1, 0.9, 0.8)], config(), latency, 10, lambda arch: [arch])
    assert (only.seed.trial.number, only.fitted) == (0, None)
    with pytest.raises(UserError, match="no uniform width multiplier brings a trial"):
        shortlist_of([trial(0, 1.0, 0.9)], config(target="0.001ms", shortlist=2), latency, 10, lambda arch: [arch])
    with pytest.raises(UserError, match="as slow as the target"):
        shortlist_of([trial(0, 0.3, 0.9)], config(shortlist=2), latency, 10, lambda arch: [arch])


@pytest.mark.parametrize("target_ms", [1.01, 1.3, 2.2])
@pytest.mark.parametrize("said", [0.7, 1.0, 1.9])
def test_widening_measures_few_networks_and_stops_at_the_first_that_is_slow_enough(target_ms, said):
    """Wherever the walk begins: `said` times what the network really takes."""
    own, asked = ms(SEED), []

    def latency_ms(arch):
        asked.append(arch)
        return ms(arch)

    multiplier, arch = widened(SEED, latency_ms, said * own, target_ms * own, 2.0)
    grid = [number / 20 for number in range(21, 41)]
    assert multiplier == next(wider for wider in grid if ms(scaled(SEED, wider)) >= target_ms * own)
    assert arch == scaled(SEED, multiplier)
    assert len(asked) <= 12
    asked.clear()
    assert widened(SEED, latency_ms, own, 100 * own, 2.0) is None
    assert not asked
    assert widened(SEED, latency_ms, own, 1.01 * own, 1.04) is None


def outcomes(accuracy):
    return np.arange(100) < round(100 * accuracy)


def outcomes_of(accuracies):
    """Accuracy by network; of others a half."""
    return lambda arch: outcomes(accuracies.get(arch.key, 0.5)).astype(float)


OBJECTIVE = Objective(target_ms=ms(SEED), form="power", alpha=-0.07, beta=-0.07)


def test_an_edit_is_kept_where_the_objective_rises_or_always():
    last_stage = edited(SEED, "last_stage").arch
    better = outcomes_of({SEED.key: 0.60, last_stage.key: 0.50})  # it saves time, but not that much
    section = RedesignSection(edits=[EditSection(edit="last_stage")])
    tried = []
    assert redesigned(SEED, section, OBJECTIVE, latency, better, finished=tried.append) == SEED
    assert [(t.edit, t.kept) for t in tried] == [("last_stage", False)]
    assert tried[0].change == pytest.approx(-0.1)
    assert tried[0].latency_ratio == pytest.approx(ms(last_stage) / ms(SEED))
    expected = OBJECTIVE.reward(0.5, ms(last_stage)) - OBJECTIVE.reward(0.6, ms(SEED))
    assert tried[0].reward_change == pytest.approx(expected)

    always = RedesignSection(edits=[EditSection(edit="last_stage", keep="always")])
    assert redesigned(SEED, always, OBJECTIVE, latency, better) == last_stage
    equal = outcomes_of({SEED.key: 0.60, last_stage.key: 0.60})  # costs nothing, saves time
    assert redesigned(SEED, section, OBJECTIVE, latency, equal) == last_stage


def test_each_edit_builds_on_those_that_were_kept_and_a_resumed_redesign_goes_on():
    section, tried = RedesignSection(), []
    arch = redesigned(SEED, section, OBJECTIVE, latency, outcomes_of({}), finished=tried.append)
    assert [t.edit for t in tried] == list(EDITS)
    assert arch == redesigned(SEED, section, OBJECTIVE, latency, _never, done=tried)
    again = []
    assert arch == redesigned(SEED, section, OBJECTIVE, latency, outcomes_of({}), done=tried[:2], finished=again.append)
    assert again == tried[2:]
    assert [EditTrial(**t.to_dict()) for t in tried] == tried


def _never(arch):
    raise AssertionError("trained again")


def test_an_edit_that_does_not_fit_is_left_out():
    tried = []
    section = RedesignSection(edits=[EditSection(edit="last_stage")])
    large = get("mobilenet_v3_large")
    assert redesigned(large, section, OBJECTIVE, latency, _never, finished=tried.append) == large
    assert not tried[0].kept
    assert tried[0].arch is None
    assert "does not fit" in tried[0].reason
    assert replace(tried[0]) == EditTrial(**tried[0].to_dict())
