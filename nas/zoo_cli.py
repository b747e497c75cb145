"""`nas zoo ...`: the published networks, counted, measured, compared, drawn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from nas.latency_cli import Arch, Archs, Grade, GradeName, Json, NumClasses, OwnResolution, print_json

if TYPE_CHECKING:
    from nas.network import NamedNetwork
    from nas.zoo_latency import MeasuredNetwork
    from search_spaces.zoo import Published

zoo_app = typer.Typer(no_args_is_help=True, help="Published networks.")

SqueezeRatio = Annotated[
    float | None, typer.Option("--se", help="Put squeeze-and-excitation of this ratio on every block.", metavar="RATIO")
]
WithLatency = Annotated[bool, typer.Option("--latency/--no-latency", help="Measure on this device, or leave it out.")]
Fresh = Annotated[bool, typer.Option("--fresh", help="Measure anew what was measured before.")]
_LONGEST_BAR = 24


@zoo_app.command("list")
def list_command(
    as_json: Json = False,
    resolution: OwnResolution = None,
    num_classes: NumClasses = 1000,
    latency: WithLatency = True,
    fresh: Fresh = False,
) -> None:
    """The published networks: parameters, multiply-adds, latency on this device, published top-1.

    Latencies are measured once and remembered; the first time takes about a minute.
    """
    from nas.network import resolve
    from search_spaces.zoo import ZOO

    networks = [_at(resolve(name), resolution) for name in ZOO]
    measured = _measured(networks, num_classes, fresh, quiet=as_json) if latency else [None] * len(networks)
    published = [ZOO[network.name].published.get("") for network in networks]
    rows = [_row(*entry, num_classes) for entry in zip(networks, measured, published, strict=True)]
    if as_json:
        print_json(rows)
        return
    table = _numbers("network", "params", "MACs", "px", *(["latency"] if latency else []), "top-1")
    for row in rows:
        top1 = "-" if row["top1"] is None else f"{row['top1']:.1f} %"
        cells = [row["name"], f"{row['params']:,}", f"{row['macs']:,}", str(row["resolution"])]
        table.add_row(*cells, *([_milliseconds(row)] if latency else []), top1)
    Console().print(table)


@zoo_app.command("show")
def show_command(
    name: Arch,
    as_json: Json = False,
    resolution: OwnResolution = None,
    num_classes: NumClasses = 1000,
    se: SqueezeRatio = None,
) -> None:
    """One network: its string, its costs, what was published of it, its operations."""
    from nas.network import resolve, squeezed
    from search_spaces import zoo
    from search_spaces.count import op_macs, op_params

    network = _at(squeezed(resolve(name), se), resolution)
    row = _counted(network, num_classes)
    if as_json:
        print_json(row)
        return
    console = Console()
    lines = [row["name"], row["arch"], f"{row['params']:,} params, {row['macs']:,} MACs at {row['resolution']} px"]
    if (variant := zoo.find(network.name)) is not None:
        lines.append(_said(variant))
    console.print("\n".join(lines), soft_wrap=True, highlight=False)
    table = Table("operation", "kind", "output", "params", "MACs")
    for op in _graph(network, num_classes).ops:
        shape = "x".join(map(str, op.shape))
        table.add_row(op.name, type(op).__name__, shape, f"{op_params(op):,}", f"{op_macs(op):,}")
    console.print(table)


@zoo_app.command("compare")
def compare_command(
    archs: Archs,
    as_json: Json = False,
    grade: Grade = GradeName.SEARCH,
    resolution: OwnResolution = None,
    num_classes: NumClasses = 1000,
    se: SqueezeRatio = None,
    html: Annotated[Path | None, typer.Option(help="Write the bar chart here.", metavar="FILE.html")] = None,
    fresh: Fresh = False,
) -> None:
    """Measure networks, each interleaved with the first one, and draw the bar chart.

    With --se, each network is followed by itself with squeeze-and-excitation.
    """
    from nas.network import resolve, squeezed

    named = [_at(resolve(text), resolution) for text in archs]
    networks = [other for network in named for other in dict.fromkeys((network, squeezed(network, se)))]
    measured = _measured(networks, num_classes, fresh, as_json, grade=grade.value, reference=networks[0])
    rows = [_row(network, found, None, num_classes) for network, found in zip(networks, measured, strict=True)]
    if html is not None:
        from nas.zoo_chart import write_chart

        write_chart(html, rows)
    if as_json:
        print_json(rows)
        return
    Console().print(_bars(rows))


@zoo_app.command("replay")
def replay_command(
    name: Arch,
    as_json: Json = False,
    latency: WithLatency = True,
    resolution: OwnResolution = None,
    num_classes: NumClasses = 1000,
    fresh: Fresh = False,
) -> None:
    """How a network came from another one, edit by edit, with costs after each: mobilenet_v3_large from MnasNet-A1."""
    from nas.network import NamedNetwork, history

    steps = history(name)
    networks = [_at(NamedNetwork(edit, arch), resolution) for edit, arch in steps.items()]
    found = _measured(networks, num_classes, fresh, as_json) if latency else [None] * len(networks)
    rows = []
    for network, measured in zip(networks, found, strict=True):
        counted = _counted(network, num_classes)
        latency_ms = {"latency_ms": measured.latency_ms if measured else None}
        rows.append({"edit": network.name, **{key: counted[key] for key in ("arch", "params", "macs")}, **latency_ms})
    if as_json:
        print_json(rows)
        return
    table = _numbers("edit", "MACs", "params", *(["latency"] if latency else []))
    for row, measured in zip(rows, found, strict=True):
        cells = [row["edit"], f"{row['macs']:,}", f"{row['params']:,}"]
        table.add_row(*cells, *([_milliseconds(measured.to_dict())] if measured else []))
    Console().print(table)


@zoo_app.command("draw")
def draw_command(
    name: Arch,
    out: Annotated[Path, typer.Option(help="Picture to write: .svg, .png, .pdf, or .dot.", metavar="FILE")],
    resolution: OwnResolution = None,
    num_classes: NumClasses = 1000,
    se: SqueezeRatio = None,
    training: Annotated[bool, typer.Option(help="With auxiliary heads.")] = False,
) -> None:
    """Draw the graph of operations; pictures other than .dot need Graphviz."""
    from nas.graph_drawing import write_drawing
    from nas.network import resolve, squeezed

    network = _at(squeezed(resolve(name), se), resolution)
    write_drawing(_graph(network, num_classes, training=training), network.name, out)
    Console().print(f"{out}", soft_wrap=True, highlight=False)


def _at(network: NamedNetwork, resolution: int | None) -> NamedNetwork:
    from dataclasses import replace

    return network if resolution is None else replace(network, resolution=resolution)


def _graph(network: NamedNetwork, num_classes: int, *, training: bool = False) -> Any:
    from nas.errors import UserError
    from search_spaces.lower import lower

    try:
        return lower(network.arch, network.resolution, num_classes, training=training)
    except ValueError as error:
        raise UserError(f"{network.name} at {network.resolution} px: {error}") from None


def _counted(network: NamedNetwork, num_classes: int) -> dict[str, Any]:
    from search_spaces.count import count

    counts = count(_graph(network, num_classes))
    return {
        "name": network.name,
        "arch": str(network.arch),
        "params": counts.params,
        "macs": counts.macs,
        "resolution": network.resolution,
        "num_classes": num_classes,
    }


def _row(
    network: NamedNetwork, measured: MeasuredNetwork | None, published: Published | None, num_classes: int
) -> dict[str, Any]:
    nothing = dict.fromkeys(("latency_ms", "interval_ms", "ratio", "ratio_interval", "status"))
    return {
        **_counted(network, num_classes),
        **(measured.to_dict() if measured else nothing),
        "top1": published.top1 if published else None,
    }


def _measured(
    networks: Sequence[NamedNetwork],
    num_classes: int,
    fresh: bool,
    quiet: bool,
    grade: str = "search",
    reference: NamedNetwork | None = None,
) -> list[MeasuredNetwork]:
    from rich.progress import track

    from nas.zoo_latency import measure_networks

    graphs = [_graph(network, num_classes) for network in networks]
    yardstick = _graph(reference, num_classes) if reference else None
    steps = measure_networks(graphs, grade=grade, reference=yardstick, fresh=fresh)
    console = Console(stderr=True)
    return list(track(steps, "measuring", len(networks), console=console, transient=True, disable=quiet))


def _milliseconds(row: dict[str, Any]) -> str:
    if row["latency_ms"] is None:
        return str(row["status"])
    low, high = row["interval_ms"]
    return f"{row['latency_ms']:.2f} ±{(high - low) / 2:.2f} ms"


def _numbers(*columns: str) -> Table:
    """A table whose first column is text, folded where the terminal is narrow, and the rest numbers, which never are."""
    table = Table(box=None, pad_edge=False)
    table.add_column(columns[0], overflow="fold")
    for column in columns[1:]:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _bars(rows: list[dict[str, Any]]) -> Table:
    table = _numbers("network", "latency", f"x {rows[0]['name']}", "")
    table.columns[-1].justify = "left"
    longest = max((row["latency_ms"] for row in rows if row["latency_ms"] is not None), default=1.0)
    for row in rows:
        if row["latency_ms"] is None:
            table.add_row(row["name"], row["status"], "-", "")
            continue
        low, high = row["ratio_interval"]
        bar = "█" * max(1, round(_LONGEST_BAR * row["latency_ms"] / longest))
        table.add_row(row["name"], f"{row['latency_ms']:.2f} ms", f"{row['ratio']:.3f} ({low:.3f} to {high:.3f})", bar)
    return table


def _said(variant: Any) -> str:
    """One line of what was published."""
    figures = variant.published
    if figures is None:
        return f"{variant.network.summary}; {variant.network.source}"
    said = [f"top-1 {figures.top1:g} %"] if figures.top1 is not None else []
    said += [f"{figures.params_m:g} M params"] if figures.params_m is not None else []
    said += [f"{figures.macs_m:g} M MACs"] if figures.macs_m is not None else []
    said += [f"{figures.latency_ms:g} ms on a Pixel 1"] if figures.latency_ms is not None else []
    return f"{variant.network.summary}; published: {', '.join(said)} ({figures.source})"
