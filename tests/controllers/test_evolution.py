from __future__ import annotations

from controllers.controller import Outcome
from controllers.evolution import PRESETS, EvolutionConfig, EvolutionController
from search_spaces.choice import Choice

CHOICES = [Choice(f"d{t}", (0, 1, 2, 3)) for t in range(8)]


def distance(one: object, other: object) -> int:
    return sum(a != b for a, b in zip(one, other, strict=True))  # type: ignore[call-overload]


def controller(population: int, tournament: int, initial: int | None = None) -> EvolutionController:
    config = EvolutionConfig(population_size=population, tournament_size=tournament, num_initial=initial or population)
    return EvolutionController(CHOICES, 0, config)


def test_paper_preset_has_the_constants_of_the_paper() -> None:
    assert PRESETS["paper"] == EvolutionConfig(population_size=100, num_initial=100, tournament_size=25)


def test_children_differ_in_one_decision_from_the_best_of_the_youngest() -> None:
    # A tournament of 200 out of 4 misses the best with odds of (3/4)^200.
    evolution = controller(population=4, tournament=200)
    asked: list[tuple[tuple[object, ...], float]] = []
    for i in range(60):
        suggestion = evolution.ask()
        candidate = tuple(suggestion.choices.values())
        if i >= 4:
            parent, _ = max(asked[-4:], key=lambda member: member[1])
            assert distance(candidate, parent) == 1
        reward = float((i * 7) % 11)  # goes up and down, so that the best die of age, not of merit
        asked.append((candidate, reward))
        evolution.tell(suggestion, Outcome(reward))


def test_age_counts_from_the_ask_whichever_ends_first() -> None:
    evolution = controller(population=2, tournament=200)
    asked = [evolution.ask() for _ in range(3)]  # the third before anything is told
    for i, reward in ((2, 0.0), (1, 5.0), (0, 9.0)):
        evolution.tell(asked[i], Outcome(reward))
    child = evolution.ask()
    assert distance(child.choices.values(), asked[1].choices.values()) == 1  # 0 died of age, though it came in last


def test_failures_are_not_born_and_do_not_age_the_others() -> None:
    evolution = controller(population=2, tournament=200)
    good = evolution.ask()
    evolution.tell(good, Outcome(0.0))
    for _ in range(10):
        suggestion = evolution.ask()
        evolution.tell(suggestion, Outcome(1e9, failed=True))
    assert distance(evolution.ask().choices.values(), good.choices.values()) == 1


def test_nothing_is_suggested_twice_until_everything_was() -> None:
    choices = [Choice("a", (0, 1, 2)), Choice("b", (0, 1)), Choice("c", (0, 1, 2, 3))]
    evolution = EvolutionController(choices, 0, EvolutionConfig(population_size=4, tournament_size=2, num_initial=4))
    seen = []
    for _ in range(30):
        suggestion = evolution.ask()
        seen.append(tuple(suggestion.choices.values()))
        evolution.tell(suggestion, Outcome(float(sum(map(int, seen[-1])))))
    assert len(set(seen[:20])) == 20  # of 24; the last ones may lie farther away than it looks
    assert len(seen) == 30
