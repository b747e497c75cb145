"""Is a cheap estimate of accuracy worth trusting? It is asked to rank networks that are then trained by themselves."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nas.config import Config
from nas.evaluator import Evaluator
from nas.images import Images
from nas.network import resolve_network
from nas.rank_correlation import Interval, Scores, tau_difference, tau_interval
from nas.spread import spread_candidates
from nas.standalone import Job, Standalone, train_standalone
from nas.training_recipe import TrainingRecipe
from nas.zero_cost import SCORES, zero_cost_score
from search_spaces.arch import ArchSpec
from search_spaces.count import count
from search_spaces.lower import lower

TRUSTED_TAU = 0.65
"""Vertex AI's rule for proxies; below it a search mostly follows noise."""

NUM_NETWORKS = 10


@dataclass(frozen=True, slots=True)
class Ranking:
    """One proxy's scores of the networks.

    Attributes:
        name: of the proxy.
        scores: higher is better; NaN where it had none.
        seconds: per network.
        once_s: spent once, whatever the number of networks: the training of a supernet.
    """

    name: str
    scores: Scores
    seconds: float
    once_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Judgement:
    """A ranking against the truth.

    Attributes:
        tau: Kendall's, with its interval.
        over_macs: how much larger it is than that of MACs, on the same networks; None for MACs themselves.
        over_short: likewise, than that of short training.
    """

    ranking: Ranking
    tau: Interval
    over_macs: Interval | None
    over_short: Interval | None


@dataclass(frozen=True, slots=True)
class ProxyCheck:
    """What `nas proxy-check` found.

    Attributes:
        archs: the networks, by MACs.
        truth: accuracy of each after training by itself, the mean of its seeds.
        accuracies: of each, by seed; the second seed may be missing.
        standalone_s: mean wall seconds of such a training.
        ceiling: tau between the seeds, on the networks that have two; None where there are none.
        judgements: of the proxies.
    """

    archs: tuple[ArchSpec, ...]
    truth: Scores
    accuracies: tuple[tuple[float, ...], ...]
    standalone_s: float
    ceiling: Interval | None
    judgements: tuple[Judgement, ...]

    def judgement(self, name: str) -> Judgement | None:
        """Of the proxy called `name`; None where it was not asked."""
        return next((found for found in self.judgements if found.ranking.name == name), None)


def networks_to_check(config: Config, number: int) -> list[ArchSpec]:
    """Candidates of the recipe's space, spread in size around its reference network."""
    reference = resolve_network(config.latency.reference)
    return spread_candidates(config.search_space, number, config.latency.resolution, reference, config.seed)


def standalone_jobs(archs: Sequence[ArchSpec], recipe: TrainingRecipe, seed: int, num_repeats: int) -> list[list[Job]]:
    """For each network its trainings: one, and one more with another seed for `num_repeats` of them, evenly spread."""
    repeated = {int(n) for n in np.linspace(0, len(archs) - 1, num_repeats).round()} if num_repeats else set()
    return [
        [Job(arch, recipe, seed), *([Job(arch, recipe, seed + 1)] if number in repeated else [])]
        for number, arch in enumerate(archs)
    ]


def all_jobs(
    config: Config, archs: Sequence[ArchSpec], jobs: Sequence[Sequence[Job]], short: TrainingRecipe
) -> list[Job]:
    """All trainings of a check: those of `standalone_jobs`, then the short one of each network."""
    return [*(job for of_arch in jobs for job in of_arch), *(Job(arch, short, config.seed) for arch in archs)]


