"""The search of a reproduction, and which of its networks is the seed of what follows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.console import Console

from latency.latency import Latency
from nas.config import ControllerSection
from nas.errors import UserError
from nas.images import Images
from nas.report import write_report
from nas.reproduction.reproduce_run import RANDOM, ReproduceRun
from nas.reproduction.widening import widened
from nas.run import Run
from nas.search import search
from nas.trial import Trial
from search_spaces.arch import ArchSpec

_NEARLY = 0.95  # of the target: a trial that was measured as this much faster is not measured again


def searched(run: ReproduceRun, stage: str, images: Images, console: Console, ray_address: str | None) -> list[Trial]:
    """The trials of the search, or of a random one of as many trials; carried on from wherever it is.

    Raises:
        UserError, SearchInterruptedError: as `nas.search.search`.
    """
    folder = run.folder / stage
    if not (folder / "config.yaml").is_file():
        config = run.config.search.model_copy(update={"final": None})
        if stage == RANDOM:
            config = config.model_copy(update={"controller": ControllerSection(name="random")})
        with Run.create(config, stage, folder):
            pass
    with Run(folder) as own:
        search(own, images, console, ray_address)
        trials = own.finished_trials()
    write_report(folder)
    return sorted(trials, key=lambda trial: trial.number)


@dataclass(frozen=True, slots=True)
class Seed:
    """What follows the search begins with.

    Attributes:
        trial: whose network it is.
        arch: the network, perhaps widened.
        multiplier: of its widths; 1 where the network is the trial's own.
    """

    trial: Trial
    arch: ArchSpec
    multiplier: float = 1.0


def seed_of(
    trials: Sequence[Trial],
    latency: Callable[[ArchSpec], Latency],
    reference_ms: float,
    target_ms: float,
    most_ms: float,
    least: Callable[[ArchSpec], Sequence[ArchSpec]],
    widest: float = 1.0,
) -> Seed:
    """The trial of highest reward that is slow enough, for what follows can only make it faster, and not too slow.

    One that is too fast is passed over, or widened until it is slow enough.

    Where accuracies differ much the reward's soft constraint hardly holds; and how good a network is at its own latency says
    little of how good it is narrowed to half of that.

    Args:
        trials: of a search.
        latency: of a network, measured; asked for candidates, best first, until one is slow enough.
        reference_ms: time of the reference network on the scale of `latency`; each search has frozen a time of its own.
        target_ms: positive.
        most_ms: slower trials come after all others.
        least: network -> all that must not be faster than the target.
        widest: the largest multiplier of the widths of a trial that is too fast; 1 widens none.

    Raises:
        UserError: there is none.
    """

    def fastest_ms(arch: ArchSpec) -> float:
        return min(latency(other).latency_ms for other in least(arch))

    done = [trial for trial in trials if trial.status == "ok" and trial.repeat_of is None]
    timed = [(trial, trial.latency.ratio * reference_ms) for trial in done if trial.latency]
    for trial, own_ms in sorted(timed, key=lambda pair: (pair[1] > most_ms, -pair[0].reward, pair[0].number)):
        if own_ms >= _NEARLY * target_ms and fastest_ms(trial.arch) >= target_ms:
            return Seed(trial, trial.arch)
        if widest > 1 and (found := widened(trial.arch, fastest_ms, own_ms, target_ms, widest)):
            multiplier, arch = found
            return Seed(trial, arch, multiplier)
    raise UserError(
        f"no trial of the search is as slow as the target of {target_ms:.3f} ms, and NetAdapt only makes networks faster; "
        "search longer (search.trials), or for a larger search.objective.target"
    )
