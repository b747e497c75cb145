from __future__ import annotations

import pytest

from nas.claims.figures import listed, millions, percent, printed_as


@pytest.mark.parametrize(
    ("number", "printed", "same"),
    [
        (568.74, "569", True),
        (568.74, "568", True),  # cut
        (568.74, "567", False),
        (2.359, "2.36", True),
        (2.359, "2.34", False),
        (-0.07039, "-0.07", True),
        (-0.07039, "-0.08", True),
        (-0.07039, "-0.09", False),
    ],
)
def test_printed_as(number: float, printed: str, same: bool) -> None:
    assert printed_as(number, printed) is same


def test_formats() -> None:
    assert millions(568_740_352) == "568.7 M"
    assert millions(-10_436_608, 2) == "-10.44 M"
    assert percent(0.2758) == "27.6 %"
    assert listed([1.0, 2.25], 1) == "1.0, 2.2"
