"""Which networks of a search what follows could begin with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from latency.latency import Latency
from nas.errors import UserError
from nas.reproduction.widening import widened
from nas.trial import Trial
from search_spaces.arch import ArchSpec

_NEARLY = 0.95  # of the target: a trial that was measured as this much faster is not measured again


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


def seeds_of(
    trials: Sequence[Trial],
    latency: Callable[[ArchSpec], Latency],
    reference_ms: float,
    target_ms: float,
    most_ms: float,
    least: Callable[[ArchSpec], Sequence[ArchSpec]],
    widest: float = 1.0,
) -> Iterator[Seed]:
    """Trials that what follows could begin with, best first: slow enough, for it can only make them faster, and not too slow.

    One that is too fast is passed over, or widened until it is slow enough. Those that are too slow come only where there is
    no other.

    Where accuracies differ much the reward's soft constraint hardly holds; and how good a network is at its own latency says
    little of how good it is narrowed to half of that.

    Args:
        trials: of a search.
        latency: of a network, measured; asked for candidates, best first, as far as the caller goes on.
        reference_ms: time of the reference network on the scale of `latency`; each search has frozen a time of its own.
        target_ms: positive.
        most_ms: slower trials are too slow.
        least: network -> all that must not be faster than the target.
        widest: the largest multiplier of the widths of a trial that is too fast; 1 widens none.

    Raises:
        UserError: there is none.
    """

    def fastest_ms(arch: ArchSpec) -> float:
        return min(latency(other).latency_ms for other in least(arch))

    done = [trial for trial in trials if trial.status == "ok" and trial.repeat_of is None]
    timed = [(trial, trial.latency.ratio * reference_ms) for trial in done if trial.latency]
    ranked = sorted(timed, key=lambda pair: (-pair[0].reward, pair[0].number))
    num_found = 0
    for group in ([pair for pair in ranked if pair[1] <= most_ms], [pair for pair in ranked if pair[1] > most_ms]):
        for trial, own_ms in group:
            if own_ms >= _NEARLY * target_ms and fastest_ms(trial.arch) >= target_ms:
                num_found += 1
                yield Seed(trial, trial.arch)
            elif widest > 1 and (found := widened(trial.arch, fastest_ms, own_ms, target_ms, widest)):
                multiplier, arch = found
                num_found += 1
                yield Seed(trial, arch, multiplier)
        if num_found:
            return
    raise UserError(
        f"no trial of the search is as slow as the target of {target_ms:.3f} ms, and NetAdapt only makes networks faster; "
        "search longer (search.trials), or for a larger search.objective.target"
    )
