"""Building a table: which networks to look at, and the loop that measures and profiles them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from latency.device_info import DeviceInfo
from latency.metered import MeteredLatency
from latency.op_key import OpKey, op_keys
from latency.table_journal import Journal
from latency.table_rows import Observation, attribute
from search_spaces.arch import ArchSpec
from search_spaces.choice import Choices
from search_spaces.lower import lower
from search_spaces.sampling import width_corners, width_variant
from search_spaces.space import SearchSpace

_PROFILED_RUNS = 20


def space_networks(
    space: SearchSpace, seen: Counter[OpKey], resolution: int, num_classes: int, seed: int
) -> Iterator[ArchSpec]:
    """Random networks of `space`, without end, that bring what was rarely seen.

    Every second one is drawn plainly, so that the correction is fitted to networks as they are drawn. The others are
    climbed to: from a random one, each decision in turn takes the option that brings the rarest keys (each counts
    1 / 4^sightings). Random draws alone leave rare combinations of widths unseen for hundreds of networks.

    Args:
        space: to draw from.
        seen: sightings of keys so far; the caller keeps it up to date between networks.
        resolution: as deployed.
        num_classes: likewise.
        seed: networks seen in an earlier build should not be drawn again: give another one.
    """
    rng = np.random.default_rng(seed)

    def rarity(choices: Choices) -> float:
        keys = set(op_keys(lower(space.decode(choices), resolution, num_classes)))
        return float(sum(0.25 ** seen[key] for key in keys))

    while True:
        choices = space.sample(rng)
        for position in rng.permutation(len(space.choices)):
            choice = space.choices[position]
            choices = max(({**choices, choice.name: option} for option in choice.options), key=rarity)
        yield space.decode(choices)
        yield space.decode(space.sample(rng))


def variant_networks(arch: ArchSpec, num_seen: int, seed: int) -> Iterator[ArchSpec]:
    """Width variants of `arch`, without end: the corners first, unless `num_seen` says that they are done."""
    yield from width_corners(arch)[num_seen:]
    rng = np.random.default_rng(seed)
    while True:
        yield width_variant(arch, rng)


def sightings(observations: list[Observation], resolution: int, num_classes: int) -> Counter[OpKey]:
    """How often each key was seen."""
    return Counter(key for seen in observations for key in op_keys(lower(seen.arch, resolution, num_classes)))


def observe(metered: MeteredLatency, arch: ArchSpec, num_classes: int) -> Observation:
    """Measure and profile one network.

    Raises:
        MeasuringError: it cannot be profiled, or the meter itself fails.
    """
    latency, measurements = metered.measure(arch)
    model = metered.model(arch)
    graph = lower(arch, metered.meter.device.resolution, num_classes)
    profile = attribute(graph, model, metered.meter.trace(model, _PROFILED_RUNS))
    return Observation(arch, latency, tuple(measurements), profile.op_us, profile.op_kernels, profile.rest_us)


def collect(
    metered: MeteredLatency, networks: Iterator[ArchSpec], num_classes: int, journal: Journal, seen: Counter[OpKey]
) -> Iterator[Observation]:
    """Observe `networks` one after the other, each on the disk before it is yielded; the caller ends it.

    Args:
        metered: measures and profiles.
        networks: which ones; asked for the next when the one before is done.
        num_classes: outputs of the classifier, as `metered` has it.
        journal: where observations go.
        seen: sightings of keys, kept up to date for `space_networks`.

    Raises:
        MeasuringError: as `observe`.
    """
    for arch in networks:
        observation = observe(metered, arch, num_classes)
        journal.append(observation)
        seen.update(op_keys(lower(arch, metered.meter.device.resolution, num_classes)))
        yield observation


def journal_setting(
    device: DeviceInfo, population: str, num_classes: int, reference: ArchSpec, reference_ms: float
) -> Mapping[str, Any]:
    """What ties observations together: those of different settings are never mixed.

    Args:
        device: where they are taken.
        population: what the networks are drawn from; as in `latency.table.LatencyTable`.
        num_classes: outputs of their classifiers.
        reference: of their ratios.
        reference_ms: its frozen time.
    """
    return {
        "device": device.to_dict(),
        "population": population,
        "num_classes": num_classes,
        "reference": str(reference),
        "reference_ms": reference_ms,
    }
