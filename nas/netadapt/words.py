"""Widths, amounts and steps of an adaptation in words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from nas.netadapt.cost import Resource, amount_text
from nas.netadapt.schedule import within
from nas.netadapt.step_record import CandidateRecord, StepRecord
from search_spaces.arch import ArchSpec
from search_spaces.arch_string import parse_arch
from search_spaces.narrowing import groups_of
from search_spaces.width_groups import ALL_KINDS

_IN_A_BLOCK = re.compile(r"b(?P<block>\d+)\.l\d+\.(?P<role>.+)")
_RESOURCES: dict[str, Resource] = {"ms": "latency", "MACs": "macs", "params": "params"}
"""Unit of a cost of one resource -> the resource."""
_PER_UNIT: dict[str, tuple[float, str]] = {
    "ms": (1.0, "points per ms"),
    "MACs": (1e6, "points per million MACs"),
    "params": (1e6, "points per million parameters"),
    "x budget": (0.01, "points per 1 % of the budget"),
}
"""Unit of a cost -> so much of it that a slope is a number to read, and what the slope is then called."""


def group_words(name: str, kind: str, members: Sequence[str] = ()) -> str:
    """A width of a network: ``block 7 expansion``, ``blocks 3-5 bottleneck``, ``stem``.

    Args:
        name: of the group (`search_spaces.width_groups.WidthGroup`).
        kind: of the group.
        members: its convolutions; without them only the block of the first one is known.
    """
    place = _IN_A_BLOCK.fullmatch(name)
    if place is None:
        return "hidden layer of the head" if name == "head.hidden" else kind
    # a depthwise convolution hands a width on; it stands in the block that reads it
    makers = [found for member in (name, *members) if (found := _IN_A_BLOCK.fullmatch(member))]
    blocks = sorted({int(maker["block"]) for maker in makers if maker["role"] != "depthwise"})
    where = f"{'block' if len(blocks) == 1 else 'blocks'} {_runs(blocks)}"
    return f"{where} {place['role'].replace('branch', 'branch ')}" if kind == "branch" else f"{where} {kind}"


def width_words(arch: ArchSpec) -> dict[str, str]:
    """Name -> words, for each width of `arch`, a layer a block, that may be narrowed."""
    groups = groups_of(arch)
    return {
        group.name: group_words(group.name, group.kind, group.members) for group in groups if group.kind in ALL_KINDS
    }


def step_words(step: StepRecord) -> dict[str, str]:
    """Name -> words, for the widths of the network that `step` began with."""
    return width_words(parse_arch(step.parent))


def saving_text(amount: float, unit: str) -> str:
    """A saving, three digits of it."""
    match unit:
        case "MACs" | "params":
            return f"{amount / 1e6:.3g} M {unit}"
        case "x budget":
            return f"{100 * amount:.3g} % of the budget"
    return f"{amount:.3g} {unit}"


def cost_text(cost: float, unit: str) -> str:
    """A cost as people read it; see `nas.netadapt.cost.CostModel.text`."""
    return amount_text(_RESOURCES[unit], cost) if unit in _RESOURCES else f"{cost:.3f} {unit}"


def slope_unit(unit: str) -> str:
    """What a slope is called where costs are in `unit`: ``points per ms``."""
    return _PER_UNIT[unit][1]


def slope_value(candidate: CandidateRecord, unit: str) -> float:
    """Change of accuracy in `slope_unit`, negative where accuracy falls."""
    return 100 * candidate.slope * _PER_UNIT[unit][0]


def narrowing_words(candidate: CandidateRecord, names: Mapping[str, str]) -> str:
    """``block 7 expansion 480 -> 384``."""
    words = names.get(candidate.group) or group_words(candidate.group, candidate.kind)
    return f"{words} {candidate.before} -> {candidate.after}"


def explanation(step: StepRecord, unit: str, rule: str = "slope", names: Mapping[str, str] | None = None) -> str:
    """Why a step went as it did: ``block 7 expansion 480 -> 384: -0.02 points per ms; next best block 2 ...: -0.05``.

    Args:
        step: as the journal has it.
        unit: of the costs.
        rule: of acceptance, a key of `nas.netadapt.selection.RULES`, or ``random``.
        names: of the parent's widths in words; worked out where they are not given.
    """
    names = step_words(step) if names is None else names
    choice = step.choice
    parts = [f"{narrowing_words(choice, names)}: {_merit(choice, unit, rule)}"]
    if rule == "random":
        parts[0] += ", drawn at random"
    else:
        parts.append(_next_best(step, unit, rule, names))
    if step.tied:
        others = [group for group in step.candidates if group.group in step.tied]
        tied = [names.get(candidate.group) or group_words(candidate.group, candidate.kind) for candidate in others]
        parts.append(f"not told apart from {', '.join(tied)}")
    if not within(step.asked, step.reduction):
        parts.append(f"no width saves {saving_text(step.asked, unit)}; {saving_text(step.reduction, unit)} asked for")
    return "; ".join(parts)


def ranked(candidates: Iterable[CandidateRecord], rule: str) -> list[CandidateRecord]:
    """Best first, by a rule of `nas.netadapt.selection`; equal ones as they come."""
    if rule == "accuracy":
        return sorted(candidates, key=lambda one: (-one.accuracy, -one.useful_saving))

    def value(one: CandidateRecord) -> tuple[float, ...]:
        """Those that lose nothing first, by what they save."""
        gains = one.accuracy_change >= 0
        return (0, -one.useful_saving, -one.accuracy) if gains else (1, -one.slope, -one.useful_saving)

    return sorted(candidates, key=value)


def _next_best(step: StepRecord, unit: str, rule: str, names: Mapping[str, str]) -> str:
    """The best of the others that are no ties; a candidate that fell out before was judged on less."""
    choice = step.choice
    others = [one for one in step.candidates if one.group not in {choice.group, *step.tied}]
    if not others:
        return "there was no other" if not step.tied else "no others"
    lasted = [one for one in others if not one.eliminated]
    best = ranked(lasted or others[:1], rule)[0]
    early = "" if lasted else ", fell out before"
    merit = _merit(best, unit, rule, short=_loses(choice) and _loses(best))
    return f"next best {narrowing_words(best, names)}: {merit}{early}"


def _merit(candidate: CandidateRecord, unit: str, rule: str, *, short: bool = False) -> str:
    """What the rule went by; `short` without the unit, where another has just said it."""
    if rule == "accuracy":
        return f"scores {100 * candidate.accuracy:.2f} %"
    if _loses(candidate):
        return signed(slope_value(candidate, unit)) + ("" if short else f" {slope_unit(unit)}")
    points = signed(100 * candidate.accuracy_change)
    return f"loses nothing ({points} points) and saves {saving_text(candidate.saving, unit)}"


def _loses(candidate: CandidateRecord) -> bool:
    return candidate.accuracy_change < 0


def signed(value: float) -> str:
    """A number with its sign: two digits of what is below 1, two decimals of the rest."""
    return f"{value:+.2g}" if 0.0005 <= abs(value) < 1 else f"{value:+.2f}"


def _runs(numbers: Sequence[int]) -> str:
    """Ascending numbers, neighbours joined: 2, 4-6."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def steps_text(number: int) -> str:
    """``1 step``, ``2 steps``."""
    return "1 step" if number == 1 else f"{number} steps"
