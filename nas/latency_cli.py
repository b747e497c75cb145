"""`nas latency ...`: what a network takes on this machine, and how far to trust that."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import rich.box
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from nas.errors import UserError

if TYPE_CHECKING:
    from latency.check import Check
    from latency.kernel_profile import Kernel
    from latency.metered import Meter, MeteredLatency

latency_app = typer.Typer(no_args_is_help=True, help="Latency on this device.")

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
Arch = Annotated[
    str, typer.Argument(help="A network of the zoo, an architecture string, or a JSON file.", metavar="ARCH")
]
Archs = Annotated[list[str], typer.Argument(help="Zoo names, architecture strings, JSON files.", metavar="ARCH...")]
OwnResolution = Annotated[
    int | None, typer.Option("--resolution", min=8, help="Side of the input in pixels; by default the network's own.")
]
NumClasses = Annotated[int, typer.Option(min=1, help="Outputs of the classifier.")]
Device = Annotated[
    str | None,
    typer.Option(
        help="Where to measure: local, or a YAML file with name, server, pool and token_file of a device server.",
        metavar="FILE",
    ),
]
Reference = Annotated[str, typer.Option(help="Network that ratios refer to.", metavar="ARCH")]
Batch = Annotated[int, typer.Option(min=1, help="Images per inference.")]
Threads = Annotated[int, typer.Option(min=1, help="Threads, each on a core of its own.")]
Provider = Annotated[str, typer.Option(help="Execution provider of ONNX Runtime.")]

CPU = "CPUExecutionProvider"
_LONGEST_BAR = 16


class GradeName(StrEnum):
    """See `latency.meter.GRADES`."""

    SEARCH = "search"
    FINAL = "final"


class DtypeName(StrEnum):
    """See `latency.deployment.Dtype`."""

    FLOAT32 = "float32"
    INT8 = "int8"


Grade = Annotated[GradeName, typer.Option(help="search: one process, about 1.3 s; final: five, about 15 s.")]
Dtype = Annotated[DtypeName, typer.Option(help="int8: static quantization, calibrated with noise.")]


def print_json(document: Any) -> None:
    """Print `document` and nothing else."""
    print(json.dumps(document, indent=1, allow_nan=False))


@contextlib.contextmanager
def local_meter(
    reference: str,
    resolution: int = 224,
    num_classes: int = 1000,
    batch: int = 1,
    threads: int = 1,
    dtype: str = "float32",
    provider: str = CPU,
    remembers: Callable[[Meter], Meter] = lambda meter: meter,
) -> Iterator[MeteredLatency]:
    """This machine, calibrated by its last `nas latency check` or else now.

    Args:
        reference: network that ratios refer to.
        resolution: of the deployment, in pixels.
        num_classes: outputs of the classifier.
        batch: images per inference.
        threads: each on a core of its own.
        dtype: ``float32`` or ``int8``.
        provider: of ONNX Runtime.
        remembers: puts a cache around the meter, where earlier measurements will do.

    Raises:
        UserError: it cannot run the deployment.
    """
    from latency.cores import measuring_core
    from latency.deployment import Deployment
    from latency.meter_process import MeasuringError, MeterProcess
    from nas.device_records import metered
    from nas.network import resolve_network

    yardstick = resolve_network(reference)
    deployment = Deployment(
        resolution=resolution,
        batch=batch,
        num_threads=threads,
        dtype=dtype,  # type: ignore[arg-type]  # DtypeName has the same values
        provider=provider,
    )
    try:
        with (
            MeterProcess(measuring_core(), deployment) as process,
            metered(remembers(process), yardstick, num_classes) as meter,
        ):
            yield meter
    except (MeasuringError, ValueError) as error:
        raise UserError(str(error)) from None


@latency_app.command("measure")
def measure_command(
    archs: Archs,
    grade: Grade = GradeName.SEARCH,
    as_json: Json = False,
    resolution: OwnResolution = None,
    num_classes: NumClasses = 1000,
    reference: Reference = "mobilenet_v2",
    batch: Batch = 1,
    threads: Threads = 1,
    dtype: Dtype = DtypeName.FLOAT32,
    provider: Provider = CPU,
) -> None:
    """Measure networks with ONNX Runtime on a core of their own, each interleaved with the reference."""
    from latency.meter import GRADES
    from nas.network import common_resolution, resolve

    networks = [resolve(text) for text in archs]
    side = common_resolution(networks, resolution)
    rows = []
    with local_meter(reference, side, num_classes, batch, threads, dtype.value, provider) as meter:
        for text, network in zip(archs, networks, strict=True):
            latency = meter.measure(network.arch, GRADES[grade.value])[0].to_dict()
            keys = ["latency_ms", "interval_ms", "ratio", "status"] + ["reason"] * (latency["status"] == "failed")
            rows.append({"arch": text, **{key: latency[key] for key in keys}})
    if as_json:
        print_json(rows)
        return
    table = Table("network", "latency", "95 % interval", f"x {reference}", "status")
    for row in rows:
        if row["latency_ms"] is None:
            table.add_row(row["arch"], "-", "-", "-", f"{row['status']}: {row['reason']}")
            continue
        low, high = row["interval_ms"]
        table.add_row(
            row["arch"], f"{row['latency_ms']:.3f} ms", f"{low:.3f} to {high:.3f}", f"{row['ratio']:.3f}", row["status"]
        )
    Console().print(table)


@latency_app.command("check")
def check_command(
    arch: Annotated[str, typer.Option(help="Network to measure under two names.", metavar="ARCH")] = (
        "mobilenet_v3_large"
    ),
    pairs: Annotated[int, typer.Option(min=2, help="Pairs of measurements; a pair takes about 3 s.")] = 20,
    grade: Grade = GradeName.SEARCH,
    as_json: Json = False,
    resolution: OwnResolution = None,
    num_classes: NumClasses = 1000,
    reference: Reference = "mobilenet_v2",
    batch: Batch = 1,
    threads: Threads = 1,
    dtype: Dtype = DtypeName.FLOAT32,
    provider: Provider = CPU,
) -> None:
    """Can this machine be trusted now, and how fine? Measures one network under two names, again and again (A/A test).

    What it finds, the reference's time and the noise between processes, is kept for later measurements on this device,
    unless the machine was too busy, or --grade final.
    """
    from latency.check import Check, check
    from latency.meter import GRADES
    from nas.device_records import keep_check
    from nas.network import common_resolution, resolve

    network = resolve(arch)
    side = common_resolution([network], resolution)
    with local_meter(reference, side, num_classes, batch, threads, dtype.value, provider) as meter:
        chosen, yardstick = GRADES[grade.value], meter.reference
        steps = check(meter.meter, meter.model(network.arch), yardstick, chosen, pairs)
        done = tuple(track(steps, "measuring", pairs, console=Console(stderr=True), transient=True, disable=as_json))
        result = Check(done, grade.value)
        if grade is GradeName.SEARCH and result.status != "unstable":  # a bad moment is not what the device is like
            keep_check(result, meter.meter.device, yardstick, time.time())
    if as_json:
        p95 = result.p95_abs_log_ratio if result.abs_log_ratios else None
        print_json({"p95_abs_log_ratio": p95, "num_pairs": len(done), "status": result.status})
        return
    _print_check(result, yardstick.reference_ms)


def _print_check(result: Check, reference_ms: float) -> None:
    import numpy as np

    console = Console()
    if not result.abs_log_ratios:
        console.print(f"{result.status}: not one pair could be measured")
        return
    half, most = np.quantile(result.abs_log_ratios, (0.5, 0.95))
    table = Table(show_header=False)
    table.add_row("status", result.status)
    table.add_row("difference of equal networks", f"median {half:.2%}, 95th percentile {most:.2%}")
    table.add_row("promised on a quiet machine", f"95th percentile {result.max_p95:.1%}")
    table.add_row("pairs", f"{len(result.pairs)}, of whose measurements {result.num_unstable} unstable")
    table.add_row("reference", f"{reference_ms:.3f} ms")
    console.print(table)
    advice = {
        "ok": "Differences above that percentile are real.",
        "coarse": "Differences below that percentile are noise; close what else runs here, or use --grade final.",
        "unstable": "The machine is busy with something else; measure when it is not.",
    }
    console.print(advice[result.status])


@latency_app.command("profile")
def profile_command(
    arch: Arch,
    as_json: Json = False,
    resolution: OwnResolution = None,
    num_classes: NumClasses = 1000,
    batch: Batch = 1,
    threads: Threads = 1,
    dtype: Dtype = DtypeName.FLOAT32,
    provider: Provider = CPU,
) -> None:
    """Time of each kernel that the runtime really executes, and the operation that it stems from.

    Profiling slows small kernels: these are shares of a network's time, not its latency.
    """
    from nas.network import common_resolution, resolve

    network = resolve(arch)
    side = common_resolution([network], resolution)
    with local_meter("mobilenet_v2", side, num_classes, batch, threads, dtype.value, provider) as meter:
        kernels = meter.profile(network.arch)
    if as_json:
        print_json([asdict(kernel) for kernel in kernels])
    else:
        Console().print(_bars(kernels))


def _bars(kernels: list[Kernel]) -> Table:
    """Kernels as bars; those of the same operation stand together under its name."""
    total = sum(kernel.median_us for kernel in kernels)
    longest = max(kernel.median_us for kernel in kernels)
    table = Table(box=rich.box.SIMPLE, padding=(0, 1, 0, 0))  # 80 columns hold it
    for name in ("operation", "kernel", "output", "us", "share", ""):
        table.add_column(name, no_wrap=True, justify="right" if name in ("us", "share") else "left")
    last = None
    for kernel in kernels:
        operation = (kernel.origin or "-").partition("/")[0]
        shape = "x".join(map(str, kernel.output_shapes[0])) if kernel.output_shapes else ""
        bar = "█" * max(1, round(_LONGEST_BAR * kernel.median_us / longest))
        name = operation if operation != last else ""
        share = kernel.median_us / total
        table.add_row(name, kernel.op_type, shape, f"{kernel.median_us:.0f}", f"{share:.1%}", bar)
        last = operation
    table.add_section()
    table.add_row("total", f"{len(kernels)} kernels", "", f"{total:.0f}", "", "under profiling")
    return table
