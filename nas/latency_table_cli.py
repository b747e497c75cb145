"""``nas latency table build | validate`` and ``nas latency estimate``: arguments in, one call, printing out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from nas.errors import UserError

if TYPE_CHECKING:
    from latency.deployment import Deployment
    from latency.metered import Meter
    from latency.table import LatencyTable, Validation

table_app = typer.Typer(no_args_is_help=True, help="Latency tables: prices of operations instead of measurements.")

_EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells have it
_VALIDATION_KEYS = ("mape", "within_5_percent", "kendall_tau", "num_networks")

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
Device = Annotated[str, typer.Option(help="Where to measure; only 'local' for now.", metavar="DEVICE")]


@contextmanager
def opened_meter(device: str, deployment: Deployment) -> Iterator[Meter]:
    """The meter of `device`, closed in the end; what it reports as broken is a `UserError`."""
    from latency.cores import measuring_core
    from latency.meter_process import MeasuringError, MeterProcess

    if device != "local":
        raise UserError(f"--device {device!r}: unknown; allowed: local")
    try:
        with MeterProcess(measuring_core(), deployment) as meter:
            yield meter
    except MeasuringError as error:
        raise UserError(f"measuring failed: {error}") from None


@table_app.command("build")
def build_command(
    out: Annotated[Path, typer.Option(help="File to write.", metavar="FILE")],
    space: Annotated[
        str | None, typer.Option(help="Price the networks of this search space, or of a recipe's.", metavar="SPACE")
    ] = None,
    arch: Annotated[str | None, typer.Option(help="Price narrower variants of this network.", metavar="ARCH")] = None,
    device: Device = "local",
    minutes: Annotated[float, typer.Option(min=0, help="Stop after so long.")] = 10.0,
    networks: Annotated[int | None, typer.Option(min=2, help="Stop after so many, earlier ones included.")] = None,
    resolution: Annotated[int, typer.Option(min=8, help="Side of the input in pixels.")] = 224,
    num_classes: Annotated[int, typer.Option(min=1, help="Outputs of the classifier.")] = 1000,
    reference: Annotated[str, typer.Option(help="Network that ratios refer to.", metavar="ARCH")] = "mobilenet_v2",
) -> None:
    """Measure and profile whole networks, and make a table of what their operations cost.

    An interrupted build goes on where it was when the command is given again.
    """
    from latency.deployment import Deployment
    from nas.latency_table import build, population_of
    from nas.network import resolve_network

    population, yardstick = population_of(space, arch), resolve_network(reference)
    if not out.absolute().parent.is_dir():
        raise UserError(f"{out}: there is no folder {out.absolute().parent}; make it first")
    console = Console(stderr=True)
    try:
        with opened_meter(device, Deployment(resolution=resolution)) as meter:
            table = build(
                meter,
                population,
                out,
                yardstick,
                num_classes=num_classes,
                seconds=60 * minutes,
                num_networks=networks,
                console=console,
            )
    except KeyboardInterrupt:
        console.print("interrupted; the same command goes on where this one stopped")
        raise typer.Exit(_EXIT_INTERRUPTED) from None
    Console().print(
        f"{out}: {len(table.rows)} operations from {len(table.networks)} networks, which it misses by "
        f"{table.correction.relative_sd:.1%}; for others ask: nas latency table validate {out}",
        highlight=False,
        soft_wrap=True,
    )


@table_app.command("validate")
def validate_command(
    file: Annotated[Path, typer.Argument(help="A table that `nas latency table build` made.", metavar="FILE")],
    networks: Annotated[int, typer.Option(min=2, help="Number of fresh random networks.")] = 60,
    seed: Annotated[int, typer.Option(min=0, max=999_999, help="Draws them.")] = 0,
    device: Device = "local",
    as_json: Json = False,
) -> None:
    """Measure fresh random networks and say how far the table is off; the result is kept in FILE."""
    from nas.latency_table import keep_table, read_table, validated

    table = read_table(file)
    with opened_meter(device, table.device.deployment) as meter:
        table = validated(table, meter, networks, seed, Console(stderr=True))
    keep_table(table, file)
    assert table.validation is not None
    _print_validation(table.validation, as_json)


def _print_validation(found: Validation, as_json: bool) -> None:
    if as_json:
        print(json.dumps({key: getattr(found, key) for key in _VALIDATION_KEYS}, indent=1, allow_nan=False))
        return
    console = Console()
    console.print(
        f"{found.num_networks} networks: {found.mape:.2%} off on average, {found.within_5_percent:.1%} within 5 %, "
        f"Kendall tau {found.kendall_tau:.3f}",
        highlight=False,
    )
    rows = Table("worst networks", "table", "measured", "error")
    for case in found.worst:
        error = case.table_ms / case.measured_ms - 1
        rows.add_row(case.arch, f"{case.table_ms:.3f} ms", f"{case.measured_ms:.3f} ms", f"{error:+.1%}")
    console.print(rows)


def estimate_command(
    archs: Annotated[list[str], typer.Argument(help="Zoo names, architecture strings, JSON files.", metavar="ARCH...")],
    table: Annotated[Path, typer.Option("--table", help="Table with the prices.", metavar="FILE")],
    as_json: Json = False,
) -> None:
    """Price networks with a table, without measuring."""
    from nas.latency_table import read_table

    prices = read_table(table)
    rows = [_estimate(prices, text) for text in archs]
    if as_json:
        print(json.dumps(rows, indent=1, allow_nan=False))
        return
    shown = Table("network", "latency", "95 % interval", "interpolated")
    for row in rows:
        low, high = row["interval_ms"]
        interpolated = "yes" if row["interpolated"] else "no"
        shown.add_row(row["arch"], f"{row['latency_ms']:.3f} ms", f"{low:.3f} to {high:.3f}", interpolated)
    Console().print(shown)


def _estimate(table: LatencyTable, text: str) -> dict[str, Any]:
    from latency.table import MissingKeysError
    from nas.network import resolve_network

    arch = resolve_network(text)
    try:
        latency = table.price(arch)
    except MissingKeysError as error:
        raise UserError(f"{text}: {error}") from None
    return {
        "arch": text,
        "latency_ms": latency.latency_ms,
        "interval_ms": list(latency.interval_ms),
        "interpolated": bool(table.interpolated(arch)),
        "source": latency.source,
    }
