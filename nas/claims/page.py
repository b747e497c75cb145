"""Results as a table for the terminal and as a Markdown page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

import rich.box
from rich.table import Table
from rich.text import Text

from nas.claims.claim import Verdict

if TYPE_CHECKING:
    from latency.device_info import DeviceInfo
    from nas.claims.examination import Result

_STYLES: dict[Verdict, str] = {
    "holds": "green",
    "holds in direction": "cyan",
    "not separated": "blue",
    "fails here": "yellow",
    "the notes are wrong": "magenta",
    "not checked": "dim",
}
_VERDICTS: tuple[Verdict, ...] = tuple(_STYLES)


@dataclass(frozen=True, slots=True)
class Setting:
    """Where and when claims were examined.

    Attributes:
        command: that does it again.
        today: the date.
        version: of this program.
        device: what measured; None if nothing was.
    """

    command: str
    today: date
    version: str
    device: DeviceInfo | None


def console_table(results: Iterable[Result]) -> Table:
    """One row a claim."""
    table = Table(box=rich.box.SIMPLE_HEAD, leading=1, padding=(0, 1, 0, 0), expand=True)
    table.add_column("", justify="right", no_wrap=True)
    for name, share in (("claim", 3), ("source", 2), ("published", 3), ("found here", 4), ("verdict", 2)):
        table.add_column(name, ratio=share, overflow="fold")
    for result in results:
        claim, verdict = result.claim, result.verdict
        cells = (str(claim.number), claim.text, claim.source, claim.published, result.found)
        table.add_row(*map(Text, cells), Text(verdict, _STYLES[verdict]))  # Text: brackets are no markup
    return table


def summary(results: Sequence[Result]) -> str:
    """How many of each verdict."""
    verdicts = [result.verdict for result in results]
    counted = [f"{verdicts.count(verdict)} {verdict}" for verdict in _VERDICTS if verdict in verdicts]
    return f"{len(results)} claims: {', '.join(counted)}."


def _where(setting: Setting) -> str:
    device = setting.device
    if device is None:
        return "Nothing was measured."
    return (
        f"Latency ratios were measured on {device.cpu}, {device.num_cores} logical cores, with ONNX Runtime "
        f"{device.onnxruntime}, one thread, batch 1, float32."
    )


def _intro(results: Sequence[Result], setting: Setting) -> str:
    return f"""# Claims about efficient networks, and what is found here

Each claim is one that notes on the papers make, with the figure that was published, and what this program finds: by
*analysis* (counting the op graph, closed forms), by *simulation*, by measured *latency* ratio on this device, or by
short paired *training*. A latency is always a ratio of two networks measured in turns; its 95 % interval stands in
parentheses. Milliseconds of a phone do not carry over to another processor, signs and rough ratios may. Trainings are of
small networks on the digits of scikit-learn, and test directions.

| verdict | means |
| --- | --- |
| holds | found as published: counts within their rounding, a ratio's interval within 10 % and half to twice as far from 1 |
| holds in direction | the sign is as published, the size is not |
| not separated | the interval of what was measured holds both the claim and its opposite |
| fails here | published, but this program or device finds something else: a finding, with its reason below |
| the notes are wrong | the notes say something else than what was published, or than what can be found |
| not checked | says what it would take |

Written by `{setting.command}` of nas {setting.version} on {setting.today.isoformat()}. {_where(setting)}
{summary(results)}
"""


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _row(result: Result) -> str:
    claim = result.claim
    cells = (
        str(claim.number),
        claim.text,
        claim.published,
        claim.source,
        result.found,
        result.verdict,
        ", ".join(result.kinds) or "-",
    )
    return f"| {' | '.join(map(_cell, cells))} |"


def reasons(results: Iterable[Result]) -> list[tuple[Result, str]]:
    """The results that have something to explain, with the explanation."""
    return [(result, result.why) for result in results if result.why]


def _why(results: Iterable[Result]) -> list[str]:
    told = [f"**{result.claim.number}, {result.verdict}.** {why}\n" for result, why in reasons(results)]
    return ["", "## Why", "", *told] if told else []


def markdown_page(results: Sequence[Result], setting: Setting) -> str:
    """The page: what it is, one table, and the reasons where a claim does not simply hold."""
    lines = [
        _intro(results, setting),
        "| | claim | published | source | found here | verdict | by |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        *map(_row, results),
        *_why(results),
    ]
    return "\n".join(lines).rstrip() + "\n"
