import functools
import json
import random
import zlib
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controllers.build import build_controller
from controllers.controller import Outcome, Suggestion
from latency.latency import Latency
from nas.study import MAX_ASKS_PER_TRIAL, MAX_FAILURES_IN_A_ROW, Constraints, ReplayError, Study
from nas.trial import Trial
from search_spaces.arch_string import parse_arch
from search_spaces.choice import Choice
from search_spaces.count import Counts, count
from search_spaces.lower import lower
from search_spaces.space import SearchSpace
from tests.strategies import PROPERTY

FAILURE_REWARD = -1.0


@functools.cache
def arch_of(kernel, width):
    return parse_arch(f"stem_k3_s22_o8 r1_k{kernel}_s11_e1_i8_o{width} head_o8")


# Six networks in twelve points, since the colour makes no difference: repeats abound
TINY = SearchSpace(
    "tiny",
    (Choice("kernel", (3, 5)), Choice("width", (8, 16, 24)), Choice("colour", ("red", "blue"))),
    lambda choices: arch_of(choices["kernel"], choices["width"]),
    lambda arch: {},
)
SHAPING = frozenset({"kernel", "width"})
# Enough for scripts without repeats
WIDE = SearchSpace(
    "wide", (Choice("width", tuple(range(8, 1000, 8))),), lambda c: arch_of(3, c["width"]), lambda arch: {}
)


@functools.cache
def counts(arch):
    return count(lower(arch, 32, 10))


CONTROLLERS = {
    "random": functools.partial(build_controller, "random", TINY.choices, options={}),
    "ppo": functools.partial(
        build_controller, "ppo", TINY.choices, options={"hidden_size": 4, "batch_size": 3, "learning_rate": 0.01}
    ),
}


class Script:
    """A controller that suggests given widths of `WIDE`, the last one for ever."""

    def __init__(self, widths):
        self._widths = list(widths)
        self._num_asked = 0

    def ask(self):
        width = self._widths[min(self._num_asked, len(self._widths) - 1)]
        self._num_asked += 1
        return Suggestion(self._num_asked - 1, {"width": width})

    def tell(self, suggestion, outcome):
        pass


@dataclass
class Spy:
    """Passes on, and checks what every controller may rely on."""

    controller: object
    concurrency: int
    told: list[Outcome] = field(default_factory=list)
    asked: list[Suggestion] = field(default_factory=list)

    def ask(self):
        # the outcomes up to number - concurrency have been told, and no others
        assert len(self.told) == max(0, len(self.asked) - self.concurrency + 1)
        self.asked.append(self.controller.ask())
        return self.asked[-1]

    def tell(self, suggestion, outcome):
        assert suggestion == self.asked[len(self.told)]  # in the order of the asks
        self.told.append(outcome)
        self.controller.tell(suggestion, outcome)


class Memory(list):
    """A journal that is as forgetful of types as a file."""

    def append(self, trial):
        super().append(json.dumps(trial.to_dict()))

    def trials(self):
        return [Trial.from_dict(json.loads(line)) for line in self]

    def by_number(self):
        return sorted(self, key=lambda line: json.loads(line)["number"])


def outcome_of(arch, blank):
    """A function of the network: one in three fails."""
    value = zlib.crc32(str(arch).encode())
    if value % 3 == 0:
        return replace(blank, reason=f"boom {value}")
    accuracy, ms = value % 101 / 100, 1.0 + value % 7
    latency = Latency(ms, (ms, ms), ms, (ms, ms), "ok", "measured", num_pairs=2)
    return replace(blank, status="ok", accuracy=accuracy, latency=latency, reward=accuracy / ms)


def make_study(controller, journal, *, space=TINY, num_trials=5, concurrency=1, finished=(), constraints=None):
    return Study(
        space=space,
        controller=controller,
        counts=counts,
        constraints=constraints or Constraints(),
        failure_reward=FAILURE_REWARD,
        num_trials=num_trials,
        concurrency=concurrency,
        journal=journal,
        finished=list(finished),
    )


def drive(study, concurrency, rng, outcome=outcome_of):
    """Ask and complete in an order that `rng` draws, until the study is over; numbers and networks handed out."""
    in_flight, handed_out = [], []
    while True:
        may_ask = len(in_flight) < concurrency and not study.done
        if may_ask and (not in_flight or rng.random() < 0.6):
            assignment = study.next()
            if assignment is not None:
                # what quotes may build on, whatever order the outcomes came in
                assert [t.number for t in study.told] == list(range(max(0, assignment.number - concurrency + 1)))
                in_flight.append(assignment)
                handed_out.append((assignment.number, assignment.arch))
                continue
        if not in_flight:
            break
        assignment = in_flight.pop(rng.randrange(len(in_flight)))
        assert (
            study.complete(assignment.number, functools.partial(outcome, assignment.arch)).number == assignment.number
        )
    assert study.done
    assert study.complete_so_far
    assert study.next() is None
    study.settle()
    return handed_out


