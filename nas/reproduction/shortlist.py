"""Which trial of a search is the seed: the best few at the same latency, trained longer, judged on held-out images.

MnasNet did so with the best 15 of its 8 000 candidates (arXiv 1807.11626, section 4): accuracies of a few epochs find good
networks, and cannot tell which of them is the best one. Here each is brought to the target before, by the uniform multiplier,
for that is where the result has to be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from rich.console import Console

from latency.latency import Latency
from nas.errors import UserError
from nas.finale import FinalTraining
from nas.images import Images
from nas.netadapt.uniform import NoMultiplierError, Uniform, bisected
from nas.reproduction.reproduce_config import ReproduceConfig
from nas.reproduction.reproduce_run import SHORTLISTS, ReproduceRun
from nas.reproduction.seed import Seed, seeds_of
from nas.reproduction.shortlisted import Shortlisted
from nas.reproduction.trained_alike import trained_alike
from nas.reproduction.yardstick import seed_range_ms
from nas.trial import Trial
from search_spaces.arch import ArchSpec


@dataclass(frozen=True, slots=True)
class Candidate:
    """For the seed.

    Attributes:
        seed: what it would be.
        fitted: its network brought to the target; None where nothing is trained to choose.
    """

    seed: Seed
    fitted: Uniform | None


def shortlist_of(
    trials: Sequence[Trial],
    config: ReproduceConfig,
    latency: Callable[[ArchSpec], Latency],
    reference_ms: float,
    least: Callable[[ArchSpec], Sequence[ArchSpec]],
    fitted: Callable[[Candidate], None] = lambda _: None,
) -> list[Candidate]:
    """The first ``config.shortlist`` of `seeds_of`, fewer where there are fewer; with one alone nothing is fitted.

    One that no multiplier brings to the target is left out. Each that was brought there is told to `fitted`.

    Raises:
        UserError: there is none.
    """
    target_ms, most_ms = seed_range_ms(config, latency)
    seeds = seeds_of(trials, latency, reference_ms, target_ms, most_ms, least, config.widest_seed)
    if config.shortlist == 1:
        return [Candidate(next(seeds), None)]
    found = []
    for candidate in islice(_fitted(seeds, lambda arch: latency(arch).latency_ms, target_ms), config.shortlist):
        fitted(candidate)
        found.append(candidate)
    if not found:
        raise UserError(
            f"no uniform width multiplier brings a trial of the search to {target_ms:.3f} ms; take a slower target"
        )
    return found


def _fitted(seeds: Iterator[Seed], latency_ms: Callable[[ArchSpec], float], target_ms: float) -> Iterator[Candidate]:
    for seed in seeds:
        try:
            yield Candidate(seed, bisected(seed.arch, latency_ms, target_ms, latency_ms(seed.arch)))
        except NoMultiplierError:
            continue


def judged(candidates: Sequence[Candidate], num_correct: Mapping[int, int], num_holdout: int) -> list[Shortlisted]:
    """The shortlist with what came of the trainings, in its order.

    Args:
        candidates: fitted.
        num_correct: number of a trial -> held-out images classified right, of `num_holdout`.
        num_holdout: positive.
    """
    found = []
    for candidate in candidates:
        trial, fitted = candidate.seed.trial, candidate.fitted
        assert trial.accuracy is not None, "it succeeded"
        assert fitted is not None
        found.append(
            Shortlisted(
                trial=trial.number,
                searched_accuracy=trial.accuracy,
                multiplier=candidate.seed.multiplier,
                arch=str(candidate.seed.arch),
                fitted_multiplier=fitted.multiplier,
                fitted=str(fitted.arch),
                fitted_ms=fitted.cost,
                num_correct=num_correct[trial.number],
                accuracy=num_correct[trial.number] / num_holdout,
            )
        )
    return found


def trained_shortlist(
    run: ReproduceRun, stage: str, candidates: Sequence[Candidate], images: Images, console: Console
) -> tuple[dict[int, int], int]:
    """Held-out images right after the comparison's training, by number of the trial, and how many they are; needs Ray.

    Args:
        run: keeps each training as it is done.
        stage: whose shortlist it is.
        candidates: fitted.
        images: of the search; its held-out images play no part in the training.
        console: shows which trainings are done.

    Raises:
        UserError: a training failed; what was done is kept.
    """
    training, holdout = images.split(run.config.search)
    folder, seed = run.folder / SHORTLISTS[stage], run.config.search.seed
    networks = {one.seed.trial.number: one.fitted.arch for one in candidates if one.fitted}
    trainings = [FinalTraining(f"trial-{number}", arch, seed, folder) for number, arch in networks.items()]
    finalists = trained_alike(run, trainings, training, holdout, images, console)
    correct = {number: finalist.num_correct for number, finalist in zip(networks, finalists, strict=True)}
    return correct, len(holdout)
