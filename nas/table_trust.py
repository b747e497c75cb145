"""Whether a latency table may stand in for measurements in a study: its setting first, then a few networks."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence

import numpy as np

from latency.deployment import Deployment
from latency.device_info import DeviceInfo
from latency.latency import Latency
from latency.table import LatencyTable, MissingKeysError
from nas.errors import UserError
from nas.network import network_name
from search_spaces.arch import ArchSpec
from search_spaces.space import SearchSpace

NUM_NETWORKS = 3
MAX_ERROR = 0.05
"""Largest median |log(measured / priced)|."""

_MAX_DRAWN = 30  # a hybrid study measures what has no price, so that a gap here and there does no harm
_BUILD = "build one with: nas latency table build --space {space} --out FILE"
_GO_ON = "let its build go on for longer: nas latency table build --space {space} --minutes 10 --out FILE"


def check_setting(
    table: LatencyTable, source: str, *, deployment: Deployment, num_classes: int | None, reference: ArchSpec
) -> None:
    """Raise UserError where `table` is of networks deployed otherwise than a recipe's.

    Args:
        table: in question.
        source: its file, for the message.
        deployment: of the recipe.
        num_classes: of the recipe's networks; None where the data will say.
        reference: that the recipe's ratios refer to.
    """
    theirs, ours = table.device.deployment.to_dict(), deployment.to_dict()
    for key, value in theirs.items():
        if ours[key] != value:
            raise UserError(
                f"{source}: a table of {key} {value}, the recipe has latency.{key} {ours[key]}; "
                f"set latency.{key}={value}, or build another table"
            )
    if num_classes is not None and table.num_classes != num_classes:
        raise UserError(
            f"{source}: a table of networks with {table.num_classes} classes, the recipe's have {num_classes}; "
            f"set latency.num_classes={table.num_classes}"
        )
    if table.reference.key != reference.key:
        raise UserError(
            f"{source}: a table against {network_name(table.reference)}, the recipe's reference is "
            f"{network_name(reference)}; set latency.reference to the table's"
        )


def check_device(table: LatencyTable, source: str, device: DeviceInfo) -> None:
    """Raise UserError where `table` is not of `device`."""
    if difference := table.device.difference(device):
        raise UserError(
            f"{source}: the table belongs to another device ({difference}); "
            "build one there with: nas latency table build --out FILE"
        )


def check_prices(
    table: LatencyTable, source: str, space: SearchSpace, seed: int, measure: Callable[[ArchSpec], Latency]
) -> float:
    """Measure a few random networks of `space` and compare.

    Returns:
        Median |log(measured / priced)|.

    Raises:
        UserError: the table has no prices for the space, nothing could be measured, or it is off by more than `MAX_ERROR`.
    """
    build = _BUILD.format(space=space.name)
    priced = _priced_networks(table, source, space, seed)
    measured = [(measure(arch), price) for arch, price in priced]
    errors = [
        abs(math.log(found.latency_ms / price.latency_ms)) for found, price in measured if found.status != "failed"
    ]
    if not errors:
        raise UserError(f"{source}: the table cannot be checked, no network could be measured: {measured[0][0].reason}")
    error = statistics.median(errors)
    if error > MAX_ERROR:
        raise UserError(
            f"{source}: the table is off by {error:.1%} in the median of {len(errors)} random networks, "
            f"at most {MAX_ERROR:.0%} is allowed; {build}"
        )
    return error


def _priced_networks(
    table: LatencyTable, source: str, space: SearchSpace, seed: int
) -> Sequence[tuple[ArchSpec, Latency]]:
    rng = np.random.default_rng(seed)
    priced, missing = [], None
    for arch in (space.decode(space.sample(rng)) for _ in range(_MAX_DRAWN)):
        try:
            priced.append((arch, table.price(arch)))
        except MissingKeysError as error:
            missing = error
        if len(priced) == NUM_NETWORKS:
            return priced
    raise UserError(
        f"{source}: the table prices {len(priced)} of {_MAX_DRAWN} random networks of space {space.name}, no price for "
        f"'{missing.keys[0] if missing else '-'}' among others; {_GO_ON.format(space=space.name)}"
    )
