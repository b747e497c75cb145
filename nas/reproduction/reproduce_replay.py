"""A reproduction executed again from its journals: search, choice of the seed, NetAdapt, edits, comparison's networks."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from latency.latency import Latency
from nas.calibration import DeviceState
from nas.errors import UserError
from nas.netadapt.adapt_replay import replay_adaptation
from nas.network import resolve_network
from nas.replay import PRICE_TOLERANCE, ReplayDifferenceError
from nas.reproduction.edit_trial import EditTrial
from nas.reproduction.redesign import edited
from nas.reproduction.reproduce_record import ReproduceRecord
from nas.reproduction.reproduce_run import ADAPT, LANDING, RANDOM, SEARCH, SHORTLISTS, VERSION
from nas.reproduction.reproducing import with_and_without_edits
from nas.reproduction.seed import Seed
from nas.reproduction.shortlist import judged, shortlist_of
from nas.reproduction.shortlisted import best_of
from nas.reproduction.yardstick import DEVICE, LATENCIES
from nas.run_folder import read_json
from nas.search_replay import replay_search
from search_spaces.arch import ArchSpec
from search_spaces.arch_string import parse_arch
from search_spaces.edits import joined_blocks


@dataclass(frozen=True, slots=True)
class ReproduceReplay:
    """A reproduction that was executed again without a difference.

    Attributes:
        num_suggestions: of its searches, compared.
        num_steps: of NetAdapt, taken again.
        num_edits: tried again.
        arch: the network that it came to.
    """

    num_suggestions: int
    num_steps: int
    num_edits: int
    arch: ArchSpec


def replay_reproduction(folder: Path) -> ReproduceReplay:
    """Execute a reproduction again; nothing is trained or measured, and the folder is not written to.

    Raises:
        UserError: not such a folder, not finished, or files that are missing or cannot be read.
        ReplayDifferenceError: something came out differently.
    """
    record = ReproduceRecord.read(folder)
    if record.arch is None or record.target_ms is None:
        raise UserError(f"{folder}: not finished; go on with: nas reproduce --resume {folder}")
    searches = [replay_search(folder / name) for name in (SEARCH, RANDOM) if (folder / name / "trials.jsonl").is_file()]
    latency = _recorded_latencies(folder)
    arch = _seed(record, latency)
    num_steps = 0
    for stage in record.stages[1:]:
        if stage.name in (ADAPT, LANDING):
            replay = replay_adaptation(folder / stage.name)
            _check_begins(stage.name, record, arch)
            arch, num_steps = joined_blocks(replay.arch), num_steps + replay.num_steps
        else:
            arch = _redesigned(record, arch, latency, record.target_ms)
        _check(stage.name, arch, stage.arch)
    _check("found", arch, record.arch)
    return ReproduceReplay(sum(search.num_asked for search in searches), num_steps, len(record.edits), arch)


def _seed(record: ReproduceRecord, latency: Callable[[ArchSpec], Latency]) -> ArchSpec:
    if record.config.network is not None:
        arch = resolve_network(record.config.network)
    else:
        seed = _best(record, latency)
        if seed.trial.number != record.seed_trial:
            raise ReplayDifferenceError(f"seed: trial {seed.trial.number} is chosen, recorded {record.seed_trial}")
        arch = seed.arch
    _check("seed", arch, record.stages[0].arch)
    return arch


def _best(record: ReproduceRecord, latency: Callable[[ArchSpec], Latency]) -> Seed:
    """Of the search: the same shortlist, the best by the recorded accuracies."""
    least = partial(with_and_without_edits, config=record.config)
    candidates = shortlist_of(record.trials, record.config, latency, _reference_ms(record.folder), least)
    if record.config.shortlist == 1:
        return candidates[0].seed
    now, then = [one.seed.trial.number for one in candidates], [entry.trial for entry in record.shortlist]
    if now != then:
        raise ReplayDifferenceError(f"shortlist: trials {now}, recorded {then}")
    num_correct = {entry.trial: entry.num_correct for entry in record.shortlist}
    entries = judged(candidates, num_correct, _num_holdout(record.folder))
    for entry, recorded in zip(entries, record.shortlist, strict=True):
        if entry != recorded:
            raise ReplayDifferenceError(f"shortlist: {entry}, recorded {recorded}")
    return candidates[entries.index(best_of(entries))].seed


def _redesigned(
    record: ReproduceRecord, arch: ArchSpec, latency: Callable[[ArchSpec], Latency], target_ms: float
) -> ArchSpec:
    """The edits tried again; by the recorded accuracies the same ones must be kept."""
    objective = record.config.search.objective.objective(target_ms)
    for section, trial in zip(record.config.redesign.edits, record.edits, strict=True):
        after = edited(arch, section.edit).arch
        if (after and str(after)) != trial.arch or section.edit != trial.edit:
            raise ReplayDifferenceError(f"edit {section.edit}: {after}, recorded {trial.arch}")
        if after is None:
            continue
        accuracy, change = _accuracies(trial)
        before_ms, after_ms = latency(arch).latency_ms, latency(after).latency_ms
        gain = objective.reward(accuracy, after_ms) - objective.reward(accuracy - change, before_ms)
        if trial.reward_change is None or not math.isclose(gain, trial.reward_change, abs_tol=PRICE_TOLERANCE):
            raise ReplayDifferenceError(f"edit {section.edit}: reward {gain:+.9f}, recorded {trial.reward_change}")
        if trial.kept != (section.keep == "always" or trial.reward_change > 0):
            raise ReplayDifferenceError(f"edit {section.edit}: recorded as {'kept' if trial.kept else 'left out'}")
        arch = after if trial.kept else arch
    return arch


def _accuracies(trial: EditTrial) -> tuple[float, float]:
    if trial.accuracy is None or trial.change is None:
        raise UserError(f"edit {trial.edit}: no accuracy is recorded; restore redesign.json from a copy")
    return trial.accuracy, trial.change


def _check_begins(stage: str, record: ReproduceRecord, arch: ArchSpec) -> None:
    """The adaptation of a stage must have begun with what the stage before has left."""
    adaptation = record.adaptation(stage)
    assert adaptation is not None, "it has been replayed"
    _check(f"{stage}: begins with", arch, str(joined_blocks(parse_arch(adaptation.seed.arch))))


def _check(what: str, now: ArchSpec, recorded: str) -> None:
    if str(now) != recorded:
        raise ReplayDifferenceError(f"{what}: {now}, recorded {recorded}")


def _reference_ms(folder: Path) -> float:
    document = read_json(folder / f"{DEVICE}.json", f"nas-reproduce-{DEVICE}", VERSION)
    return DeviceState.from_dict(document["state"]).reference_ms


def _num_holdout(folder: Path) -> int:
    name = SHORTLISTS[SEARCH]
    return int(read_json(folder / f"{name}.json", f"nas-reproduce-{name}", VERSION)["num_holdout"])


def _recorded_latencies(folder: Path) -> Callable[[ArchSpec], Latency]:
    networks = read_json(folder / f"{LATENCIES}.json", f"nas-reproduce-{LATENCIES}", VERSION)["networks"]

    def latency(arch: ArchSpec) -> Latency:
        if arch.key not in networks:
            raise ReplayDifferenceError(f"a network was not measured that would be now: {arch}")
        return Latency.from_dict(networks[arch.key]["latency"])

    return latency
