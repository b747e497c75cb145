"""Claims about squeeze-and-excitation networks, by latency on this device."""

from __future__ import annotations

from nas.claims.claim import Finding, check
from nas.claims.judgement import around, judged
from nas.claims.kernel_time import unless_it_holds
from nas.claims.lab import Lab

_CPU_MS = 167, 164  # SE-ResNet-50 and ResNet-50: arXiv 1709.01507, section 4


@check(42, "latency")
def time_of_se_resnet(lab: Lab) -> Finding:
    """SE-ResNet-50 against ResNet-50, at the published resolution, on which the share of SE depends."""
    published = _CPU_MS[0] / _CPU_MS[1]
    ratio = lab.ratio("se_resnet50", "resnet50")
    found = f"SE-ResNet-50 takes {ratio} of ResNet-50's time ({published:.3f} printed)"
    verdict = judged(ratio.interval, around(published))
    why = unless_it_holds(verdict, lab, {"SE-ResNet-50": "se_resnet50", "ResNet-50": "resnet50"})
    return Finding(found, verdict, why)
