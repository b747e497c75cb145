from __future__ import annotations

import importlib.util

import optuna
import pytest

from controllers.build import build_controller
from controllers.controller import Outcome
from controllers.optuna_sampler import SAMPLERS, OptunaController
from search_spaces.choice import Choice

CHOICES = (Choice("a", ("x", "y")), Choice("b", (1, 2, 3)))


def built(**options: object) -> OptunaController:
    controller = build_controller("optuna", CHOICES, 0, options)
    assert isinstance(controller, OptunaController)
    return controller


def test_tpe_is_the_default_and_takes_its_options() -> None:
    sampler = built(n_startup_trials=3, multivariate=True)._study.sampler
    assert isinstance(sampler, optuna.samplers.TPESampler)
    assert sampler._n_startup_trials == 3


def test_one_objective_is_the_reward_and_failures_are_pruned() -> None:
    controller = built()
    first, second = controller.ask(), controller.ask()
    controller.tell(second, Outcome(reward=0.7, objectives=(1.0, 2.0)))
    assert [t.state.name for t in controller._study.trials] == ["RUNNING", "RUNNING"]  # in the order of the asks
    controller.tell(first, Outcome(reward=-1.0, failed=True))
    assert [(t.state.name, t.values) for t in controller._study.trials] == [("PRUNED", None), ("COMPLETE", [0.7])]
    assert controller._study.direction.name == "MAXIMIZE"
    assert [CHOICES[0].options[t.params["a"]] for t in controller._study.trials] == [
        first.choices["a"],
        second.choices["a"],
    ]


def test_several_objectives_are_told_as_they_are() -> None:
    controller = built(sampler="NSGAIISampler")
    for outcome in (Outcome(0.7, (1.0, 2.0)), Outcome(0.5), Outcome(0.0, failed=True)):
        controller.tell(controller.ask(), outcome)
    assert [t.values for t in controller._study.trials] == [[1.0, 2.0], [-0.5, float("inf")], None]
    assert [d.name for d in controller._study.directions] == ["MINIMIZE", "MINIMIZE"]
    with pytest.raises(ValueError, match="3 objectives were told; set the option num_objectives, now 2"):
        controller.tell(controller.ask(), Outcome(0.7, (1.0, 2.0, 3.0)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sampler": "TPE"}, r"unknown Optuna sampler 'TPE'; allowed: \[.*'NSGAIISampler'.*'TPESampler'"),
        ({"population": 3}, r"Optuna's TPESampler has no options \['population'\]; allowed: \['consider_prior'"),
        ({"n_startup_trials": "many"}, r"Optuna's TPESampler refuses {'n_startup_trials': 'many'}: "),
        ({"n_ei_candidates": "many"}, r"Optuna's TPESampler refuses {'n_ei_candidates': 'many'}: "),
        ({"sampler": "NSGAIISampler", "population_size": 1}, "Optuna's NSGAIISampler refuses .*population_size"),
        ({"num_objectives": -1}, "num_objectives=-1"),
        ({"ordered": "yes"}, "ordered='yes'"),
    ],
)
def test_what_is_wrong_is_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_controller("optuna", CHOICES, 0, options)


@pytest.mark.skipif(importlib.util.find_spec("cmaes") is not None, reason="cmaes is installed")
def test_a_missing_package_is_named_before_the_search_begins() -> None:
    with pytest.raises(ValueError, match=r"^Optuna's CmaEsSampler needs a package .*: pip install cmaes$"):
        built(sampler="CmaEsSampler", ordered=True)


@pytest.mark.parametrize("sampler", sorted({"NSGAIIISampler", "QMCSampler", "RandomSampler"} & set(SAMPLERS)))
def test_other_samplers_and_whole_numbers(sampler: str) -> None:
    controller = built(sampler=sampler, ordered=True)
    for _ in range(30):
        suggestion = controller.ask()
        assert all(suggestion.choices[c.name] in c.options for c in CHOICES)
        controller.tell(suggestion, Outcome(float(suggestion.choices["b"]), (1.0, 2.0)))


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    controller = built(multivariate=True)
    controller.tell(controller.ask(), Outcome(1.0))
    assert capfd.readouterr() == ("", "")
    assert optuna.logging.get_verbosity() == optuna.logging.INFO
