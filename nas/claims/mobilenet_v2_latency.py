"""Claims about MobileNetV2, by latency on this device."""

from __future__ import annotations

from nas.claims.claim import Finding, check
from nas.claims.judgement import around, judged
from nas.claims.kernel_time import unless_it_holds
from nas.claims.lab import Lab


@check(11, "latency")
def faster_than_v1(lab: Lab) -> Finding:
    """V2 against V1."""
    published = 75 / 113  # ms: arXiv 1801.04381, table 4
    ratio = lab.ratio("mobilenet_v2", "mobilenet_v1")
    verdict = judged(ratio.interval, around(published))
    why = unless_it_holds(verdict, lab, {"V2": "mobilenet_v2", "V1": "mobilenet_v1"})
    return Finding(f"V2 takes {ratio} of V1's time ({published:.2f} printed)", verdict, why)
