"""`nas claims`: what the papers say, and what this program finds."""

from __future__ import annotations

import contextlib
import shlex
import sys
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

import nas
from nas.errors import UserError
from nas.latency_cli import Json, print_json

if TYPE_CHECKING:
    from latency.device_info import DeviceInfo
    from latency.metered import Meter
    from nas.claims.examination import Options, Result

Say = Callable[[str], None]


def claims_command(
    numbers: Annotated[
        list[int] | None, typer.Argument(help="Claims to check; all by default.", metavar="NUMBER...")
    ] = None,
    as_json: Json = False,
    long: Annotated[bool, typer.Option("--long", help="Also checks that measure for minutes.")] = False,
    train: Annotated[bool, typer.Option("--train", help="Also checks that train networks.")] = False,
    latency: Annotated[bool, typer.Option("--latency/--no-latency", help="Checks that measure on this device.")] = True,
    fresh: Annotated[bool, typer.Option("--fresh", help="Measure anew what was measured before.")] = False,
    markdown: Annotated[Path | None, typer.Option(help="Also write a page.", metavar="FILE")] = None,
) -> None:
    """Check published claims about efficient networks: by analysis, by latency on this device, by training."""
    from nas.claims.examination import Options
    from nas.claims.page import Setting, console_table, markdown_page, reasons, summary

    options = Options(latency=latency, long=long, training=train)
    results, device = _results(numbers or [], options, fresh)
    if markdown is not None:
        setting = Setting(f"nas {shlex.join(sys.argv[1:])}", date.today(), nas.__version__, device)
        _write(markdown, markdown_page(results, setting))
    if as_json:
        print_json([result.to_dict() for result in results])
        return
    console = Console()
    console.print(console_table(results))
    for result, why in reasons(results):
        console.print(f"{result.claim.number}: {why}", highlight=False, markup=False)
    console.print(summary(results), highlight=False)


def _results(numbers: list[int], options: Options, fresh: bool) -> tuple[list[Result], DeviceInfo | None]:
    """Results, and the device if one of the checks that were run could measure."""
    from nas.claims.examination import examine
    from nas.claims.lab import Lab
    from nas.claims.registry import registry

    known = registry()
    checks = [check for claim in known.chosen(numbers) for check in known.checks[claim.number]]
    measures = any(check.kind == "latency" and not options.lacking(check) for check in checks)
    with _progress() as say, _meter(measures, fresh) as meter:
        lab = Lab(meter, say=say)
        results = []
        for result in examine(known, numbers, lab, options):
            results.append(result)
            say(f"checked claim {result.claim.number}")
        return results, meter.device if meter else None


@contextlib.contextmanager
def _progress() -> Iterator[Say]:
    """Shows on standard error what is being done."""
    console = Console(stderr=True)
    with Progress(
        SpinnerColumn(), TimeElapsedColumn(), TextColumn("{task.description}"), console=console, transient=True
    ) as progress:
        task = progress.add_task("checking claims")
        yield lambda what: progress.update(task, description=what)


@contextlib.contextmanager
def _meter(wanted: bool, fresh: bool) -> Iterator[Meter | None]:
    """This machine's meter, remembering; None if nothing is to be measured."""
    if not wanted:
        yield None
        return
    from latency.cores import measuring_core
    from latency.meter_process import MeasuringError, MeterProcess
    from nas.measurement_cache import CachedMeter

    try:
        with MeterProcess(measuring_core()) as process:
            yield CachedMeter(process, fresh=fresh)
    except MeasuringError as error:
        raise UserError(str(error)) from None


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; choose another file with --markdown FILE") from None
