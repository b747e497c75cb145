from __future__ import annotations

import os
import subprocess
import sys

import pytest

from controllers.build import build_controller
from controllers.ppo import PRESETS, PPOController
from controllers.random_search import RandomController
from search_spaces.choice import Choice

CHOICES = (Choice("a", (1, 2)),)


def test_names() -> None:
    assert isinstance(build_controller("random", CHOICES, 0, {}), RandomController)
    assert isinstance(build_controller("ppo", CHOICES, 0, {}), PPOController)


def test_options_replace_the_constants_of_the_preset() -> None:
    built = build_controller("ppo", CHOICES, 3, {"preset": "paper", "batch_size": 2, "hidden_size": 4})
    assert isinstance(built, PPOController)
    assert built.config.learning_rate == PRESETS["paper"].learning_rate == 3.5e-4
    assert (built.config.batch_size, built.config.hidden_size) == (2, 4)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "pso",
            {},
            r"unknown controller 'pso'; allowed: \['random', 'ppo', 'reinforce', 'evolution', 'nsga2', 'optuna', 'tune'\]",
        ),
        ("random", {"preset": "fast"}, r"no options \['preset'\]; allowed: \[\]"),
        ("ppo", {"lr": 1.0}, r"no options \['lr'\]; allowed: \['preset', 'hidden_size', .*'learning_rate'"),
        ("ppo", {"preset": "slow"}, r"unknown ppo preset 'slow'; allowed: \['fast', 'rnn', 'paper'\]"),
        ("ppo", {"batch_size": 0}, "batch_size=0"),
        ("ppo", {"batch_size": 2.5}, r"batch_size=2\.5"),
        ("ppo", {"learning_rate": "1e-3"}, "learning_rate='1e-3'"),
        ("ppo", {"learning_rate": 0}, "learning_rate=0"),
        ("ppo", {"entropy_weight": float("nan")}, "entropy_weight=nan"),
        ("ppo", {"clip_range": -0.2}, "clip_range=-0.2"),
        ("ppo", {"baseline_decay": 1.0}, "baseline_decay=1.0"),
        ("ppo", {"normalise_reward": 1}, "normalise_reward=1"),
        ("ppo", {"num_epochs": True}, "num_epochs=True"),
    ],
)
def test_what_is_wrong_is_named(name: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_controller(name, CHOICES, 0, options)


def test_random_search_does_without_torch() -> None:
    program = (
        "import sys, controllers.controller\n"
        "from controllers.build import build_controller\n"
        "from search_spaces.choice import Choice\n"
        "build_controller('random', [Choice('a', (1, 2))], 0, {}).ask()\n"
        "assert 'torch' not in sys.modules\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)
