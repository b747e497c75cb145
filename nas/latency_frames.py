"""A latency table as pandas frames."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path

import pandas as pd

from latency.op_key import OpKey
from latency.table import LatencyTable, MissingKeysError
from latency.table_file import TableFileError, load_table
from nas.errors import UserError
from nas.network import resolve_network
from nas.report_layers import group_name
from nas.typed_frame import LATENCY, latency_cells, typed_frame
from search_spaces.lower import lower

_HALF_WIDTH_95 = 1.96
_KEY = {
    "kind": "string",
    "in_channels": "int64",
    "out_channels": "int64",
    "stride": "int64",
    "height": "int64",
    "width": "int64",
    "activation": "string",
}
_ROWS = {
    "key": "string",
    **_KEY,
    "kernel": "string",
    "count": "int64",
    "mean_us": "float64",
    "spread_us": "float64",
    "num_kernels": "float64",
    "price_us": "float64",
}
_NETWORKS = {
    "arch": "string",
    "measured_ms": "float64",
    "measured_low_ms": "float64",
    "measured_high_ms": "float64",
    "predicted_ms": "float64",
    "error": "float64",
}
_PREDICTIONS = {"arch": "string", **LATENCY, "num_missing": "int64"}
_OPERATIONS = {
    "operation": "string",
    "layer": "string",
    "key": "string",
    "kind": "string",
    "price_us": "float64",
    "measured": "bool",
}
_VALIDATION = {
    "mape": "float64",
    "within_5_percent": "float64",
    "kendall_tau": "float64",
    "num_networks": "int64",
    "date": "string",
}


@dataclass(frozen=True)
class LatencyFrames:
    """A latency table that was read from its file. Each frame is made anew and is yours to change.

    Attributes:
        table: what was read.
    """

    table: LatencyTable

    @property
    def reference_ms(self) -> float:
        """Frozen time of the network that ratios refer to, milliseconds."""
        return self.table.reference_ms

    @property
    def intercept_us(self) -> float:
        """What every network costs besides its operations, microseconds; negative where profiling slowed them all."""
        return self.table.correction.intercept_us

    @property
    def rows(self) -> pd.DataFrame:
        """The measured operations, by key.

        Columns: the key and its parts, see `latency.op_key.OpKey`; ``count``, how often it was seen; ``mean_us`` and
        ``spread_us``, mean and standard deviation of its microseconds under profiling; ``num_kernels``, executed for it on
        average; ``price_us``, what it adds to a network's latency.
        """
        return typed_frame((self._row(key) for key in sorted(self.table.rows, key=str)), _ROWS)

    @property
    def networks(self) -> pd.DataFrame:
        """The networks that the table was fitted to: measured and predicted milliseconds.

        ``error`` is predicted over measured, less 1; being of the fit, it flatters: see `validation`, or predict networks
        that were measured elsewhere.
        """
        fitted = self.table.networks
        predicted_ms = self.predict(network.arch for network in fitted)["latency_ms"]
        rows = []
        for network, value_ms in zip(fitted, predicted_ms, strict=True):
            measured_ms = network.ratio * self.reference_ms
            spread = math.exp(_HALF_WIDTH_95 * network.relative_sd)
            cells = (network.arch, measured_ms, measured_ms / spread, measured_ms * spread, value_ms)
            rows.append(dict(zip(_NETWORKS, (*cells, value_ms / measured_ms - 1), strict=True)))
        return typed_frame(rows, _NETWORKS)

    @property
    def validation(self) -> pd.DataFrame:
        """How far the table was off on networks that it was not fitted to; no row before a validation.

        ``mape`` is the mean absolute relative error, ``within_5_percent`` a share of the ``num_networks``.
        """
        found = self.table.validation
        return typed_frame([asdict(found)] if found else [], _VALIDATION)

    def predict(self, archs: str | Iterable[str]) -> pd.DataFrame:
        """Latencies by the table, a row for each of `archs`, which stand in ``arch`` as they were given.

        Where operations have no price, the latency is missing and ``num_missing`` says how many kinds of them.

        Args:
            archs: architecture strings, names of the zoo or JSON files; one or several.

        Raises:
            UserError: one of them names no network.
        """
        return typed_frame(map(self._prediction, [archs] if isinstance(archs, str) else archs), _PREDICTIONS)

    def operations(self, arch: str) -> pd.DataFrame:
        """What each operation of a network adds to its latency, in the order of the network.

        ``price_us`` is missing where the table has no price; ``measured`` is False where it was interpolated. With
        `intercept_us` the prices sum up to the prediction.

        Args:
            arch: as one of `predict`.

        Raises:
            UserError: it names no network.
        """
        graph = lower(resolve_network(arch), self.table.resolution, self.table.num_classes)
        keys = self.table.keys(resolve_network(arch))
        rows = (
            {
                "operation": op.name,
                "layer": group_name(op.name),
                "key": str(key),
                "kind": key.kind,
                "price_us": self.table.price_us(key) if self.table.knows(key) else None,
                "measured": key in self.table.rows,
            }
            for op, key in zip(graph.ops, keys, strict=True)
        )
        return typed_frame(rows, _OPERATIONS)

    def _row(self, key: OpKey) -> dict[str, object]:
        cells = {name: getattr(key, name) for name in _KEY} | asdict(self.table.rows[key])
        kernel = "x".join(map(str, key.kernel))
        return {**cells, "key": str(key), "kernel": kernel, "price_us": self.table.price_us(key)}

    def _prediction(self, arch: str) -> dict[str, object]:
        try:
            latency = self.table.price(resolve_network(arch))
        except MissingKeysError as error:
            return {"arch": arch, **latency_cells(None), "num_missing": len(error.keys)}
        return {"arch": arch, **latency_cells(latency), "num_missing": 0}


def load_latency_table(file: str | PathLike[str]) -> LatencyFrames:
    """The latency table that ``nas latency table build`` wrote to `file`.

    Raises:
        UserError: no such file, something else, or a table of another version.
    """
    try:
        return LatencyFrames(load_table(Path(file)))
    except TableFileError as error:
        raise UserError(str(error)) from None
