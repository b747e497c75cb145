"""The top of an adaptation's report: what came out, in one sentence, and what to be wary of."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from nas.netadapt.adapt_record import AdaptRecord
from nas.netadapt.adapt_tables import accuracy_text, points_text
from nas.netadapt.final_network import trusted
from nas.netadapt.network_difference import Difference, images_difference, trained_difference
from nas.netadapt.step_record import StepRecord
from nas.netadapt.words import cost_text
from nas.report_headline import arch_blocks
from nas.report_page import unbroken
from nas.report_tables import duration, latency_text, millions, percent
from search_spaces.arch_string import parse_arch


def outcome(record: AdaptRecord) -> str:
    """What came out, as one sentence with its intervals, whoever won."""
    seed, unit = record.seed, record.unit
    target = cost_text(seed.target, unit)
    if not record.steps:
        return f"No step has been accepted so far: {seed.network} has {cost_text(seed.cost, unit)}, the target is {target}."
    here = latency_text(record.latency) if unit == "ms" and record.latency else cost_text(record.cost, unit)
    share = percent(1 - record.cost / seed.cost)
    way = f"{seed.network} came down from {cost_text(seed.cost, unit)} to {here}, by {share}, in {_steps(len(record.steps))}"
    if not record.reached:
        return f"{way}, on its way to {target}; its held-out accuracy is {_held_out(record)}."
    return f"{way}; {_comparison(record)}."


def _steps(number: int) -> str:
    return f"{number} step" if number == 1 else f"{number} steps"


def _held_out(record: AdaptRecord) -> str:
    num_images = record.steps[-1].num_images if record.steps else record.seed.num_images
    before = percent(record.seed.accuracy)
    return f"{accuracy_text(record.accuracy, num_images)}, that of {record.seed.network} was {before}"


def _comparison(record: AdaptRecord) -> str:
    """Against the uniform multiplier, on test images if it can be."""
    adapted, uniform = record.final("adapted"), record.final("uniform")
    difference = trained_difference(adapted, uniform) if adapted and uniform else None
    if difference and uniform:
        number = (
            f"over {difference.number} seeds" if difference.over == "seeds" else "over test images, one training each"
        )
        rival = f"the uniform width multiplier at {cost_text(uniform.cost, record.unit)}"
        return f"trained from scratch, it is {_verdict(difference, rival, number)}"
    if record.uniform:
        one, other = record.steps[-1], record.uniform
        difference = images_difference(one.accuracy, one.num_images, other.accuracy, other.num_images)
        rival = f"the uniform width multiplier {other.multiplier:g} at {cost_text(other.cost, record.unit)}"
        return f"on held-out images, which chose its steps and flatter it, it is {_verdict(difference, rival, 'over images')}"
    return f"its held-out accuracy is {_held_out(record)}; no uniform width multiplier was compared"


def _verdict(difference: Difference, rival: str, number: str) -> str:
    low, high = difference.interval
    if difference.verdict == "not told apart":
        return f"not told apart from {rival}: {points_text(difference.mean, difference.interval)[:-1]}, {number})"
    if difference.verdict == "worse":
        low, high = -high, -low
    found = f"{100 * abs(difference.mean):.2f} points {difference.verdict} than {rival} "
    found += f"(95 %: {100 * low:.2f} to {100 * high:.2f}, {number})"
    return found if difference.verdict == "better" else f"{found}: the uniform network is the one to take"


def headline(record: AdaptRecord) -> str:
    """Title, sentence, warnings, tiles, facts."""
    state, badge = ("finished", "badge") if record.is_finished else ("unfinished", "badge open")
    if record.reached and not record.is_finished:
        state = "target reached"
    boxes = "".join(f'<div class="warning" role="note">{escape(text)}</div>' for text in warnings(record))
    return (
        f'<header><h1>{escape(record.name)}<span class="{badge}">{state}</span></h1>'
        f"<p class='lead'>{unbroken(outcome(record))}</p></header>{boxes}"
        f"{_tiles(record)}<div class='card'><dl>{_facts(record)}</dl></div>"
    )


def warnings(record: AdaptRecord) -> list[str]:
    """What makes the figures worth less than they look."""
    found = []
    untrusted = [str(s.step) for s in record.steps if any(one and one.status != "ok" for one in (s.latency, s.change))]
    if untrusted:
        found.append(
            f"Latencies of {_named(untrusted)} are less sure than was asked for, for the machine was disturbed; "
            "repeat them on a quiet machine before you rely on them."
        )
    coarse = [str(step.step) for step in record.steps if _is_coarse(step)]
    if coarse:
        found.append(
            f"What {_named(coarse)} saved is known to no better than half of it: larger steps (--schedule) or a quieter "
            "machine would tell more."
        )
    if num_unsure := sum(bool(step.tied) for step in record.steps):
        found.append(
            f"In {num_unsure} of {_steps(len(record.steps))} the accepted proposal was not told apart from others; "
            "more held-out images would tell more of them apart."
        )
    return found


def _is_coarse(step: StepRecord) -> bool:
    """Whether the interval of what a step saved is wider than half of what it was to save, each way."""
    if (change := trusted(step.change)) is None:
        return False
    low, high = change.ratio_interval
    return (high - low) / 2 > (1 - step.predicted_ratio) / 2


def _named(steps: Sequence[str]) -> str:
    return f"step {steps[0]}" if len(steps) == 1 else f"steps {', '.join(steps)}"


def _tiles(record: AdaptRecord) -> str:
    seed, unit, final = record.seed, record.unit, record.final("adapted")
    cells = [
        (f"{record.cost / seed.cost:.3f} L", "cost, L being the seed's", f"target {seed.target / seed.cost:.3f} L")
    ]
    if unit != "ms":
        cells.append((cost_text(record.cost, unit), "cost", f"{cost_text(seed.cost, unit)} before"))
    if record.latency:
        low, high = record.latency.interval_ms
        cells.append((f"{record.latency.latency_ms:.2f} ms", "latency", f"95 %: {low:.2f} to {high:.2f}"))
    cells.append((percent(record.accuracy), "held-out accuracy", f"{percent(seed.accuracy)} before"))
    if final and final.mean_correct is not None:
        interval = accuracy_text(final.mean_correct / final.num_test, final.num_test).partition("(")[2].rstrip(")")
        cells.append((percent(final.mean_correct / final.num_test), "test accuracy, from scratch", f"95 %: {interval}"))
    if final:
        cells += [(millions(final.macs), "multiply-adds", "adapted"), (millions(final.params), "parameters", "adapted")]
    tiles = "".join(
        f'<div class="tile"><span>{escape(label)}</span><b>{escape(value)}</b><span>{escape(more)}</span></div>'
        for value, label, more in cells
    )
    return f'<div class="tiles">{tiles}</div>'


def _facts(record: AdaptRecord) -> str:
    config, seed = record.config, record.seed
    latency = trusted(seed.latency)
    measured = f"; measured {latency_text(latency)}" if latency else ""
    facts = [
        ("Network", f"{seed.network}: {cost_text(seed.cost, seed.unit)}{measured}; weights: {seed.weights}"),
        ("Target", f"{cost_text(seed.target, seed.unit)} ({', '.join(config.budgets)})"),
        ("Data set", config.training.data.source),
        ("Schedule", f"{config.schedule} a step; widths: {config.groups}; rule: {record.rule}"),
        ("Wall time", f"{duration(sum(step.seconds for step in record.steps))} in {_steps(len(record.steps))}"),
    ]
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in facts)
    state = "Adapted" if record.reached else "So far"
    return f"{rows}<dt>{state}</dt><dd>{arch_blocks(parse_arch(record.arch))}</dd>"
