"""A search executed again from its journal: with the same accuracies and latencies the same networks must be suggested."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from controllers.build import build_controller
from controllers.controller import Controller
from nas.config import Config
from nas.errors import UserError
from nas.over_devices import DeviceObjectives, objectives_told
from nas.policy_file import settled_policy
from nas.replay import REWARD_TOLERANCE, ReplayDifferenceError
from nas.run import read_calibration, read_config
from nas.study import Constraints, ReplayError, Study
from nas.trial import Trial, best_trial, read_trials
from search_spaces.arch import ArchSpec
from search_spaces.count import Counts, count
from search_spaces.lower import lower


@dataclass(frozen=True, slots=True)
class SearchReplay:
    """A search that was executed again without a difference.

    Attributes:
        trials: of the journal, by number.
        num_asked: suggestions of the controller that were compared.
        best: the trial that the search came to; None where none succeeded.
        complete: the search had come to its end; otherwise it was compared as far as its journal goes.
    """

    trials: tuple[Trial, ...]
    num_asked: int
    best: Trial | None
    complete: bool


class _Nowhere:
    """A journal that keeps nothing: a replay writes nothing."""

    def append(self, trial: Trial) -> None:
        """Keep nothing."""


def replay_search(folder: Path) -> SearchReplay:
    """Execute a search again; nothing is trained or measured, and the folder is not written to.

    The recorded rewards must follow from the recorded accuracies and latencies; a controller built anew from the recipe is
    told them, trial by trial, and has to suggest the recorded networks.

    Args:
        folder: of a run of ``nas search``.

    Raises:
        UserError: not such a folder, or files that cannot be read.
        ReplayDifferenceError: something came out differently.
    """
    config, objectives = read_config(folder), _objectives(folder)
    recorded = {trial.number: trial for trial in read_trials(folder / "trials.jsonl")}
    for trial in recorded.values():
        _check_reward(trial, objectives)
    study = Study(
        space=config.search_space,
        controller=_controller(config, folder),
        counts=partial(_counts, config),
        constraints=Constraints(**config.constraints.model_dump()),
        failure_reward=objectives.failure_reward,
        num_trials=config.trials,
        concurrency=config.concurrency or 1,
        journal=_Nowhere(),
        # repeats and rejected ones follow from the others; the study writes them anew
        finished=[trial for trial in recorded.values() if trial.repeat_of is None and trial.status != "rejected"],
        objectives=partial(objectives_told, config.latency.over_devices),
    )
    complete = _executed(study)
    for trial in study.trials:
        if trial.number in recorded:
            _check_same(recorded[trial.number], trial)
    left = sorted(recorded.keys() - {trial.number for trial in study.trials})
    if left and complete:
        raise ReplayDifferenceError(f"trial {left[0]}: recorded, but the search ends before it")
    best = best_trial(study.trials)
    _check_best(best_trial(list(recorded.values())), best)
    return SearchReplay(tuple(study.trials), len(study.trials), best, complete)


def _executed(study: Study) -> bool:
    """Whether the search came to its end by what is recorded."""
    try:
        assignment = study.next()
    except ReplayError as error:
        raise ReplayDifferenceError(str(error)) from None
    study.settle()
    return assignment is None and study.done


def _controller(config: Config, folder: Path) -> Controller:
    choices = config.search_space.choices
    if config.evaluator.name == "one_shot":
        return settled_policy(folder, choices, config.seed)
    return build_controller(config.controller.name, choices, config.seed, config.controller.options)


def _counts(config: Config, arch: ArchSpec) -> Counts:
    return count(lower(arch, config.latency.resolution, config.latency.num_outputs))


def _objectives(folder: Path) -> DeviceObjectives:
    config = read_config(folder)
    return read_calibration(folder).objectives(config.objective, config.latency.over_devices)


def _check_reward(trial: Trial, objectives: DeviceObjectives) -> None:
    """Raise ReplayDifferenceError unless the recorded reward follows from accuracy and latency."""
    if trial.status != "ok":
        return
    if trial.accuracy is None or trial.latency is None:
        raise UserError(f"trial {trial.number}: ok, but without accuracy or latency; restore trials.jsonl from a copy")
    (first, *_) = objectives.by_device
    reward = objectives.reward(trial.accuracy, trial.device_latencies or {first: trial.latency})
    if not math.isclose(reward, trial.reward, rel_tol=REWARD_TOLERANCE):
        raise ReplayDifferenceError(f"trial {trial.number}: reward {reward!r}, recorded {trial.reward!r}")


def _check_same(recorded: Trial, replayed: Trial) -> None:
    fields = [name for name in Trial.__dataclass_fields__ if name != "times"]
    for name in fields:
        before, now = getattr(recorded, name), getattr(replayed, name)
        if before != now:
            raise ReplayDifferenceError(f"trial {recorded.number}: {name} {now}, recorded {before}")


def _check_best(recorded: Trial | None, replayed: Trial | None) -> None:
    if (recorded and recorded.number) != (replayed and replayed.number):
        raise ReplayDifferenceError(
            f"best trial {replayed and replayed.number}, recorded {recorded and recorded.number}"
        )
