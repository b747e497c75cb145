from __future__ import annotations

from datetime import date

from rich.console import Console

from latency.device_info import DeviceInfo
from nas.claims.claim import Claim, Finding
from nas.claims.examination import Result
from nas.claims.page import Setting, console_table, markdown_page, summary

CLAIM = Claim(3, "a | b", published="[1]", source="a paper")
RESULTS = [
    Result(
        CLAIM, (("analysis", Finding("1.0 [x]", "holds")), ("latency", Finding("2.0", "fails here", "It fuses."))), ""
    ),
    Result(Claim(5, "c", published="2", source="d", awaits="a stage"), (), "a stage"),
]
SETTING = Setting("nas claims", date(2026, 2, 1), "0.1.0", DeviceInfo.collect())


def rows(page: str) -> list[str]:
    return [line for line in page.splitlines() if line.startswith(("| 3", "| 5"))]


def test_one_row_a_claim_and_the_reason_below() -> None:
    page = markdown_page(RESULTS, SETTING)
    assert rows(page) == [
        "| 3 | a \\| b | [1] | a paper | 1.0 [x]; 2.0 | fails here | analysis, latency |",
        "| 5 | c | 2 | d | a stage | not checked | - |",
    ]
    assert "**3, fails here.** It fuses." in page
    assert page.endswith("\n")
    assert not page.endswith("\n\n")


def test_the_page_says_where_when_and_how() -> None:
    page = markdown_page(RESULTS, SETTING)
    for part in (DeviceInfo.collect().cpu, DeviceInfo.collect().onnxruntime, "2026-02-01", "`nas claims` of nas 0.1.0"):
        assert part in page
    assert "Nothing was measured." in markdown_page(RESULTS, Setting("nas claims", date(2026, 2, 1), "0.1.0", None))
    assert "## Why" not in markdown_page(RESULTS[1:], SETTING)


def test_the_table_shows_brackets_as_they_are() -> None:
    console = Console(width=200)
    with console.capture() as capture:
        console.print(console_table(RESULTS))
    assert "1.0 [x]; 2.0" in capture.get()


def test_summary() -> None:
    assert summary(RESULTS) == "2 claims: 1 fails here, 1 not checked."