def search(name, seed, order, journal=None, **arguments):
    """A whole study; the study, its spy, its journal and what it handed out."""
    journal = Memory() if journal is None else journal
    concurrency = arguments.get("concurrency", 1)
    spy = Spy(CONTROLLERS[name](seed=seed), concurrency)
    study = make_study(spy, journal, **arguments)
    return study, spy, journal, drive(study, concurrency, random.Random(order))


def test_objectives_are_told_as_the_study_is_given_them():
    spy = Spy(CONTROLLERS["random"](seed=0), 1)
    arguments = {"counts": counts, "constraints": Constraints(), "failure_reward": FAILURE_REWARD, "num_trials": 5}
    study = Study(
        space=TINY,
        controller=spy,
        concurrency=1,
        journal=Memory(),
        finished=[],
        objectives=lambda trial: (trial.accuracy, 1.0, 2.0),
        **arguments,
    )
    drive(study, 1, random.Random(0))
    succeeded = [(trial, told) for trial, told in zip(study.trials, spy.told, strict=True) if trial.status == "ok"]
    assert succeeded
    for trial, told in succeeded:
        assert told.objectives == (trial.accuracy, 1.0, 2.0)
    assert all(told.objectives == () for told in spy.told if told.failed)


SEEDS = st.integers(0, 1000)
EXAMPLES = {"random": settings(PROPERTY, max_examples=60), "ppo": settings(PROPERTY, max_examples=6)}
CASES = pytest.mark.parametrize("name", CONTROLLERS)


def check_order_makes_no_difference(name, seed, orders, concurrency, num_trials):
    found = [search(name, seed, order, concurrency=concurrency, num_trials=num_trials) for order in orders]
    for study, spy, journal, handed_out in found:
        assert journal.by_number() == found[0][2].by_number()
        assert sorted(number for number, _ in handed_out) == sorted(n for n, _ in found[0][3])
        assert study.stop_reason == found[0][0].stop_reason
        assert spy.told == found[0][1].told


def check_resuming_makes_no_difference(name, seed, orders, concurrency, num_trials, cuts):
    whole = search(name, seed, orders[0], concurrency=concurrency, num_trials=num_trials)[2]
    journal = whole
    for cut in cuts:  # killed after so many lines, several times
        journal = Memory(list.__getitem__(journal, slice(int(cut * (len(journal) + 1)))))
        finished = journal.trials()
        _, _, journal, handed_out = search(
            name, seed, orders[1], journal, concurrency=concurrency, num_trials=num_trials, finished=finished
        )
        assert journal.by_number() == whole.by_number()
        assert not {number for number, _ in handed_out} & {trial.number for trial in finished}


@CASES
def test_order_of_outcomes_makes_no_difference(name):
    @EXAMPLES[name]
    @given(SEEDS, st.tuples(SEEDS, SEEDS), st.integers(1, 4), st.integers(1, 6))
    def check(seed, orders, concurrency, num_trials):
        check_order_makes_no_difference(name, seed, orders, concurrency, num_trials)

    check()


@CASES
def test_killed_anywhere_it_ends_as_if_nothing_had_happened(name):
    @EXAMPLES[name]
    @given(
        SEEDS,
        st.tuples(SEEDS, SEEDS),
        st.integers(1, 4),
        st.integers(1, 6),
        st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=2),
    )
    def check(seed, orders, concurrency, num_trials, cuts):
        check_resuming_makes_no_difference(name, seed, orders, concurrency, num_trials, cuts)

    check()


@CASES
def test_concurrency_and_seed_are_part_of_the_result(name):
    journals = [
        search(name, seed, 0, concurrency=concurrency)[2].by_number() for seed, concurrency in ((0, 1), (0, 1), (1, 1))
    ]
    assert journals[0] == journals[1] != journals[2]


