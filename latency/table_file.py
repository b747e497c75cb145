"""A latency table as a JSON file: versioned, whole or not at all."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, astuple
from pathlib import Path
from typing import Any

from latency.device_info import DeviceInfo
from latency.op_key import OpKey
from latency.table import LatencyTable, Validation, WorstCase
from latency.table_fit import FEATURES, Correction, FittedNetwork
from latency.table_rows import Row
from search_spaces.arch_string import parse_arch

FORMAT = "nas-latency-table"
VERSION = 2  # 1 had fewer kinds of operations to price

_HINT = "build it again with: nas latency table build --out"


class TableFileError(ValueError):
    """A file that cannot be written, or holds no table that this version or this device can use; one line, with what helps."""


def save_table(table: LatencyTable, path: Path) -> None:
    """Write `table` to `path`, whole or not at all: what was there before stays until the new one is on the disk.

    Raises:
        TableFileError: it cannot be written: a full disk, no such folder.
    """
    text = json.dumps(_to_dict(table), indent=1, allow_nan=False) + "\n"
    try:
        _replace(path, text)
    except OSError as error:
        raise TableFileError(
            f"{path}: the table cannot be written ({error.strerror or error}); nothing there has changed"
        ) from error


def _replace(path: Path, text: str) -> None:
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def load_table(path: Path, device: DeviceInfo | None = None) -> LatencyTable:
    """The table in `path`.

    Args:
        path: the file.
        device: where its prices shall hold; None asks for none.

    Raises:
        TableFileError: no such file, cut short, something else, another version, or a table of another device.
    """
    try:
        data = json.loads(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise TableFileError(f"{path}: cannot be read as a latency table: {error}") from None
    except ValueError as error:
        raise TableFileError(f"{path}: cut short or not JSON ({error}); {_HINT} {path}") from None
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise TableFileError(f"{path}: not a latency table; one is made with: nas latency table build --out FILE")
    if data.get("version") != VERSION:
        raise TableFileError(
            f"{path}: a latency table of version {data.get('version')}; this program reads version {VERSION}; "
            f"{_HINT} {path}"
        )
    try:
        table = _from_dict(data)
    except (KeyError, TypeError, ValueError) as error:
        raise TableFileError(f"{path}: damaged latency table ({error!r}); {_HINT} {path}") from None
    if device is not None and (difference := table.device.difference(device)):
        raise TableFileError(f"{path}: the table belongs to another device ({difference}); {_HINT} FILE")
    return table


def _to_dict(table: LatencyTable) -> dict[str, Any]:
    """As JSON types. The price of each row is there for readers; it follows from the rest."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "device": table.device.to_dict(),
        "resolution": table.resolution,
        "population": table.population,
        "num_classes": table.num_classes,
        "reference": str(table.reference),
        "reference_ms": table.reference_ms,
        "date": table.date,
        "validation": None if table.validation is None else asdict(table.validation),
        "correction": {
            "intercept_us": table.correction.intercept_us,
            "relative_sd": table.correction.relative_sd,
            "prices_us": dict(zip(FEATURES, table.correction.prices, strict=True)),
        },
        "rest_us": table.rest_us,
        "rows": {
            str(key): {**asdict(table.rows[key]), "price_us": round(table.price_us(key), 4)}
            for key in sorted(table.rows, key=str)
        },
        "networks": [list(astuple(network)) for network in table.networks],
    }


def _from_dict(data: Mapping[str, Any]) -> LatencyTable:
    correction = data["correction"]
    if correction["prices_us"].keys() != set(FEATURES):
        raise ValueError("prices of other features than this program's")
    prices = tuple(float(correction["prices_us"][name]) for name in FEATURES)
    return LatencyTable(
        device=DeviceInfo.from_dict(data["device"]),
        population=data["population"],
        num_classes=data["num_classes"],
        reference=parse_arch(data["reference"]),
        reference_ms=float(data["reference_ms"]),
        rows={OpKey.parse(text): _row(fields) for text, fields in data["rows"].items()},
        networks=tuple(
            FittedNetwork(arch, float(ratio), float(relative_sd), tuple(map(float, features)))
            for arch, ratio, relative_sd, features in data["networks"]
        ),
        rest_us=float(data["rest_us"]),
        correction=Correction(float(correction["intercept_us"]), prices, float(correction["relative_sd"])),
        date=data["date"],
        validation=None if data["validation"] is None else _validation(data["validation"]),
    )


def _row(fields: Mapping[str, Any]) -> Row:
    return Row(**{name: value for name, value in fields.items() if name != "price_us"})


def _validation(fields: Mapping[str, Any]) -> Validation:
    return Validation(**{**fields, "worst": tuple(WorstCase(**case) for case in fields["worst"])})
