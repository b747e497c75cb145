"""Claims about squeeze-and-excitation networks, by latency on this device."""

from __future__ import annotations

from nas.claims.claim import Finding, check
from nas.claims.figures import percent
from nas.claims.judgement import around, judged
from nas.claims.kernel_time import op_times_us, time_share
from nas.claims.lab import Lab


@check(42, "latency")
def time_of_se_resnet(lab: Lab) -> Finding:
    """SE-ResNet-50 against ResNet-50, at the published resolution, on which the share of SE depends."""
    published = 167 / 164  # ms on a CPU: arXiv 1709.01507, section 4
    ratio = lab.ratio("se_resnet50", "resnet50")
    verdict = judged(ratio.interval, around(published))
    found = f"SE-ResNet-50 takes {ratio} of ResNet-50's time ({published:.3f} printed)"
    return Finding(found, verdict, "" if verdict == "holds" else _what_se_adds(lab))


def _what_se_adds(lab: Lab) -> str:
    squeezed, plain = (lab.kernels(name) for name in ("se_resnet50", "resnet50"))
    alone = [sum(kernel.op_type == "Add" for kernel in kernels) for kernels in (squeezed, plain)]
    times_us = op_times_us(squeezed)
    return (
        f"Under profiling SE is {percent(time_share('.se.', times_us))} of the time of SE-ResNet-50. The runtime adds the "
        f"shortcut inside a convolution where one precedes it: with SE in between {alone[0]} additions run on their own, "
        f"without it {alone[1]}; they and their changes of layout are {percent(time_share('.add', times_us))}."
    )