@EXAMPLES["random"]
@given(SEEDS, SEEDS, st.integers(1, 4), st.integers(1, 6))
def test_no_network_twice_and_repeats_take_over_the_outcome(seed, order, concurrency, num_trials):
    study, spy, journal, handed_out = search("random", seed, order, concurrency=concurrency, num_trials=num_trials)
    keys = [arch.key for _, arch in handed_out]
    assert len(set(keys)) == len(keys) == num_trials == study.num_distinct
    trials = study.trials
    assert [t.number for t in trials] == list(range(len(spy.asked)))
    assert sorted(journal.trials(), key=lambda t: t.number) == trials
    first = {}
    for trial, suggestion, outcome in zip(trials, spy.asked, spy.told, strict=True):
        assert trial.choices == suggestion.choices
        assert TINY.decode(trial.choices) == trial.arch
        original = first.setdefault(trial.arch.key, trial)
        assert trial.repeat_of == (None if original is trial else original.number)
        for name in ("status", "reward", "accuracy", "latency", "reason", "macs", "params"):
            assert getattr(trial, name) == getattr(original, name)
        if trial.status == "ok":
            assert outcome == Outcome(trial.reward, (1 - trial.accuracy, trial.latency_ms), False, SHAPING)
        else:
            assert outcome == Outcome(FAILURE_REWARD, (), failed=True, active=SHAPING)


def test_a_repeat_of_what_is_in_flight_waits_for_it():
    journal = Memory()
    study = make_study(Script([8, 8, 16]), journal, space=WIDE, num_trials=2, concurrency=3)
    first, third = study.next(), study.next()
    assert (first.number, third.number) == (0, 2)
    assert journal == []
    assert study.done
    assert not study.complete_so_far
    with pytest.raises(ValueError, match="trial 1 is finished already or was never handed out"):
        study.complete(1, lambda blank: blank)
    study.complete(2, functools.partial(outcome_of, third.arch))
    study.complete(0, functools.partial(outcome_of, first.arch))
    assert [t.number for t in journal.trials()] == [2, 0, 1]
    assert journal.trials()[2].repeat_of == 0
    assert study.complete_so_far


def test_times_are_of_the_trial_that_took_them():
    journal = Memory()
    study = make_study(Script([8, 8, 16]), journal, space=WIDE, num_trials=2)
    study.complete(study.next().number, lambda blank: replace(outcome_of(blank.arch, blank), times={"train_s": 3.0}))
    study.next()
    assert [dict(t.times) for t in study.trials] == [{"train_s": 3.0}, {}]


@pytest.mark.parametrize("number", [0, 1, 7, -1])
def test_an_outcome_is_taken_once(number):
    study = make_study(Script([8, 16]), Memory(), space=WIDE, num_trials=2)
    study.complete(study.next().number, lambda blank: blank)
    with pytest.raises(ValueError, match=f"trial {number} is finished already or was never handed out"):
        study.complete(number, lambda blank: blank)
    assert len(study.trials) == 1


def test_an_outcome_that_cannot_be_had_leaves_the_trial_in_flight():
    study = make_study(Script([8, 16]), Memory(), space=WIDE, num_trials=2)
    study.next()
    with pytest.raises(ZeroDivisionError):
        study.complete(0, lambda blank: 1 / 0)
    assert study.next() is None
    assert study.complete(0, lambda blank: blank).status == "failed"


def test_a_blank_trial_has_the_costs_and_the_failure_reward():
    study = make_study(Script([8]), Memory(), space=WIDE, num_trials=1)
    arch = study.next().arch
    blank = study.complete(0, lambda blank: blank)
    assert blank == Trial(
        number=0,
        choices={"width": 8},
        arch=arch,
        status="failed",
        reward=FAILURE_REWARD,
        macs=counts(arch).macs,
        params=counts(arch).params,
    )


def test_next_waits_for_outcomes():
    study = make_study(Script(range(8, 800, 8)), Memory(), space=WIDE, num_trials=5, concurrency=2)
    assert [study.next().number, study.next().number, study.next()] == [0, 1, None]
    study.complete(1, lambda blank: blank)
    assert study.next() is None  # trial 2 is asked when trial 0 has been told, not before
    assert not study.done
    study.complete(0, lambda blank: blank)
    assert study.next().number == 2


@EXAMPLES["random"]
@given(SEEDS, SEEDS, st.integers(1, 4), st.sampled_from((8, 16, 24)))
def test_what_breaks_a_constraint_is_never_handed_out(seed, order, concurrency, widest):
    bound = counts(arch_of(3, widest)).params
    study, spy, journal, handed_out = search(
        "random", seed, order, concurrency=concurrency, num_trials=1, constraints=Constraints(params=bound)
    )
    assert all(counts(arch).params <= bound for _, arch in handed_out)
    for trial, outcome in zip(study.trials, spy.told, strict=True):
        assert (trial.status == "rejected") == (trial.params > bound)
        if trial.status == "rejected":
            assert trial.reason == f"params {trial.params} exceeds the constraint of {bound}"
            assert (trial.reward, trial.accuracy, trial.latency, trial.repeat_of) == (FAILURE_REWARD, None, None, None)
            assert outcome == Outcome(FAILURE_REWARD, (), failed=True, active=SHAPING)
    # and again from the journal: rejected ones are not written twice
    resumed = search(
        "random",
        seed,
        order,
        Memory(journal),
        concurrency=concurrency,
        num_trials=1,
        constraints=Constraints(params=bound),
        finished=journal.trials(),
    )
    assert resumed[2] == journal
    assert resumed[3] == []


