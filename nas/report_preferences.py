"""The page's section on what the controller has learned to prefer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from html import escape

from nas.policy_file import settled_policy
from nas.preferences import Preference, learned_preferences, strongest
from nas.report_record import RunRecord
from nas.study import ReplayError
from search_spaces.choice import Option

_LIKED, _DISLIKED = "37,99,235", "217,119,6"  # red, green, blue
_STRONGEST_TINT = 0.55  # dark text stays readable on it
_NUM_NAMED = 4


def preferences_section(record: RunRecord) -> str:
    """How often the controller would propose each option now, against uniform."""
    config, settled = record.config, None
    if config.evaluator.name == "one_shot":  # the controller learned before the first trial
        settled = settled_policy(record.folder, config.search_space.choices, config.seed)
    try:
        preferences = learned_preferences(config, record.trials, controller=settled)
    except ReplayError as error:
        return f"<p class='note'>The controller could not be brought back: {escape(str(error))}.</p>"
    winner = record.winner
    number = preferences[0].num_proposals
    taken: Mapping[str, Option] = winner.choices if winner else {}
    groups: dict[str, list[str]] = {}
    for preference in preferences:
        group, _, decision = preference.choice.name.rpartition(".")
        groups.setdefault(group, []).append(_decision(preference, decision, taken))
    cards = (
        f"<div class='group'><h3>{escape(name or 'decisions')}</h3>{''.join(rows)}</div>"
        for name, rows in groups.items()
    )
    noise = 100 * 1.96 * math.sqrt(0.25 / number)
    return (
        f"<p>{_finding(preferences)}</p><p class='note'>The journal was replayed through the controller "
        f"({escape(record.config.controller.name)}), which was then asked for {number} more networks. Shares are within "
        f"{noise:.0f} points of what they would be with endless asking (95 %).</p>"
        f"<p class='note key'><span><i style='background:rgba({_LIKED},{_STRONGEST_TINT})'></i>more often than uniform</span>"
        f"<span><i style='background:rgba({_DISLIKED},{_STRONGEST_TINT})'></i>less often</span>"
        "<span><i style='border:2px solid var(--red)'></i>taken by the winner</span></p>"
        f"<div class='groups'>{''.join(cards)}</div>"
    )


def _finding(preferences: list[Preference]) -> str:
    found = strongest(preferences, _NUM_NAMED)
    if not found:
        return "No option stands out from sampling noise: the controller has not learned a preference yet."
    options = "; ".join(
        f"<b>{escape(f'{p.choice.name} = {option}')}</b> ({p.share(option):.0%} of proposals, uniform {p.uniform:.0%})"
        for p, option in found
    )
    return f"Strongest preferences: {options}."


def _decision(preference: Preference, name: str, taken: Mapping[str, Option]) -> str:
    cells = "".join(_option(preference, option, taken) for option in preference.choice.options)
    return f"<div class='decision'><span title='{escape(name)}'>{escape(name)}</span>{cells}</div>"


def _option(preference: Preference, option: Option, taken: Mapping[str, Option]) -> str:
    share, name = preference.share(option), preference.choice.name
    by_winner = taken.get(name) == option
    hover = f"{name} = {option}: {share:.1%} of {preference.num_proposals} proposals, uniform {preference.uniform:.1%}"
    hover += "; taken by the winner" if by_winner else ""
    return (
        f"<div class='option{' taken' if by_winner else ''}' style='background:{_tint(share, preference.uniform)}' "
        f"title='{escape(hover)}'>{escape(str(option))}<small>{share:.0%}</small></div>"
    )


def _tint(share: float, uniform: float) -> str:
    """Blue above uniform, orange below; full strength at all of the way to always or never."""
    if share >= uniform:
        strength, colour = (share - uniform) / (1 - uniform) if uniform < 1 else 0.0, _LIKED
    else:
        strength, colour = (uniform - share) / uniform, _DISLIKED
    return f"rgba({colour},{_STRONGEST_TINT * strength:.3f})"
