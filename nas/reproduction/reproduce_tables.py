"""The tables of a reproduction as text cells, so that the terminal and the page cannot disagree."""

from __future__ import annotations

from collections.abc import Sequence

from latency.latency import Latency
from nas.netadapt.adapt_tables import accuracy_text, points_text, widths_of
from nas.netadapt.final_network import FinalNetwork
from nas.netadapt.words import steps_text, width_words
from nas.report_tables import TextTable, latency_text, millions, percent
from nas.reproduction.reproduce_record import FOUND, ReproduceRecord
from nas.reproduction.reproduce_run import ADAPT
from nas.reproduction.shortlisted import Shortlisted, best_of
from search_spaces.arch_string import parse_arch
from search_spaces.count import count
from search_spaces.edits import one_layer_blocks
from search_spaces.lower import lower
from search_spaces.zoo import get

_NONE = "-"
WORDS = {FOUND: "found", "uniform": "found seed, uniform multiplier", "random": "random search, uniform multiplier"}
"""Name of a network of the comparison -> words; published ones go by their names."""


def words(name: str) -> str:
    """What a network of the comparison is called."""
    return WORDS.get(name, name)


def stages_table(record: ReproduceRecord) -> TextTable:
    """What each stage has left."""
    section = record.config.search.latency
    rows = []
    for stage in record.stages:
        if stage.name == "redesign" and not record.config.redesign.edits:
            continue
        counts = count(lower(parse_arch(stage.arch), section.resolution, section.num_outputs))
        rows.append(
            (
                _stage_words(record, stage.name),
                latency_text(stage.latency),
                millions(counts.macs),
                millions(counts.params),
            )
        )
    return TextTable(("stage", "latency", "MACs", "params"), tuple(rows))


def _stage_words(record: ReproduceRecord, name: str) -> str:
    match name:
        case "seed":
            named = record.config.network
            return f"seed: {named}" if named else f"seed: trial {record.seed_trial} of {len(record.trials)}"
        case "adapt":
            found = record.adaptation(ADAPT)
            return f"NetAdapt, {steps_text(len(found.steps))}" if found else "NetAdapt"
        case "redesign":
            kept = [trial.edit for trial in record.edits if trial.kept]
            return f"redesign: {', '.join(kept) or 'no edit'} kept"
        case _:
            found = record.adaptation(name)
            return f"NetAdapt to the target, {steps_text(len(found.steps))}" if found else name


def shortlist_table(entries: Sequence[Shortlisted]) -> TextTable:
    """The best trials of a search, brought to the target and trained longer."""
    best = best_of(entries) if entries else None
    rows = []
    for entry in entries:
        wider = f", widths x {entry.multiplier:g}" if entry.multiplier != 1 else ""
        rows.append(
            (
                f"{entry.trial}{wider}",
                percent(entry.searched_accuracy),
                f"{entry.fitted_multiplier:g}",
                f"{entry.fitted_ms:.2f} ms",
                percent(entry.accuracy),
                "the seed" if entry is best else "",
            )
        )
    headings = ("trial", "accuracy in the search", "multiplier", "latency", "accuracy, trained longer", "")
    return TextTable(headings, tuple(rows))


def redesign_table(record: ReproduceRecord) -> TextTable:
    """Each edit by hand, what it does, whether it was kept."""
    rows = []
    for trial in record.edits:
        if trial.change is None or trial.half_width is None or trial.latency_ratio is None or trial.accuracy is None:
            rows.append((trial.edit, "no", _NONE, _NONE, _NONE, trial.reason))
            continue
        interval = (trial.change - trial.half_width, trial.change + trial.half_width)
        rows.append(
            (
                trial.edit,
                "yes" if trial.kept else "no",
                f"{100 * (trial.latency_ratio - 1):+.1f} %",
                percent(trial.accuracy),
                points_text(trial.change, interval),
                f"{trial.reason} ({trial.reward_change:+.4f})",
            )
        )
    return TextTable(("edit", "kept", "latency", "held-out accuracy", "change", "why"), tuple(rows))


def final_table(record: ReproduceRecord) -> TextTable:
    """All networks, trained alike from scratch; the accuracy is the mean of the trainings."""
    headings = ("network", "latency", "of the target", "test accuracy", "each training", "MACs", "params")
    return TextTable(headings, tuple(_final_row(record, network) for network in record.networks))


def _final_row(record: ReproduceRecord, network: FinalNetwork) -> tuple[str, ...]:
    mean = network.mean_correct
    accuracy = _NONE if mean is None else accuracy_text(mean / network.num_test, network.num_test, 2)
    each = ", ".join(f"{100 * accuracy:.1f}" for accuracy in network.accuracies.values())
    share = _NONE if record.target_ms is None else percent(network.cost / record.target_ms)
    latency = latency_text(network.latency) if network.latency else _NONE
    return words(network.name), latency, share, accuracy, each, millions(network.macs), millions(network.params)


def differences_table(record: ReproduceRecord) -> TextTable:
    """What was found against each of the others, and how sure the difference is."""
    rows = [
        (
            words(other.name),
            found.verdict,
            points_text(found.mean, found.interval),
            f"{found.number} {'seeds' if found.over == 'seeds' else 'images'}",
        )
        for other, found in record.differences
    ]
    return TextTable(("against", "it is", "difference", "interval over"), tuple(rows))


def int8_table(record: ReproduceRecord) -> TextTable:
    """The first training of each network, in float32 and quantised."""
    rows = []
    for network in record.networks:
        if (quantised := record.int8.get(network.name)) and network.trained:
            before, after = network.trained[0].num_correct / network.num_test, quantised.num_correct / network.num_test
            rows.append(
                (
                    words(network.name),
                    percent(before, 2),
                    percent(after, 2),
                    f"{100 * (after - before):+.2f}",
                    _ms(network.latency),
                    _ms(quantised.latency),
                )
            )
    headings = ("network", "float32 accuracy", "int8 accuracy", "points", "float32 latency", "int8 latency")
    return TextTable(headings, tuple(rows))


def _ms(latency: Latency | None) -> str:
    return latency_text(latency) if latency else _NONE


PUBLISHED = "mobilenet_v3_large"
"""What NetAdapt made of `_PUBLISHED_SEED` on its authors' device."""
_PUBLISHED_SEED = "mnasnet_a1"


def widths_table(record: ReproduceRecord) -> TextTable | None:
    """Expansions of MnasNet-A1 after NetAdapt here, beside those of MobileNetV3-Large; None for another seed."""
    found = record.adaptation(ADAPT)
    if found is None or record.config.network != _PUBLISHED_SEED:
        return None
    names = width_words(one_layer_blocks(parse_arch(found.seed.arch)))
    seed, here = widths_of(found.seed.arch), widths_of(found.arch)
    there = list(_expansions(str(get(PUBLISHED))).values())
    rows = []
    for number, name in enumerate(_expansions(found.seed.arch)):
        published = str(there[number]) if number < len(there) else "left out by the last stage"
        rows.append((names[name], str(seed[name]), str(here[name]), published))
    return TextTable(("width", "MnasNet-A1", "NetAdapt here", "MobileNetV3-Large"), tuple(rows))


def _expansions(arch: str) -> dict[str, int]:
    return {name: width for name, width in widths_of(arch).items() if name.endswith(".expand")}
