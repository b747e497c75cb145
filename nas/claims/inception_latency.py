"""Claims about Inception networks, by latency of single layers and modules on this device."""

from __future__ import annotations

from dataclasses import dataclass

from nas.claims.claim import Finding, Verdict, check, gravest
from nas.claims.inception import naive_module, named_modules
from nas.claims.inception_v3 import chain, grid_reductions
from nas.claims.judgement import around, judged
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

    ratio: Ratio
    macs: float

    @classmethod
    def measured(cls, lab: Lab, candidate: Graph, reference: Graph, what: str) -> AgainstMacs:
        """By `lab`, which is told `what`."""
        return cls(lab.ratio(candidate, reference, what), count(candidate).macs / count(reference).macs)

    @property
    def verdict(self) -> Verdict:
        """On the claim that the time goes as the MACs."""
        return judged(self.ratio.interval, around(self.macs))

    def __str__(self) -> str:
        return f"{self.ratio} (MACs {self.macs:.2f})"


@check(46, "latency")
def time_of_reductions(lab: Lab) -> Finding:
    """Module 3a without its 1x1 reductions against the module as it is."""
    module = named_modules(lab.arch("googlenet"))["3a"]
    shape = (module.in_channels, 28, 28)
    naive, reduced = (lower_block(m, shape, 1, norm=None) for m in (naive_module(module), module))
    found = AgainstMacs.measured(lab, naive, reduced, "module 3a without against with reductions")
    return Finding(f"without reductions module 3a takes {found} times as long", found.verdict)


def factorised(shape: Shape, whole: Kernel, *factors: Kernel) -> tuple[Graph, Graph]:
    """Convolutions with `factors`, and what they replace."""
    after, before = (Graph(shape, tuple(chain(*kernels * _REPEATS, shape=shape))) for kernels in (factors, (whole,)))
    return after, before


def _factors(lab: Lab, whole: Kernel, *factors: Kernel) -> list[AgainstMacs]:
    """On each map."""
    what = " and ".join(f"{height}x{width}" for height, width in factors)
    return [
        AgainstMacs.measured(lab, *factorised(shape, whole, *factors), f"{what} on {'x'.join(map(str, shape))}")
        for shape in _SHAPES
    ]


def _told(measured: list[AgainstMacs]) -> str:
    return " and ".join(f"{each} on {'x'.join(map(str, shape))}" for each, shape in zip(measured, _SHAPES, strict=True))


@check(51, "latency")
def time_of_two_threes(lab: Lab) -> Finding:
    """Two 3x3 against a 5x5."""
    measured = _factors(lab, (5, 5), (3, 3), (3, 3))
    return Finding(f"two 3x3 take of a 5x5's time {_told(measured)}", gravest(each.verdict for each in measured))


@check(52, "latency")
def time_of_one_by_three(lab: Lab) -> Finding:
    """1x3 and 3x1 against a 3x3, 1x7 and 7x1 against a 7x7; the verdict is on what is claimed, the 3x3."""
    three, seven = _factors(lab, (3, 3), (1, 3), (3, 1)), _factors(lab, (7, 7), (1, 7), (7, 1))
    found = f"1x3 and 3x1 take of a 3x3's time {_told(three)}, 1x7 and 7x1 of a 7x7's {_told(seven)}"
    return Finding(found, gravest(each.verdict for each in three))


@check(53, "latency")
def time_of_grid_reductions(lab: Lab) -> Finding:
    """The two ways in a row against the parallel one, with fewer channels than in the paper's figures."""
    graphs = grid_reductions(channels=128, side=36)
    measured = [
        AgainstMacs.measured(lab, graphs[way], graphs["parallel"], f"{way.replace('_', ' ')} against parallel")
        for way in ("expand_then_pool", "pool_then_expand")
    ]
    found = f"times as long as in parallel: expanding first {measured[0]}, pooling first {measured[1]}"
    return Finding(found, gravest(each.verdict for each in measured))
