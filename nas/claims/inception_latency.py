"""Claims about Inception networks, by latency of single layers and modules on this device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nas.claims.claim import Finding, Verdict, check, gravest
from nas.claims.inception import naive_module, named_modules
from nas.claims.inception_v3 import chain, grid_reductions
from nas.claims.judgement import around, judged
from nas.claims.kernel_time import unless_it_holds
from nas.claims.lab import Lab, Ratio
from search_spaces.count import count
from search_spaces.graph import Graph, Shape
from search_spaces.lower import lower_block
from search_spaces.values import Kernel

_SHAPES: tuple[Shape, ...] = ((64, 35, 35), (192, 17, 17))  # maps inside Inception-V3
_REPEATS = 2  # of factors and of what they replace, so that the convolutions take the time


@dataclass(frozen=True, slots=True)
class AgainstMacs:
    """Measured time of one graph over another's, beside the same ratio of MACs."""

    what: str
    candidate: Graph
    reference: Graph
    ratio: Ratio

    @classmethod
    def measured(cls, lab: Lab, what: str, candidate: Graph, reference: Graph) -> AgainstMacs:
        """By `lab`; `what` is said of the candidate."""
        return cls(what, candidate, reference, lab.ratio(candidate, reference, what))

    @property
    def macs(self) -> float:
        """MACs of one over those of the other."""
        return count(self.candidate).macs / count(self.reference).macs

    @property
    def verdict(self) -> Verdict:
        """On the claim that the time goes as the MACs."""
        return judged(self.ratio.interval, around(self.macs))

    def why(self, lab: Lab) -> str:
        """Where it does not."""
        return unless_it_holds(self.verdict, lab, {self.what: self.candidate, "the other": self.reference})

    def __str__(self) -> str:
        return f"{self.what} {self.ratio} (MACs {self.macs:.2f})"


def _finding(lab: Lab, before: str, claimed: Sequence[AgainstMacs], others: Sequence[AgainstMacs] = ()) -> Finding:
    """What was measured, with the verdict on `claimed`."""
    told = ", ".join(map(str, (*claimed, *others)))
    why = " ".join(each.why(lab) for each in claimed if each.verdict != "holds")
    return Finding(f"{before}: {told}", gravest(each.verdict for each in claimed), why)


@check(46, "latency")
def time_of_reductions(lab: Lab) -> Finding:
    """Module 3a without its 1x1 reductions against the module as it is."""
    module = named_modules(lab.arch("googlenet"))["3a"]
    shape = (module.in_channels, 28, 28)
    naive, reduced = (lower_block(m, shape, 1, norm=None) for m in (naive_module(module), module))
    measured = AgainstMacs.measured(lab, "module 3a without reductions", naive, reduced)
    return _finding(lab, "of the time with them", [measured])


def factorised(shape: Shape, whole: Kernel, *factors: Kernel) -> tuple[Graph, Graph]:
    """Convolutions with `factors`, and what they replace."""
    after, before = (Graph(shape, tuple(chain(*kernels * _REPEATS, shape=shape))) for kernels in (factors, (whole,)))
    return after, before


def _factors(lab: Lab, whole: Kernel, *factors: Kernel) -> list[AgainstMacs]:
    """On each map."""
    what = " and ".join(f"{height}x{width}" for height, width in factors)
    return [
        AgainstMacs.measured(lab, f"{what} on {'x'.join(map(str, shape))}", *factorised(shape, whole, *factors))
        for shape in _SHAPES
    ]


@check(51, "latency")
def time_of_two_threes(lab: Lab) -> Finding:
    """Two 3x3 against a 5x5."""
    return _finding(lab, "of a 5x5's time", _factors(lab, (5, 5), (3, 3), (3, 3)))


@check(52, "latency")
def time_of_one_by_three(lab: Lab) -> Finding:
    """1x3 and 3x1 against a 3x3, 1x7 and 7x1 against a 7x7; the verdict is on what is claimed, the 3x3."""
    three, seven = _factors(lab, (3, 3), (1, 3), (3, 1)), _factors(lab, (7, 7), (1, 7), (7, 1))
    return _finding(lab, "of a 3x3's and a 7x7's time", three, seven)


@check(53, "latency")
def time_of_grid_reductions(lab: Lab) -> Finding:
    """The two ways in a row against the parallel one, with fewer channels than in the paper's figures."""
    graphs = grid_reductions(channels=128, side=36)
    measured = [
        AgainstMacs.measured(lab, way.replace("_", " "), graphs[way], graphs["parallel"])
        for way in ("expand_then_pool", "pool_then_expand")
    ]
    return _finding(lab, "of the time in parallel", measured)