def check_proxies(
    config: Config,
    images: Images,
    archs: Sequence[ArchSpec],
    jobs: Sequence[Sequence[Job]],
    short: TrainingRecipe,
    supernet: tuple[Evaluator, float] | None,
    finished: Callable[[Job, Standalone], None],
) -> ProxyCheck:
    """Train the networks by themselves, score them by every proxy, compare. Needs Ray where a training was not done before.

    Args:
        config: the recipe.
        images: its data.
        archs: of `networks_to_check`.
        jobs: of `standalone_jobs`.
        short: recipe of the short training: MnasNet's proxy.
        supernet: an evaluator with shared weights, and the seconds that their training took; None leaves it out.
        finished: told each training as it ends.

    Raises:
        UserError: a training failed.
    """
    num_alone = sum(len(of_arch) for of_arch in jobs)
    outcomes = train_standalone(all_jobs(config, archs, jobs, short), config, images, finished)
    alone = iter(outcomes[:num_alone])
    accuracies = tuple(tuple(next(alone).accuracy for _ in of_arch) for of_arch in jobs)
    truth = np.array([np.mean(of_arch) for of_arch in accuracies])
    trained_briefly = outcomes[num_alone:]
    rankings = [
        *([_of_evaluator("supernet", *supernet, archs, config.seed)] if supernet else []),
        Ranking(
            "short training",
            np.array([outcome.accuracy for outcome in trained_briefly]),
            float(np.mean([outcome.seconds for outcome in trained_briefly])),
        ),
        *_zero_cost(config, images, archs),
        *_counts(config, images, archs),
    ]
    return ProxyCheck(
        archs=tuple(archs),
        truth=truth,
        accuracies=accuracies,
        standalone_s=float(np.mean([outcome.seconds for outcome in outcomes[:num_alone]])),
        ceiling=_ceiling(accuracies),
        judgements=tuple(_judged(rankings, truth)),
    )


def _judged(rankings: Sequence[Ranking], truth: Scores) -> Iterable[Judgement]:
    by_name = {ranking.name: ranking.scores for ranking in rankings}
    for ranking in rankings:
        rivals = {name: by_name[name] for name in ("MACs", "short training") if name != ranking.name}
        over = {name: tau_difference(ranking.scores, scores, truth) for name, scores in rivals.items()}
        yield Judgement(ranking, tau_interval(ranking.scores, truth), over.get("MACs"), over.get("short training"))


def _ceiling(accuracies: Sequence[Sequence[float]]) -> Interval | None:
    both = np.array([of_arch for of_arch in accuracies if len(of_arch) > 1])
    return tau_interval(both[:, 0], both[:, 1]) if len(both) > 1 else None


def _of_evaluator(name: str, evaluator: Evaluator, once_s: float, archs: Sequence[ArchSpec], seed: int) -> Ranking:
    started = time.perf_counter()
    scores = []
    for arch in archs:
        *_, last = evaluator.evaluate(arch, seed)
        scores.append(last.accuracy)
    return Ranking(name, np.array(scores), (time.perf_counter() - started) / len(archs), once_s)


def _zero_cost(config: Config, images: Images, archs: Sequence[ArchSpec]) -> Iterable[Ranking]:
    training, _ = images.split(config)
    for name in SCORES:
        started = time.perf_counter()
        scores = [zero_cost_score(name, arch, training, images.dataset.num_classes, config.seed) for arch in archs]
        yield Ranking(name, np.array(scores), (time.perf_counter() - started) / len(archs))


def _counts(config: Config, images: Images, archs: Sequence[ArchSpec]) -> Iterable[Ranking]:
    started = time.perf_counter()
    found = [count(lower(arch, config.latency.resolution, images.dataset.num_classes)) for arch in archs]
    seconds = (time.perf_counter() - started) / len(archs)
    yield Ranking("MACs", np.array([float(counts.macs) for counts in found]), seconds)
    yield Ranking("params", np.array([float(counts.params) for counts in found]), seconds)


def to_json(check: ProxyCheck) -> dict[str, Any]:
    """All of it, ready for JSON."""

    def interval(found: Interval | None) -> Mapping[str, float] | None:
        return None if found is None else {"value": found.value, "low": found.low, "high": found.high}

    return {
        "num_networks": len(check.archs),
        "standalone_s": check.standalone_s,
        "ceiling": interval(check.ceiling),
        "trusted_tau": TRUSTED_TAU,
        "proxies": {
            judgement.ranking.name: {
                "tau": interval(judgement.tau),
                "over_macs": interval(judgement.over_macs),
                "over_short_training": interval(judgement.over_short),
                "seconds": judgement.ranking.seconds,
                "once_s": judgement.ranking.once_s,
                "trusted": judgement.tau.value >= TRUSTED_TAU,
            }
            for judgement in check.judgements
        },
        "networks": [
            {
                "arch": str(arch),
                "accuracies": list(accuracies),
                "scores": {j.ranking.name: float(j.ranking.scores[number]) for j in check.judgements},
            }
            for number, (arch, accuracies) in enumerate(zip(check.archs, check.accuracies, strict=True))
        ],
    }
