"""Which trial of a search is the seed: the best few, trained longer and from scratch, judged on held-out images.

MnasNet did so with the best 15 of its 8 000 candidates (arXiv 1807.11626, section 4): accuracies of a few epochs find good
networks, and cannot tell which of them is the best one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import islice

from rich.console import Console

from latency.latency import Latency
from nas.finale import FinalTraining
from nas.images import Images
from nas.objective import Objective
from nas.reproduction.reproduce_config import ReproduceConfig
from nas.reproduction.reproduce_run import SHORTLISTS, ReproduceRun
from nas.reproduction.seed import Seed, seeds_of
from nas.reproduction.shortlisted import Shortlisted
from nas.reproduction.trained_alike import trained_alike
from nas.reproduction.yardstick import resolved_ms, seed_range_ms
from nas.trial import Trial
from search_spaces.arch import ArchSpec


def shortlist_of(
    trials: Sequence[Trial],
    config: ReproduceConfig,
    latency: Callable[[ArchSpec], Latency],
    reference_ms: float,
    least: Callable[[ArchSpec], Sequence[ArchSpec]],
) -> list[Seed]:
    """The first ``config.shortlist`` of `seeds_of`, fewer where there are fewer.

    Raises:
        UserError: there is none.
    """
    target_ms, most_ms = seed_range_ms(config, latency)
    seeds = seeds_of(trials, latency, reference_ms, target_ms, most_ms, least, config.widest_seed)
    return list(islice(seeds, config.shortlist))


def objective_of(config: ReproduceConfig, latency: Callable[[ArchSpec], Latency]) -> Objective:
    """What the search maximises, its target in milliseconds by `latency`."""
    section = config.search.objective
    return section.objective(resolved_ms(section.target, latency))


def judged(
    seeds: Sequence[Seed],
    num_correct: Mapping[int, int],
    num_holdout: int,
    objective: Objective,
    latency: Callable[[ArchSpec], Latency],
) -> list[Shortlisted]:
    """The shortlist with accuracies and rewards, in its order.

    Args:
        seeds: of the shortlist.
        num_correct: number of a trial -> held-out images classified right, of `num_holdout`.
        num_holdout: positive.
        objective: of the rewards.
        latency: of a network, measured.
    """
    found = []
    for seed in seeds:
        correct, latency_ms = num_correct[seed.trial.number], latency(seed.arch).latency_ms
        assert seed.trial.accuracy is not None, "it succeeded"
        found.append(
            Shortlisted(
                trial=seed.trial.number,
                arch=str(seed.arch),
                multiplier=seed.multiplier,
                searched_accuracy=seed.trial.accuracy,
                latency_ms=latency_ms,
                num_correct=correct,
                accuracy=correct / num_holdout,
                reward=objective.reward(correct / num_holdout, latency_ms),
            )
        )
    return found


def trained_shortlist(
    run: ReproduceRun, stage: str, seeds: Sequence[Seed], images: Images, console: Console
) -> tuple[dict[int, int], int]:
    """Held-out images right after the comparison's training, by number of the trial, and how many they are; needs Ray.

    Args:
        run: keeps each training as it is done.
        stage: whose shortlist it is.
        seeds: of the shortlist.
        images: of the search; its held-out images play no part in the training.
        console: shows which trainings are done.

    Raises:
        UserError: a training failed; what was done is kept.
    """
    training, holdout = images.split(run.config.search)
    folder, seed = run.folder / SHORTLISTS[stage], run.config.search.seed
    trainings = [FinalTraining(f"trial-{one.trial.number}", one.arch, seed, folder) for one in seeds]
    finalists = trained_alike(run, trainings, training, holdout, images, console)
    correct = {one.trial.number: finalist.num_correct for one, finalist in zip(seeds, finalists, strict=True)}
    return correct, len(holdout)
