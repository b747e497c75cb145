"""Claims about MobileNetV2, by latency on this device."""

from __future__ import annotations

from nas.claims.claim import Finding, check
from nas.claims.judgement import around, judged
from nas.claims.lab import Lab

_PIXEL_MS = 75, 113  # V2 and V1: arXiv 1801.04381, table 4


@check(11, "latency")
def faster_than_v1(lab: Lab) -> Finding:
    """V2 against V1."""
    ratio, published = lab.ratio("mobilenet_v2", "mobilenet_v1"), _PIXEL_MS[0] / _PIXEL_MS[1]
    return Finding(
        f"V2 takes {ratio} of V1's time ({published:.2f} printed)", judged(ratio.interval, around(published))
    )
