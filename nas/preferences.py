"""What a controller has learned to prefer: bring it back by replaying the journal, then ask what it would try next."""

from __future__ import annotations

import contextlib
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch

from controllers.build import build_controller
from controllers.controller import Controller
from nas.config import Config
from nas.over_devices import objectives_told
from nas.study import Constraints, Study
from nas.trial import Trial
from search_spaces.arch import ArchSpec
from search_spaces.choice import Choice, Option
from search_spaces.count import Counts, count
from search_spaces.lower import lower

NUM_PROPOSALS = 300
NOISE_SIGMAS = 3.6  # among some 130 options, sampling alone carries one beyond this in about 1 of 25 reports


@dataclass(frozen=True, slots=True)
class Preference:
    """How often each option of one decision is proposed.

    Attributes:
        choice: the decision.
        counts: proposals of each option, in the order of the options.
    """

    choice: Choice
    counts: tuple[int, ...]

    @property
    def num_proposals(self) -> int:
        """Proposals in all."""
        return sum(self.counts)

    @property
    def uniform(self) -> float:
        """Share of each option if none were preferred."""
        return 1 / len(self.counts)

    def share(self, option: Option) -> float:
        """Share of the proposals that take `option`."""
        return self.counts[self.choice.index(option)] / self.num_proposals

    def sigmas(self, option: Option) -> float:
        """Distance of the share from uniform in standard deviations of uniform sampling."""
        deviation = math.sqrt(self.uniform * (1 - self.uniform) / self.num_proposals)
        return (self.share(option) - self.uniform) / deviation if deviation else 0.0


class _Unwritten:
    """A journal that keeps nothing."""

    def append(self, trial: Trial) -> None:
        """Forget `trial`: the run folder has it, or it is still in flight."""


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Torch's threads wait for each other by spinning: on a busy machine a small policy then takes a hundred times longer."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def learned_preferences(
    config: Config, trials: list[Trial], num_proposals: int = NUM_PROPOSALS, controller: Controller | None = None
) -> list[Preference]:
    """What the controller of a run would propose next, decision by decision.

    Args:
        config: of the run.
        trials: from its journal; those in flight when it was written may be missing.
        num_proposals: how often to ask, at least 1.
        controller: of the run, fresh; by default the one that `config` names.

    Returns:
        One for each choice, in the order of the space.

    Raises:
        ReplayError: the journal is not what this seed and controller suggest.
    """
    space = config.search_space
    named = config.controller
    controller = controller or build_controller(named.name, space.choices, config.seed, named.options)

    def counts(arch: ArchSpec) -> Counts:
        return count(lower(arch, config.latency.resolution, config.latency.num_outputs))

    study = Study(
        space=space,
        controller=controller,
        counts=counts,
        constraints=Constraints(**config.constraints.model_dump()),
        failure_reward=config.objective.objective(target_ms=1.0).failure_reward,  # the same at any target
        num_trials=config.trials,
        concurrency=config.concurrency or 1,
        journal=_Unwritten(),
        finished=trials,
        objectives=partial(objectives_told, config.latency.over_devices),
    )
    with _one_thread():
        while study.next() is not None:
            pass  # an assignment was in flight: it stays open, and the study stops where it needs the outcome
        study.settle()
        proposals = [controller.ask().choices for _ in range(num_proposals)]
    taken = {choice.name: Counter(proposal[choice.name] for proposal in proposals) for choice in space.choices}
    return [Preference(c, tuple(taken[c.name][option] for option in c.options)) for c in space.choices]


def strongest(preferences: list[Preference], number: int) -> list[tuple[Preference, Option]]:
    """Options that stand out from sampling noise, at most `number`, the farthest above uniform first."""
    options = [(p, option) for p in preferences for option in p.choice.options if p.sigmas(option) > NOISE_SIGMAS]
    return sorted(options, key=lambda item: item[0].share(item[1]) - item[0].uniform, reverse=True)[:number]
