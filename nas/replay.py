"""What it means that a run is executed again from its journal."""

from __future__ import annotations

REWARD_TOLERANCE = 1e-12
"""Relative: a logarithm may round otherwise on another processor; everything that is chosen is compared exactly."""

PRICE_TOLERANCE = 1e-9
"""Likewise, of prices, which are sums of many fitted numbers."""


class ReplayDifferenceError(Exception):
    """A run came out differently from what its journal says; the message names the first difference."""
