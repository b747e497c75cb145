"""Claims about NetAdapt (arXiv 1804.03230)."""

from __future__ import annotations

from collections.abc import Sequence

from nas.claims.claim import Claim, Finding, claim, verdict_of
from nas.claims.figures import percent
from nas.claims.lab import Lab
from nas.netadapt.adaptation import Judgement, Position, Rules, adapt
from nas.netadapt.cost import mac_cost
from nas.netadapt.proposal import Proposal, offer
from nas.netadapt.schedule import ReductionSchedule
from nas.netadapt.selection import by_accuracy
from search_spaces.arch import ArchSpec
from search_spaces.edits import one_layer_blocks
from search_spaces.narrowing import groups_of
from search_spaces.zoo import get

_PAPER = "arXiv 1804.03230"
_SEED = "mnasnet_a1"
_RESOLUTION, _CLASSES = 224, 1000


@claim(
    36,
    "Each step asks for a little less of the resource, makes K proposals that change one layer each, and keeps the most "
    "accurate, until the budget is met.",
    published="the same",
    source=f"{_PAPER}, algorithm 1",
)
def algorithm(_: Lab) -> Finding:
    """The loop on MnasNet-A1's multiply-adds, with accuracies that are made up; widths are counted, not layers."""
    seed, model = one_layer_blocks(get(_SEED)), mac_cost(_RESOLUTION, _CLASSES)
    start = Position(seed, model.cost(seed))
    rules = Rules(ReductionSchedule.parse("0.025L*0.96"), start.cost, 0.9 * start.cost, by_accuracy)
    steps = list(adapt(start, rules, model.cost, _made_up))
    kept = all(
        step.choice.candidate.accuracy == max(candidate.accuracy for candidate in step.judgement.candidates)
        and step.parent.cost - step.position.cost >= step.reduction
        for step in steps
    )
    single = all(
        _num_changed(step.parent.arch, candidate.proposal.arch) == 1
        for step in steps
        for candidate in step.judgement.candidates
    )
    proposals = " and ".join(str(len(step.judgement.candidates)) for step in steps)
    found = (
        f"{len(steps)} steps to {percent(steps[-1].position.cost / start.cost)} of MnasNet-A1's multiply-adds, with "
        f"{proposals} proposals of one width each; each saves what is asked for"
    )
    return Finding(found, verdict_of(kept and single and steps[-1].position.cost <= rules.target))


def _made_up(_: Position, proposals: Sequence[Proposal]) -> Judgement:
    """The more of a width is left the better."""
    return Judgement.of(1.0, proposals, [proposal.after / proposal.before for proposal in proposals])


def _num_changed(parent: ArchSpec, child: ArchSpec) -> int:
    """Widths that were chosen anew; those that follow by a rule aside."""
    pairs = zip(groups_of(parent), groups_of(child), strict=True)
    return sum(one.width != other.width for one, other in pairs if one.kind != "derived")


def first_proposals(lab: Lab) -> tuple[float, tuple[Proposal, ...]]:
    """Multiply-adds of MnasNet-A1, and the proposals that save a hundredth of them."""
    seed, model = one_layer_blocks(lab.arch(_SEED)), mac_cost(_RESOLUTION, _CLASSES)
    whole = model.cost(seed)
    return whole, offer(seed, model.cost, 0.01 * whole).proposals


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
    awaits="adaptations by latency and by multiply-adds have not been compared here yet",
)


@claim(
    39,
    "The schedule of reductions works like one of learning rates.",
    published="a first reduction of 0.025 of the resource, times 0.96 each iteration",
    source="netadapt's PyTorch code; arXiv 1804.03230, section 3.2",
)
def schedule(_: Lab) -> Finding:
    """A decaying schedule and where it ends."""
    decaying = ReductionSchedule.parse("0.025L*0.96")
    halved = next(step for step in range(1, 100) if decaying.reduction(step, 1.0) <= 0.0125)
    total = decaying.total(1.0)
    found = (
        f"steps shrink as a learning rate that decays exponentially, to half after {halved - 1}; all of them together save "
        f"{percent(total)} and no more, so that coming down to a quarter, the default budget of that code, needs "
        "proposals that save more than they are asked to"
    )
    why = "The sum is finite: 0.025 / (1 - 0.96)."
    return Finding(found, verdict_of(abs(total - 0.625) < 1e-12), why)
