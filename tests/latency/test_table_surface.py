"""Between measured widths: a staircase that never falls; outside them: nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latency.op_key import OpKey
from latency.table_rows import Row
from latency.table_surface import fit_surfaces
from tests.strategies import PROPERTY


def pointwise(in_channels, out_channels):
    return OpKey("pointwise", in_channels, out_channels, (1, 1), 1, 14, 14, "relu")


def depthwise(channels):
    return OpKey("depthwise", channels, channels, (3, 3), 1, 14, 14, "relu")


def rows_of(time_us, keys):
    return {key: Row(3, time_us(key), 0.0, 1.0) for key in keys}


def padded(width, stair):
    return -(-width // stair) * stair


def staircase(stair):
    def time_us(key):
        p_in, p_out = padded(key.in_channels, stair), padded(key.out_channels, stair)
        return 3.0 + 0.02 * p_in + 0.05 * p_out + 0.001 * p_in * p_out

    return time_us


GRID = [pointwise(i, o) for i in (8, 27, 40, 64, 98, 128) for o in (8, 20, 51, 72, 128)]


@pytest.mark.parametrize("stair", [1, 4, 8, 16])
def test_finds_the_stair_and_the_surface(stair):
    surfaces = fit_surfaces(rows_of(staircase(stair), GRID))
    surface = surfaces.by_family[GRID[0].family]
    assert surface.stair == stair
    for key in (pointwise(48, 88), pointwise(9, 127), pointwise(16, 16)):
        assert surface.covers(key)
        assert surface.time_us(key) == pytest.approx(staircase(stair)(key), rel=1e-6)


def test_tied_widths_are_one_number():
    keys = [depthwise(width) for width in (16, 48, 96, 200)]
    surfaces = fit_surfaces(rows_of(lambda key: 2.0 + 0.1 * padded(key.in_channels, 16), keys))
    assert surfaces.time_us(depthwise(120), None) == pytest.approx(2.0 + 0.1 * 128)


def test_nothing_is_extrapolated():
    surfaces = fit_surfaces(rows_of(staircase(8), GRID))
    for key in (pointwise(4, 16), pointwise(16, 136), pointwise(136, 16)):
        assert not surfaces.covers(key)
        with pytest.raises(KeyError, match="outside the measured widths"):
            surfaces.time_us(key, None)
    other = OpKey("pointwise", 16, 16, (1, 1), 1, 7, 7, "relu")
    assert not surfaces.covers(other)
    with pytest.raises(KeyError):
        surfaces.time_us(other, None)


@PROPERTY
@given(st.integers(0, 2**32 - 1), st.integers(8, 128), st.integers(8, 128), st.integers(0, 120), st.integers(0, 120))
def test_wider_never_costs_less(seed, in_channels, out_channels, more_in, more_out):
    rng = np.random.default_rng(seed)
    noisy = rows_of(lambda key: staircase(16)(key) * float(np.exp(0.5 * rng.standard_normal())), GRID)
    surfaces = fit_surfaces(noisy)
    narrow = pointwise(in_channels, out_channels)
    wide = pointwise(min(128, in_channels + more_in), min(128, out_channels + more_out))
    assert 0 <= surfaces.time_us(narrow, None) <= surfaces.time_us(wide, None) * (1 + 1e-12)


def test_a_row_counts_the_more_the_oftener_it_was_seen():
    rows = {key: Row(3, staircase(16)(key) * (1 + 0.1 * (-1) ** n), 2.0, 1.0) for n, key in enumerate(GRID)}
    surfaces = fit_surfaces(rows)
    key = GRID[7]
    expected_us = surfaces.time_us(key, None)
    seen = [surfaces.time_us(key, Row(count, 2 * expected_us, 2.0, 1.0)) for count in (1, 10, 10_000)]
    assert expected_us < seen[0] < seen[1] < seen[2]
    assert seen[2] == pytest.approx(2 * expected_us, rel=0.01)
    assert surfaces.time_us(key, Row(1, 0.0, 0.0, 0.0)) == 0  # fused away: no doubt about that


def test_a_family_of_one_is_a_point():
    key = pointwise(16, 32)
    surfaces = fit_surfaces({key: Row(1, 7.0, 0.0, 1.0)})
    assert surfaces.time_us(key, None) == pytest.approx(7.0)
    assert not surfaces.covers(pointwise(16, 24))
