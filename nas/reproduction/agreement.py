"""Two reproductions of the same network: whether they agree, what their networks share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scipy.stats import poisson_binom

from nas.errors import UserError
from nas.netadapt.final_network import FinalNetwork
from nas.netadapt.network_difference import Difference, unpaired_difference
from nas.report_layers import LayerCost, layer_costs
from nas.reproduction.reproduce_config import ReproduceConfig
from nas.reproduction.reproduce_record import FOUND, ReproduceRecord
from nas.space_section import search_space
from search_spaces.arch_string import parse_arch
from search_spaces.choice import Choice, Option

_PREMISES = ("target", "search.latency.", "search.data.resolution", "comparison.training.")
"""Keys without which two results are not of one thing."""


@dataclass(frozen=True, slots=True)
class SharedDecisions:
    """How many of the seeds' decisions are equal.

    Attributes:
        kind: of the decisions: ``kernel`` for ``b1.kernel``, ``b2.kernel`` ...
        equal: number of equal ones.
        number: of decisions.
        by_chance: how many are equal on average if both take options at random, all equally likely.
        range_by_chance: the 95 % of such pairs in the middle have so many equal ones.
    """

    kind: str
    equal: int
    number: int
    by_chance: float
    range_by_chance: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Part:
    """What a network does at one resolution.

    Attributes:
        resolution: side of the output, in pixels; 1 after the global pooling.
        layers: those that end there, in order.
        share: of the network's multiply-adds, in [0, 1].
    """

    resolution: int
    layers: tuple[LayerCost, ...]
    share: float


@dataclass(frozen=True)
class Agreement:
    """Two finished reproductions, one beside the other.

    Attributes:
        one: the first.
        other: the second.
        settings: key of the recipe -> its value in either, where they differ.
        difference: test accuracy of what `one` found less that of what `other` found; None where one was not trained.
        decisions: of the trials that the later stages began with, kind by kind; empty where one of them did not search, or
            they searched in different spaces.
        overall: of all decisions; None likewise.
    """

    one: ReproduceRecord
    other: ReproduceRecord
    settings: Mapping[str, tuple[Any, Any]]
    difference: Difference | None
    decisions: tuple[SharedDecisions, ...]
    overall: SharedDecisions | None

    @classmethod
    def of(cls, one: ReproduceRecord, other: ReproduceRecord) -> Agreement:
        """Compare two runs.

        Raises:
            UserError: one is not finished, or they are not about the same: another target, device, data set or training.
        """
        for record in (one, other):
            if not record.is_finished:
                raise UserError(
                    f"{record.folder}: is not finished; carry it on with: nas reproduce --resume {record.folder}"
                )
        settings = _different(one.config, other.config)
        if one.data_fingerprint != other.data_fingerprint:
            raise UserError(f"{one.name} and {other.name} are of different data sets; there is nothing to compare")
        if premises := [key for key in settings if key.startswith(_PREMISES)]:
            values = ", ".join(f"{key} {settings[key][0]} and {settings[key][1]}" for key in premises)
            raise UserError(f"{one.name} and {other.name} are not about the same: {values}")
        decisions = tuple(_decisions(one, other))
        kinds: dict[str, list[_Decision]] = {}
        for decision in decisions:
            kinds.setdefault(decision[0].name.rpartition(".")[2], []).append(decision)
        return cls(
            one,
            other,
            settings,
            unpaired_difference(found(one), found(other)),
            tuple(_shared(kind, members) for kind, members in kinds.items()),
            _shared("all", decisions) if decisions else None,
        )

    @property
    def agrees(self) -> bool | None:
        """Whether the accuracies are not told apart; None where they cannot be compared."""
        return None if self.difference is None else self.difference.verdict == "not told apart"


def found(record: ReproduceRecord) -> FinalNetwork:
    """What a finished run found, as it was trained in the comparison."""
    network = record.network(FOUND)
    if network is None:
        raise UserError(f"{record.folder}: what it found is not in its comparison; restore final.json from a copy")
    return network


def parts(record: ReproduceRecord) -> tuple[Part, ...]:
    """What the found network does at each resolution, from the input on."""
    section = record.config.search.latency
    by_resolution: dict[int, list[LayerCost]] = {}
    for layer in layer_costs(parse_arch(found(record).arch), section.resolution, section.num_outputs, {}):
        if layer.shape is not None:
            by_resolution.setdefault(layer.shape[1], []).append(layer)
    macs = sum(layer.macs for layers in by_resolution.values() for layer in layers)
    return tuple(
        Part(resolution, tuple(layers), sum(layer.macs for layer in layers) / macs)
        for resolution, layers in by_resolution.items()
    )


_Decision = tuple[Choice, Option, Option]


def _decisions(one: ReproduceRecord, other: ReproduceRecord) -> Iterator[_Decision]:
    """The decisions of both seeds."""
    if one.seed_trial is None or other.seed_trial is None or one.config.search.space != other.config.search.space:
        return
    first, second = one.trials[one.seed_trial].choices, other.trials[other.seed_trial].choices
    for choice in search_space(one.config.search.space).choices:
        if len(choice.options) > 1:
            yield choice, first[choice.name], second[choice.name]


def _shared(kind: str, decisions: Sequence[_Decision]) -> SharedDecisions:
    chances = [1 / len(choice.options) for choice, _, _ in decisions]
    low, high = poisson_binom(chances).interval(0.95)
    equal = sum(first == second for _, first, second in decisions)
    return SharedDecisions(kind, equal, len(decisions), sum(chances), (int(low), int(high)))


def _different(one: ReproduceConfig, other: ReproduceConfig) -> dict[str, tuple[Any, Any]]:
    """Keys at which two configurations differ; where the data lie is no setting, and a search's final stage is not run."""
    first, second = (_flat(config.model_dump(mode="json")) for config in (one, other))
    keys = (key for key in [*first, *(key for key in second if key not in first)] if first.get(key) != second.get(key))
    return {
        key: (first.get(key), second.get(key))
        for key in keys
        if key != "search.data.source" and not key.startswith("search.final.")
    }


def _flat(document: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in document.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
