"""What every controller promises, run over all of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controllers.build import CONTROLLER_NAMES, build_controller
from controllers.controller import Controller, Outcome, Suggestion
from controllers.settled_policy import SettledPolicy
from search_spaces.choice import Choice

IMPLEMENTATIONS: dict[str, tuple[str, dict[str, object]]] = {
    "random": ("random", {}),
    "ppo": ("ppo", {"batch_size": 4, "learning_rate": 0.05}),
    "ppo-rnn": ("ppo", {"preset": "rnn", "hidden_size": 8, "learning_rate": 0.05}),
    "ppo-paper": ("ppo", {"preset": "paper", "hidden_size": 8}),
    "reinforce": ("reinforce", {"learning_rate": 0.3}),
    "evolution": ("evolution", {"population_size": 8, "tournament_size": 3, "num_initial": 6}),
    "nsga2": ("nsga2", {"population_size": 8, "num_initial": 6}),
    "optuna-tpe": ("optuna", {}),
    "optuna-nsga2": ("optuna", {"sampler": "NSGAIISampler", "population_size": 8}),
    "tune-optuna": ("tune", {"searcher": "ray.tune.search.optuna.OptunaSearch"}),
}
SPACE = (
    Choice("op", ("conv", "dconv", "mbconv")),
    Choice("kernel", (3, 5)),
    Choice("only", ("one",)),
    Choice("width", (0.75, 1.0, 1.25)),
)

SETTLED = "settled"
"""What a search asks after one-shot training; made of a policy, not of a name in a recipe."""

CASES = (*IMPLEMENTATIONS, SETTLED)
Build = Callable[..., Controller]


def made(case: str, choices: Sequence[Choice] = SPACE, seed: int = 7) -> Controller:
    """The controller of a case."""
    if case != SETTLED:
        name, options = IMPLEMENTATIONS[case]
        return build_controller(name, choices, seed, options)
    num_options = [len(choice.options) for choice in choices]
    real = np.arange(max(num_options, default=0)) < np.array(num_options)[:, None]
    return SettledPolicy(choices, np.where(real, 0.0, -np.inf), seed)


@pytest.fixture(params=CASES)
def build(request: pytest.FixtureRequest) -> Build:
    return lambda choices=SPACE, seed=7: made(request.param, choices, seed)


def outcome_of(suggestion: Suggestion) -> Outcome:
    """Deterministic; every seventh trial fails, the rewards of the others depend on the choices."""
    if suggestion.id % 7 == 3:
        return Outcome(reward=-1e9, failed=True)
    bonus = {"conv": 0.0, "dconv": 0.1, "mbconv": 0.2}[str(suggestion.choices["op"])]
    return Outcome(reward=bonus + 0.01 * float(suggestion.choices["width"]), objectives=(1.0, 2.0))


def run(controller: Controller, num_trials: int) -> list[dict[str, object]]:
    asked = []
    for _ in range(num_trials):
        suggestion = controller.ask()
        controller.tell(suggestion, outcome_of(suggestion))
        asked.append(dict(suggestion.choices))
    return asked


def test_every_name_is_covered() -> None:
    assert {name for name, _ in IMPLEMENTATIONS.values()} == set(CONTROLLER_NAMES)


def test_ids_count_from_0_and_choices_are_a_plain_dict(build: Build) -> None:
    controller = build()
    suggestions = [controller.ask() for _ in range(5)]
    assert [s.id for s in suggestions] == [0, 1, 2, 3, 4]
    assert all(type(s.choices) is dict and list(s.choices) == [c.name for c in SPACE] for s in suggestions)


def test_another_seed_gives_other_suggestions(build: Build) -> None:
    assert run(build(seed=1), 20) != run(build(seed=2), 20)  # equal by chance with odds below 1e-20


@pytest.fixture(scope="module")
def asked_in_another_process() -> dict[str, list[dict[str, object]]]:
    """60 suggestions of each implementation; one process for all, for torch and Ray take seconds to import."""
    program = (
        "import importlib.util, json, sys\n"
        f"spec = importlib.util.spec_from_file_location('suite', {__file__!r})\n"
        "suite = importlib.util.module_from_spec(spec); sys.modules['suite'] = suite; spec.loader.exec_module(suite)\n"
        "asked = {case: suite.run(suite.made(case), 60) for case in suite.CASES}\n"
        "print(json.dumps(asked))\n"
    )
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "PYTHONHASHSEED": "123",
        "OMP_NUM_THREADS": "1",
    }
    there = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    asked: dict[str, list[dict[str, object]]] = json.loads(there.stdout)
    return asked


@pytest.mark.parametrize("case", CASES)
def test_same_seed_gives_the_same_suggestions_in_another_process(
    case: str, asked_in_another_process: dict[str, list[dict[str, object]]]
) -> None:
    assert asked_in_another_process[case] == run(made(case), 60)


def test_replay_of_asks_and_tells_restores_the_controller(build: Build) -> None:
    original, journal, open_suggestions = build(), [], []
    rng = np.random.default_rng(0)
    for _ in range(90):  # up to some suggestions outstanding, told in any order
        if open_suggestions and rng.random() < 0.45:
            told = open_suggestions.pop(int(rng.integers(len(open_suggestions))))
            original.tell(told, outcome_of(told))
            journal.append(told.id)
        else:
            open_suggestions.append(original.ask())
            journal.append(None)
    restored = build()
    asked: dict[int, Suggestion] = {}
    for told_id in journal:
        if told_id is None:
            suggestion = restored.ask()
            asked[suggestion.id] = suggestion
        else:
            restored.tell(asked[told_id], outcome_of(asked[told_id]))
    assert run(restored, 20) == run(original, 20)


def test_order_of_tells_among_the_outstanding_does_not_matter(build: Build) -> None:
    def asked_with(order: Callable[[list[Suggestion]], Sequence[Suggestion]]) -> list[dict[str, object]]:
        controller, asked = build(), []
        for _ in range(6):
            outstanding = [controller.ask() for _ in range(10)]
            asked += [dict(s.choices) for s in outstanding]
            for suggestion in order(outstanding):
                controller.tell(suggestion, outcome_of(suggestion))
        return asked + run(controller, 20)

    rng = np.random.default_rng(0)
    assert asked_with(lambda s: [s[i] for i in rng.permutation(len(s))]) == asked_with(lambda s: s)


def test_only_failures_and_then_a_success(build: Build) -> None:
    controller = build()
    for i in range(45):
        controller.tell(controller.ask(), Outcome(reward=-1.0, failed=True) if i < 44 else Outcome(reward=0.5))
    assert len(run(controller, 45)) == 45


def test_two_draws_of_one_architecture_are_two_suggestions(build: Build) -> None:
    controller = build(choices=(Choice("only", ("one",)),))
    first, second = controller.ask(), controller.ask()
    assert first.choices == second.choices
    controller.tell(second, Outcome(reward=1.0))
    controller.tell(first, Outcome(reward=0.0))


def test_a_space_of_one_candidate_is_harmless(build: Build) -> None:
    controller = build(choices=(Choice("a", (1,)), Choice("b", (2,))))
    for i in range(50):
        suggestion = controller.ask()
        assert suggestion.choices == {"a": 1, "b": 2}
        controller.tell(suggestion, Outcome(reward=float(i % 3)))


OPTIONS = st.lists(
    st.integers(-3, 9) | st.text(max_size=3) | st.floats(allow_nan=False, width=16), min_size=1, max_size=4, unique=True
)
SPACES = st.dictionaries(st.text(min_size=1, max_size=5), OPTIONS, min_size=1, max_size=5).map(
    lambda space: tuple(Choice(name, tuple(options)) for name, options in space.items())
)


@pytest.mark.parametrize("case", CASES)
@settings(deadline=None, derandomize=True, database=None, max_examples=25)
@given(choices=SPACES, seed=st.integers(0, 2**32), rewards=st.lists(st.floats(-1e6, 1e6), min_size=24, max_size=24))
def test_suggestions_are_inside_the_space(
    case: str, choices: tuple[Choice, ...], seed: int, rewards: list[float]
) -> None:
    controller = made(case, choices, seed)
    for reward in rewards:
        suggestion = controller.ask()
        assert list(suggestion.choices) == [choice.name for choice in choices]
        for choice in choices:
            choice.index(suggestion.choices[choice.name])  # ValueError if outside
        controller.tell(suggestion, Outcome(reward=reward))


def test_told_twice(build: Build) -> None:
    controller = build()
    suggestion = controller.ask()
    controller.tell(suggestion, Outcome(reward=0.0))
    with pytest.raises(ValueError, match="told already"):
        controller.tell(suggestion, Outcome(reward=0.0))


@pytest.mark.parametrize("suggestion_id", [-1, 1, 99])
def test_never_asked(build: Build, suggestion_id: int) -> None:
    controller = build()
    choices = controller.ask().choices
    with pytest.raises(ValueError, match="never asked"):
        controller.tell(Suggestion(suggestion_id, choices), Outcome(reward=0.0))


def test_an_asked_id_with_other_choices_was_never_asked(build: Build) -> None:
    controller = build()
    suggestion = controller.ask()
    with pytest.raises(ValueError, match="never asked"):
        controller.tell(Suggestion(suggestion.id, {**suggestion.choices, "kernel": 7}), Outcome(reward=0.0))


@pytest.mark.parametrize("reward", [float("nan"), float("inf"), -float("inf")])
def test_reward_that_is_not_finite_changes_nothing(build: Build, reward: float) -> None:
    controller = build()
    suggestion = controller.ask()
    with pytest.raises(ValueError, match="finite"):
        controller.tell(suggestion, Outcome(reward=reward))
    controller.tell(suggestion, outcome_of(suggestion))
    assert run(controller, 60) == run(build(), 61)[1:]


@pytest.mark.parametrize(("choices", "message"), [((), "without choices"), ((SPACE[0], SPACE[0]), r"\['op'\]")])
def test_spaces_that_make_no_sense(build: Build, choices: tuple[Choice, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(choices=choices)
