"""Claims about NetAdapt (arXiv 1804.03230)."""

from __future__ import annotations

from nas.claims.claim import Claim

_PAPER = "arXiv 1804.03230"
_STAGE = "its stage, NetAdapt, is not built yet"

CONSTRAINTS = Claim(
    36,
    "Each step asks for a little less of the resource, makes K proposals that change one layer each, and keeps the most "
    "accurate, until the budget is met.",
    published="the same",
    source=f"{_PAPER}, algorithm 1",
    awaits=_STAGE,
)
LAYER_TABLE = Claim(
    37,
    "A table of layers is enough to know a network's latency.",
    published="sums lie close to measured latencies: a figure without numbers",
    source=f"{_PAPER}, section 3.3",
)
DIRECT_METRICS = Claim(
    38,
    "Adapting by latency beats adapting by MACs.",
    published="up to 1.7 x faster at equal or higher accuracy than width multipliers",
    source=f"{_PAPER}, abstract",
    awaits=_STAGE,
)
SCHEDULE = Claim(
    39,
    "The schedule of reductions works like one of learning rates.",
    published="a first reduction of 0.025 of the resource, times 0.96 each iteration",
    source="netadapt's PyTorch code; arXiv 1804.03230, section 3.2",
    awaits=_STAGE,
)
