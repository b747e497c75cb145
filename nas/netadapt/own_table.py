"""The latency table of one network, made where the user names none and found again afterwards."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from latency.deployed_model import deployed_model
from latency.device_info import DeviceInfo
from latency.estimator import Spread
from latency.latency import FORMAT as LATENCY_FORMAT
from latency.metered import Meter, MeteredLatency
from latency.reference import Reference
from latency.table import LatencyTable
from latency.table_file import VERSION as TABLE_VERSION
from latency.table_file import TableFileError, load_table
from latency.table_journal import VERSION as JOURNAL_VERSION
from latency.table_journal import journal_path
from nas.device_records import known_reference
from nas.errors import UserError
from nas.latency_table import build
from nas.measurement_cache import cache_folder
from search_spaces.arch import ArchSpec
from search_spaces.edits import one_layer_blocks
from search_spaces.sampling import width_corners
from search_spaces.zoo import get

NUM_NETWORKS = 30
"""Ratios of five single steps of MnasNet-A1 at 224 px, on a busy machine, were predicted by tables of 5 networks to 4 %, by
those of 8 to 20 networks to 1.2 %; they were measured to 0.8 %. On a simulated device the rms error fell from 0.4 % (12
networks) to 0.26 % (24) and 0.2 % (40)."""

SECONDS = 120.0
"""Enough for `NUM_NETWORKS`, at 1.7 s each in a quiet hour and 2.8 s in a busy one."""

_FEWEST = 8
"""See there."""

_VERSION = 1  # of which networks are looked at


def default_reference() -> ArchSpec:
    """What ratios refer to, as in all commands that measure: MobileNetV2."""
    return get("mobilenet_v2")


def own_table_path(
    arch: ArchSpec, device: DeviceInfo, num_classes: int, reference: ArchSpec, folder: Path | None = None
) -> Path:
    """Where the table of `arch` lies; it is another file for every other network, device, deployment or reference."""
    key = {
        "arch": str(_plain(arch)),
        "device": device.to_dict(),
        "num_classes": num_classes,
        "reference": str(reference),
        "versions": [_VERSION, TABLE_VERSION, JOURNAL_VERSION, LATENCY_FORMAT],
    }
    name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]
    return (folder or cache_folder() / "tables") / f"{name}.json"


def table_for(
    arch: ArchSpec,
    meter: Meter,
    num_classes: int,
    console: Console,
    seconds: float = SECONDS,
    *,
    reference: ArchSpec | None = None,
    folder: Path | None = None,
) -> LatencyTable:
    """The table of `arch` and its narrower variants: the one that was made before, or a new one.

    A build that was interrupted goes on where it was. One that ends early, at `seconds`, is a table all the same.

    Args:
        arch: the network of full widths.
        meter: of the device, deployed as the network will be.
        num_classes: outputs of its classifier.
        console: for the progress.
        seconds: stop building after so long, though not before a few networks are measured; positive.
        reference: network that ratios refer to; by default `default_reference`.
        folder: of the tables; by default in `cache_folder`.

    Raises:
        UserError: the widths of `arch` have no variants, nothing could be measured, or the table cannot be written.
        MeasuringError: the meter fails.
    """
    arch, reference = _plain(arch), reference or default_reference()
    path = own_table_path(arch, meter.device, num_classes, reference, folder)
    try:
        return load_table(path, meter.device)
    except TableFileError:
        pass  # not there yet, or damaged: what is in a cache may be made again
    _check_has_variants(arch)
    path.parent.mkdir(parents=True, exist_ok=True)
    gone_on = " goes on" if journal_path(path).exists() else ""
    console.print(
        f"latency table of this network on this device{gone_on}: {NUM_NETWORKS} narrower variants, {seconds:.0f} s at most; "
        f"kept in {path}",
        highlight=False,
        soft_wrap=True,
    )
    options: dict[str, Any] = {"reference": reference, "num_classes": num_classes, "console": console}
    table = build(meter, arch, path, seconds=seconds, num_networks=NUM_NETWORKS, **options)
    if len(table.networks) < _FEWEST:
        table = build(meter, arch, path, seconds=math.inf, num_networks=_FEWEST, **options)
    if len(table.networks) < _FEWEST:
        _forget(path)
        raise UserError(
            f"latency table: the machine is too busy, only {len(table.networks)} networks could be measured of the {_FEWEST} "
            "that a table needs; close what else runs here (nas latency check says how quiet it is) and try again"
        )
    return table


def metered_by(table: LatencyTable, meter: Meter) -> MeteredLatency:
    """Measurements on `meter` that `table`'s prices compare with: same reference, same frozen time.

    Raises:
        BadRecordError: the record of the device's last check is damaged.
    """
    model = deployed_model(table.reference, meter.device.deployment, table.num_classes)
    known = known_reference(meter.device, model)
    frozen = Reference(model, table.reference_ms, known.spread if known else Spread())
    return MeteredLatency(meter, table.reference, num_classes=table.num_classes, frozen=frozen)


def _plain(arch: ArchSpec) -> ArchSpec:
    """The same network written in one way: a layer a block, without heads that exist in training only."""
    return replace(one_layer_blocks(arch), aux=())


def _forget(path: Path) -> None:
    """What was measured on a machine that was not itself; its reference's frozen time may be among it."""
    for file in (path, journal_path(path)):
        file.unlink(missing_ok=True)


def _check_has_variants(arch: ArchSpec) -> None:
    try:
        width_corners(arch)
    except ValueError as error:
        raise UserError(
            f"{arch}: no latency table can be made of it by itself ({error}); "
            "build one with nas latency table build --space, and give it with --table FILE"
        ) from None