@pytest.mark.parametrize("name", ["params", "macs", "model_bytes", "peak_memory_bytes"])
def test_each_constraint_is_an_upper_bound_that_may_be_met(name):
    costs = Counts(macs=10, params=10, activations=99, model_bytes=10, peak_memory_bytes=10)
    assert Constraints().violation(costs) is None
    assert Constraints(**{name: 10}).violation(costs) is None
    assert Constraints(**{name: 9}).violation(costs) == f"{name} 10 exceeds the constraint of 9"


def run_script(failing, num_trials=30, concurrency=1, constraints=None, finished=(), journal=None):
    """A study without repeats whose trials of the given numbers fail."""
    journal = Memory() if journal is None else journal
    study = make_study(
        Script(WIDE.choices[0].options),
        journal,
        space=WIDE,
        num_trials=num_trials,
        concurrency=concurrency,
        constraints=constraints,
        finished=finished,
    )

    def outcome(arch, blank):
        if blank.number in failing:
            return replace(blank, reason=f"boom {blank.number}")
        return replace(
            blank, status="ok", accuracy=0.5, latency=Latency(1, (1, 1), 1, (1, 1), "ok", "measured"), reward=0.5
        )

    handed_out = drive(study, concurrency, random.Random(0), outcome)
    return study, journal, [number for number, _ in handed_out]


@pytest.mark.parametrize("concurrency", [1, 2, 4])
@pytest.mark.parametrize("start", [0, 5])
def test_ten_failures_in_a_row_stop_the_search(concurrency, start):
    assert MAX_FAILURES_IN_A_ROW == 10
    last = start + 9
    study, journal, handed_out = run_script(range(start, last + 1), concurrency=concurrency)
    assert study.stop_reason == f"10 trials in a row failed, the last one with: boom {last}"
    # those that were asked before the tenth failure was told
    assert sorted(handed_out) == list(range(last + concurrency))
    # and it stays stopped
    resumed = run_script(range(start, last + 1), concurrency=concurrency, finished=journal.trials(), journal=journal)
    assert resumed[2] == []
    assert resumed[0].stop_reason == study.stop_reason


def test_nine_failures_do_not():
    study, _, handed_out = run_script([*range(9), *range(10, 19), *range(20, 29)])
    assert study.stop_reason is None
    assert handed_out == list(range(30))


def test_the_last_ten_trials_may_all_fail():
    study, _, handed_out = run_script(range(10), num_trials=10)
    assert len(handed_out) == 10
    assert study.stop_reason == "10 trials in a row failed, the last one with: boom 9"  # known once it is settled


def test_a_controller_that_repeats_itself_ends_the_search():
    study = make_study(Script([8, 16]), Memory(), space=WIDE, num_trials=3, concurrency=2)
    assert (
        len(drive(study, 2, random.Random(0), lambda arch, blank: replace(outcome_of(arch, blank), status="ok"))) == 2
    )
    num_asked = 3 * MAX_ASKS_PER_TRIAL
    assert study.stop_reason == f"{num_asked} suggestions gave 2 networks: the controller repeats itself"
    assert len(study.trials) == num_asked
    assert study.num_distinct == 2


def test_constraints_that_nothing_meets_end_the_search():
    study = make_study(Script([8]), Memory(), space=WIDE, num_trials=2, constraints=Constraints(macs=1))
    assert study.next() is None
    assert study.done
    assert study.stop_reason == (
        "100 suggestions gave 0 networks: the controller repeats itself, or the constraints are too tight (100 rejected)"
    )
    assert study.num_distinct == 0


@CASES
def test_a_journal_of_another_seed(name):
    journal = search(name, 0, 0, num_trials=6)[2]
    study = make_study(CONTROLLERS[name](seed=1), Memory(), num_trials=6, finished=journal.trials())
    with pytest.raises(ReplayError, match="of the journal is not what this seed and controller suggest"):
        drive(study, 1, random.Random(0))


def test_nothing_is_asked_before_the_first_next():
    spy = Spy(CONTROLLERS["random"](seed=0), 1)
    study = make_study(spy, Memory())
    assert not study.done
    assert study.complete_so_far
    study.settle()
    assert (spy.asked, spy.told, study.trials) == ([], [], [])
