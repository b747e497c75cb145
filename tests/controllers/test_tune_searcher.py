from __future__ import annotations

import importlib.util
import sys
import types
from typing import Any

import pytest
from ray.tune.search import Searcher

from controllers.build import build_controller
from controllers.controller import Outcome
from search_spaces.choice import Choice

CHOICES = (Choice("a/b", ("x", "y")), Choice("c", (1, 2, 3)))


class Recorder(Searcher):  # type: ignore[misc]
    """Suggests by script and writes down what it hears."""

    def __init__(self, script: list[Any], seed: int = 0) -> None:
        super().__init__(metric="reward", mode="max")
        self.script, self.seed, self.heard = list(script), seed, []
        self.space: dict[str, Any] = {}

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any) -> bool:
        assert (metric, mode) == ("reward", "max")
        self.space = config
        return True

    def suggest(self, trial_id: str) -> Any:
        step = self.script.pop(0)
        return dict(zip(self.space, step, strict=True)) if isinstance(step, tuple) else step

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        self.heard.append((trial_id, result and result["reward"], error))


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> str:
    module = types.ModuleType("favourites")
    module.Recorder = Recorder  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "favourites", module)
    return "favourites.Recorder"


def test_a_searcher_of_ones_own(module: str) -> None:
    script = [(1, 2), None, (0, 0), Searcher.FINISHED]
    controller: Any = build_controller("tune", CHOICES, 5, {"searcher": module, "script": script})
    asked = [controller.ask() for _ in range(4)]
    assert dict(asked[0].choices) == {"a/b": "y", "c": 3}
    assert dict(asked[2].choices) == {"a/b": "x", "c": 1}
    recorder = controller._searcher
    assert recorder.seed == 5
    assert [domain.categories for domain in recorder.space.values()] == [[0, 1], [0, 1, 2]]
    for i in (3, 2, 1, 0):
        assert recorder.heard == []
        controller.tell(asked[i], Outcome(reward=float(i), failed=i == 2))
    assert recorder.heard == [("0", 0.0, False), ("2", None, True)]  # the random ones are not its business


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"searcher": "HyperOptSearch"}, "there is no searcher 'HyperOptSearch'; an example: 'ray.tune.search.optuna"),
        ({"searcher": "ray.tune.search.hyperopt.Nothing"}, "there is no searcher 'ray.tune.search.hyperopt.Nothing'"),
        ({"searcher": "collections.Counter"}, "'collections.Counter' is not a ray.tune.search.Searcher"),
        ({"space": {}}, r"has no options \['space'\]; allowed: \['points_to_evaluate', 'sampler'"),
        ({"searcher": "ray.tune.search.Repeater"}, "cannot be made: .*missing 1 required positional argument"),
    ],
)
def test_what_is_wrong_is_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_controller("tune", CHOICES, 0, options)


@pytest.mark.parametrize(
    ("searcher", "module", "command"),
    [
        ("hyperopt.HyperOptSearch", "hyperopt", "pip install hyperopt"),
        ("nevergrad.NevergradSearch", "nevergrad", "pip install nevergrad"),
        ("bohb.TuneBOHB", "hpbandster", "pip install hpbandster ConfigSpace"),
        ("ax.AxSearch", "ax", "pip install ax-platform"),
    ],
)
def test_a_missing_package_is_named_with_the_command_that_installs_it(searcher: str, module: str, command: str) -> None:
    if importlib.util.find_spec(module) is not None:
        pytest.skip(f"{module} is installed")
    with pytest.raises(ValueError, match=f"^searcher 'ray.tune.search.{searcher}' needs .*: {command}$"):
        build_controller("tune", CHOICES, 0, {"searcher": f"ray.tune.search.{searcher}"})
