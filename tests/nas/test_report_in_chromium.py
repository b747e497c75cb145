"""Reports as a person sees them: in a browser, at a desk and on a phone, without a network."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

import experiments
from nas.netadapt.adapt_report import write_adapt_report
from nas.report import write_report
from nas.reproduction.reproduce_report import write_reproduce_report
from tests.nas.chromium import needs_chromium, opened_page
from tests.nas.report_runs import add_finale, make_run

pytestmark = needs_chromium
RESULTS = Path(experiments.__file__).parent / "results"
ADAPTATION = RESULTS / "adapt_mobilenet_v2_imagenette64_2026-11-26"
REPRODUCTION = RESULTS / "reproduce_mobilenet_v3_large_imagenette64_2026-11-26"
SIZES = {"desk": (1280, 800), "phone": (390, 844)}


@dataclass(frozen=True)
class Seen:
    """A page after it was loaded.

    Attributes:
        complaints: errors on its console, exceptions, failed and foreign requests.
        num_figures: drawn by its scripts.
        width: of its content, in CSS pixels.
        text: that is visible.
    """

    complaints: list[str]
    num_figures: int
    width: int
    text: str


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    search = tmp_path_factory.mktemp("reports") / "search"
    make_run(search)
    add_finale(search)
    write_report(search)
    adaptation = search.with_name("adaptation")
    shutil.copytree(ADAPTATION, adaptation)
    write_adapt_report(adaptation)
    reproduction = search.with_name("reproduction")
    shutil.copytree(REPRODUCTION, reproduction)
    write_reproduce_report(reproduction)
    return {folder.name: folder / "report.html" for folder in (search, adaptation, reproduction)}


def look(report: Path, size: str) -> Seen:
    width, height = SIZES[size]
    complaints: list[str] = []
    with opened_page(width, height, phone=size == "phone") as page:
        page.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("requestfailed", lambda request: complaints.append(f"failed: {request.url}"))
        page.on(
            "request",
            lambda request: (
                None if request.url.startswith(("file:", "data:", "blob:")) else complaints.append(request.url)
            ),
        )
        page.goto(report.as_uri())
        page.wait_for_selector(".js-plotly-plot .main-svg")
        content = page.evaluate("document.documentElement.scrollWidth")
        return Seen(complaints, page.locator(".js-plotly-plot").count(), content, page.inner_text("body"))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("name", "words"),
    [("search", "Pareto front"), ("adaptation", "mobilenet_v2"), ("reproduction", "Final comparison")],
)
def test_a_report_is_drawn_without_complaints_and_fits(
    reports: dict[str, Path], name: str, words: str, size: str
) -> None:
    seen = look(reports[name], size)
    assert seen.complaints == []
    assert seen.num_figures >= 1
    assert words in seen.text
    assert seen.width <= SIZES[size][0]  # or one would scroll sideways
