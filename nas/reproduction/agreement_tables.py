"""Two reproductions side by side, as text."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

from nas.netadapt.adapt_tables import points_text
from nas.report_layers import LayerCost
from nas.report_tables import TextTable, latency_text, millions, percent
from nas.reproduction.agreement import Agreement, SharedDecisions, found, parts
from nas.reproduction.reproduce_record import ReproduceRecord

NAMES = ("A", "B")
"""What the first run and the other one are called in tables."""


def verdict(agreement: Agreement) -> str:
    """Whether the two agree, in two sentences or three."""
    records = zip(NAMES, (agreement.one, agreement.other), strict=True)
    lines = [f"{name}  {record.name}: {_landing(record)}" for name, record in records]
    difference = agreement.difference
    if difference is None:
        lines.append("Test accuracies: one of them was not trained from scratch, so that nothing can be said.")
    else:
        lines.append(
            f"Test accuracy, A less B: {points_text(difference.mean, difference.interval)}, over "
            f"{difference.number} {difference.over}: {difference.verdict}."
        )
    if overall := agreement.overall:
        low, high = overall.range_by_chance
        lines.append(
            f"Of {overall.number} decisions {overall.equal} are equal; two networks drawn at random share "
            f"{overall.by_chance:.1f} ({low} to {high})."
        )
    return "\n".join(lines)


def settings_table(agreement: Agreement) -> TextTable:
    """Where the recipes differ."""
    rows = tuple((key, str(first), str(second)) for key, (first, second) in agreement.settings.items())
    return TextTable(("setting", *NAMES), rows)


def outcomes_table(agreement: Agreement) -> TextTable:
    """What either found, and how it compares within its run."""
    return TextTable(
        ("", *NAMES),
        tuple(zip(_OUTCOMES, *(_outcome(record) for record in (agreement.one, agreement.other)), strict=True)),
    )


_OUTCOMES = ("latency", "target", "test accuracy, each", "mean", "better than the published one by", "MACs", "params")


def _outcome(record: ReproduceRecord) -> tuple[str, ...]:
    network = found(record)
    against = next((one for other, one in record.differences if other.name == record.to_beat), None)
    mean = network.mean_correct
    return (
        latency_text(network.latency),
        "-" if record.target_ms is None else f"{record.target_ms:.2f} ms",
        ", ".join(f"{100 * accuracy:.1f}" for accuracy in network.accuracies.values()),
        "-" if mean is None else percent(mean / network.num_test, 2),
        points_text(against.mean, against.interval) if against else "-",
        millions(network.macs),
        millions(network.params),
    )


def decisions_table(agreement: Agreement) -> TextTable:
    """How many decisions of each kind are equal."""
    return TextTable(("decision", "equal", "by chance"), tuple(map(_decisions_row, agreement.decisions)))


def _decisions_row(shared: SharedDecisions) -> tuple[str, str, str]:
    low, high = shared.range_by_chance
    return shared.kind, f"{shared.equal} of {shared.number}", f"{shared.by_chance:.1f} ({low} to {high})"


def parts_table(agreement: Agreement) -> TextTable:
    """What either network does at each resolution."""
    first, second = ({part.resolution: part for part in parts(record)} for record in (agreement.one, agreement.other))
    rows = []
    for resolution in sorted(first.keys() | second.keys(), reverse=True):
        cells = [side.get(resolution) for side in (first, second)]
        shares = [percent(part.share, 0) if part else "-" for part in cells]
        layers = [_layers(part.layers) if part else "-" for part in cells]
        rows.append((f"{resolution} px", shares[0], layers[0], shares[1], layers[1]))
    return TextTable(("output", "MACs", NAMES[0], "MACs", NAMES[1]), tuple(rows))


def _layers(layers: Iterable[LayerCost]) -> str:
    """Equal neighbours once, with their number."""
    words = []
    for text, group in groupby(map(_layer, layers)):
        number = len(list(group))
        words.append(f"{number} x {text}" if number > 1 else text)
    return "; ".join(words)


def _layer(layer: LayerCost) -> str:
    kernel = f"{layer.kernel}x{layer.kernel} " if layer.kernel and layer.kernel > 1 else ""
    channels = f" to {layer.shape[0]}" if layer.shape else ""
    return f"{kernel}{layer.kind}{channels}"


def _landing(record: ReproduceRecord) -> str:
    network = found(record)
    if record.target_ms is None or network.latency is None:
        return latency_text(network.latency)
    return f"{latency_text(network.latency)}, {100 * (network.cost / record.target_ms - 1):+.1f} % from its target."
