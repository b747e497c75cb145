"""The top of a report: what was searched, where, how it ended, and what to be wary of."""

from __future__ import annotations

from html import escape

from nas.calibration import DeviceCalibration
from nas.config import Config
from nas.objective import Objective
from nas.report_record import RunRecord, measured
from nas.report_tables import duration, latency_text, millions, percent
from search_spaces.arch import ArchSpec

SHOWN_REASONS = 6
_OVER = {
    "worst": "the largest latency / target",
    "mean": "the mean latency / target",
    "each": "the mean of the devices' rewards",
}


def headline(record: RunRecord) -> str:
    """Title, warnings, tiles, facts."""
    badge = (
        '<span class="badge">finished</span>' if record.is_finished else '<span class="badge open">unfinished</span>'
    )
    lead = f"Architecture search for {record.config.data.source} at {record.objective.target_ms:.2f} ms"
    return (
        f"<header><h1>{escape(record.name)}{badge}</h1><p class='lead'>{escape(lead)}</p></header>"
        f"{_warnings(record)}{_tiles(record)}<div class='card'><dl>{_facts(record)}</dl></div>"
    )


def _warnings(record: RunRecord) -> str:
    boxes = []
    if not record.networks:
        boxes.append("<b>No trial has succeeded so far.</b>")
    if record.failures:
        shown = record.failures[:SHOWN_REASONS]
        reasons = "".join(f"<li>{number} x {escape(reason)}</li>" for reason, number in shown)
        left = len(record.failures) - len(shown)
        more = f"<li>and {left} more reasons in trials.jsonl</li>" if left else ""
        boxes.append(f"<b>{record.num_failed} of {record.num_distinct} networks failed.</b><ul>{reasons}{more}</ul>")
    if record.spread.warning:
        boxes.append(escape(record.spread.warning))
    return "".join(f'<div class="warning" role="note">{box}</div>' for box in boxes)


def _tiles(record: RunRecord) -> str:
    winner, final, config = record.winner, record.final_winner, record.config
    tiles = []
    if winner and winner.accuracy is not None:
        tiles += [
            (f"{winner.reward:.4f}", "best reward", f"trial {winner.number}"),
            (percent(winner.accuracy), config.evaluator.label, "in the search"),
        ]
        latency = (measured(final) if final else None) or winner.latency
        if latency and latency.status != "failed":
            low, high = latency.interval_ms
            tiles.append((f"{latency.latency_ms:.2f} ms", "latency", f"95 %: {low:.2f} to {high:.2f}"))
    if final:
        low, high = final.accuracy_interval
        tiles.append((percent(final.accuracy), "test accuracy", f"95 %: {100 * low:.1f} to {100 * high:.1f}"))
    if winner:
        pixels = record.config.latency.resolution
        tiles += [
            (millions(winner.macs), "multiply-adds", f"at {pixels} px"),
            (millions(winner.params), "parameters", f"{record.config.latency.num_outputs} classes"),
        ]
    cells = (
        f'<div class="tile"><span>{escape(label)}</span><b>{escape(value)}</b><span>{escape(more)}</span></div>'
        for value, label, more in tiles
    )
    return f'<div class="tiles">{"".join(cells)}</div>' if tiles else ""


def _facts(record: RunRecord) -> str:
    config, winner = record.config, record.winner
    trials = f"{record.num_distinct} of {config.trials} distinct networks, {record.num_failed} of them failed; "
    trials += f"{record.num_rejected} suggestions rejected by constraints, {record.num_repeats} repeats"
    facts = [
        _accuracies(config),
        *_devices(record),
        ("Latencies", _latencies(record)),
        ("Target", f"{record.objective.target_ms:.3f} ms ({config.objective.target})"),
        ("Reward", _reward(record)),
        ("Controller", f"{config.controller.name}, seed {config.seed}, space {config.search_space.name}"),
        ("Trials", trials),
        ("Wall time", duration(record.wall_s) if record.wall_s is not None else "nothing finished yet"),
    ]
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in facts)
    if winner:
        state = "Winner" if record.winner_number is not None else "Best so far"
        at = escape(f"trial {winner.number}: reward {winner.reward:.4f}, {latency_text(winner.latency)}")
        rows += f"<dt>{state}</dt><dd>{at}<br>{arch_blocks(winner.arch)}</dd>"
    return rows


def _accuracies(config: Config) -> tuple[str, str]:
    """Where they are from: a table of networks that others trained, or images."""
    if config.evaluator.name == "table":
        table = f"{config.evaluator.label}, predicted from column {config.evaluator.target} of {config.evaluator.table}"
        return "Accuracies", table
    return "Data set", f"{config.data.source}, trained at {config.data.resolution} px"


def arch_blocks(arch: ArchSpec) -> str:
    """An architecture string that wraps between blocks."""
    return "<code>" + " ".join(f"<span>{escape(block)}</span>" for block in str(arch).split()) + "</code>"


def _devices(record: RunRecord) -> list[tuple[str, str]]:
    """A fact for each device."""
    several = len(record.devices) > 1
    facts = []
    for name, calibration in record.calibration.devices.items():
        text = device_text(record, calibration)
        facts.append(
            (f"Device {name}", f"target {calibration.target_ms:.3f} ms; {text}") if several else ("Device", text)
        )
    return facts


def device_text(record: RunRecord, calibration: DeviceCalibration) -> str:
    """A device in words: its processor and how networks are deployed there."""
    if calibration.state is None:
        return f"latencies recorded in {record.config.latency.run}"
    device, state = calibration.state.device, calibration.state
    threads = f"{device.num_threads} thread" + ("s" if device.num_threads != 1 else "")
    return (
        f"{device.cpu} ({device.num_cores} cores, {device.machine}), ONNX Runtime {device.onnxruntime}, "
        f"{threads}, batch {device.batch}, {device.dtype}, {device.resolution} px; "
        f"{record.config.latency.reference} in {state.reference_ms:.2f} ms"
    )


def _latencies(record: RunRecord) -> str:
    section = record.config.latency
    goal = f"; aimed half-width {percent(section.half_width)}, at most {section.budget_s:g} s a network"
    return record.sources + (goal if section.name in ("measure", "hybrid") else "")


def _reward(record: RunRecord) -> str:
    objective = record.objective
    over = "" if len(record.devices) == 1 else f"; over devices: {_OVER[record.config.latency.over_devices]}"
    return f"{_reward_formula(objective)}{over}"


def _reward_formula(objective: Objective) -> str:
    if objective.form == "absolute":
        return f"accuracy - {-objective.beta:g} x |latency / target - 1|"
    if objective.alpha == objective.beta:
        return f"accuracy x (latency / target)^{objective.beta:g}"
    return f"accuracy x (latency / target)^w, w = {objective.alpha:g} up to the target, {objective.beta:g} above"
