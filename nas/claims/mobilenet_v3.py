"""Claims about MobileNetV3 (arXiv 1905.02244v5) but those about its activations."""

from __future__ import annotations

import math
from collections import Counter

from nas.claims.claim import Claim, Finding, claim, verdict_of
from nas.claims.figures import millions, percent, printed_as
from nas.claims.lab import Lab
from nas.claims.netadapt import first_proposals
from nas.netadapt.selection import Candidate, by_slope
from nas.objective import Objective
from search_spaces.block import Layer
from search_spaces.edits import with_squeeze_rule, without_squeeze
from search_spaces.graph import Conv

_PAPER = "arXiv 1905.02244v5"

AGAINST_V2 = Claim(
    16,
    "V3-Large is 3.2 points more accurate than V2 and 20 % faster.",
    published="75.2 against 72.0 %; 51 against 64 ms: -20.3 % (in v1 of the paper 66 against 78 ms: -15 %)",
    source=f"{_PAPER}, table 3",
)


@claim(
    17,
    "Squeeze-and-excitation of a quarter of the expansion raises accuracy at a modest cost in parameters and none to be "
    "seen in latency.",
    published="the same, without numbers",
    source=f"{_PAPER}, section 5.3",
)
def cost_of_squeeze(lab: Lab) -> Finding:
    """Parameters and MACs of all SE of V3-Large, and of its width by MnasNet's rule."""
    arch = lab.arch("mobilenet_v3_large")
    full, without = lab.count(arch), lab.count(without_squeeze(arch))
    narrow = lab.count(with_squeeze_rule(arch, 0.25, "input"))
    params, macs = full.params - without.params, full.macs - without.macs
    share, macs_share = params / full.params, macs / full.macs
    found = (
        f"SE is {millions(params, 2)} or {percent(share)} of the parameters and {percent(macs_share, 2)} of the "
        f"MACs; a quarter of the expansion in place of a quarter of the input adds "
        f"{millions(full.params - narrow.params, 2)} parameters"
    )
    if not 0 < macs_share < 0.02:
        return Finding(found, "fails here")
    if share < 0.1:
        return Finding(found, "holds")
    why = f"In MACs it is next to nothing, but {percent(share, 0)} of all parameters are more than modest."
    return Finding(found, "holds in direction", why)


@claim(
    18,
    "Squeeze-and-excitation stands after the depthwise convolution, on the expansion.",
    published="the same",
    source=f"{_PAPER}, figure 4 and section 5.3",
)
def place_of_squeeze(lab: Lab) -> Finding:
    """What SE reads and gates in every layer that has it, and what reads it."""
    placed = squeezed = 0
    for name in ("mobilenet_v3_large", "mobilenet_v3_small"):
        for layer, parts in lab.layers(name).items():
            if "se.pool" not in parts:
                continue
            squeezed += 1
            depthwise, gate = f"{layer}.depthwise", f"{layer}.se.gate"
            placed += (
                parts["se.pool"].inputs == (depthwise,)
                and parts["se.scale"].inputs == (depthwise, gate)
                and parts["project"].inputs == (f"{layer}.se.scale",)
                and parts["se.gate"].shape[0] == parts["depthwise"].shape[0]
            )
    return Finding(
        f"so in {placed} of {squeezed} layers with SE, of Large and Small", verdict_of(placed == squeezed > 0)
    )


@claim(
    19,
    "V3-Large starts from MnasNet-A1.",
    published="the same",
    source=f"{_PAPER}, section 4.1",
)
def starts_from_mnasnet(lab: Lab) -> Finding:
    """The layer tables side by side: what NetAdapt and the redesigns do not touch must be equal."""
    seed, large = (
        [layer for layer in lab.arch(name).layers() if isinstance(layer, Layer)]
        for name in ("mnasnet_a1", "mobilenet_v3_large")
    )
    pairs = list(zip(seed, large, strict=False))
    same = sum(
        (a.kernel, a.stride, a.out_channels, a.squeezed_channels > 0)
        == (b.kernel, b.stride, b.out_channels, b.squeezed_channels > 0)
        for a, b in pairs
    )
    # after the first layer, whose expansion follows the stem
    narrowed = [(a.expanded_channels, b.expanded_channels) for a, b in pairs[1:]]
    narrowed = [(before, after) for before, after in narrowed if before != after]
    told = ", ".join(f"{before} to {after}" for before, after in narrowed)
    found = (
        f"{same} of {len(large)} layers have the kernel, stride, width and SE of the seed's {len(seed)}; expansions "
        f"{told}; the seed's last layer is gone"
    )
    descends = same == len(large) == len(seed) - 1 and all(after < before for before, after in narrowed)
    return Finding(found, verdict_of(descends))


@claim(
    20,
    "V3-Small is searched with w = -0.15, since accuracy of small networks changes faster with latency.",
    published="w = -0.15 in place of -0.07",
    source=f"{_PAPER}, section 4.1",
)
def exponent_of_small(_: Lab) -> Finding:
    """What doubling the latency must bring in accuracy for an equal reward."""
    objective = Objective(target_ms=20.0, alpha=-0.15, beta=-0.15)
    base = objective.reward(0.6, 15.0)
    gain = base / objective.reward(0.6, 30.0) - 1
    apart = abs(objective.reward(1.11 * 0.6, 30.0) / base - 1)
    found = f"doubling the latency is worth {percent(gain)} of accuracy; rewards of (a, l), (1.11 a, 2 l) differ by "
    return Finding(found + percent(apart, 2), verdict_of(apart < 1e-3))


@claim(
    21,
    "NetAdapt's proposals, of two types, are chosen by accuracy lost per latency saved; each saves 1 % of the seed's "
    "latency.",
    published="the same",
    source=f"{_PAPER}, section 4.2",
)
def netadapt_selection(lab: Lab) -> Finding:
    """The proposals of the first step on MnasNet-A1, by multiply-adds, and whom the rule takes of two."""
    whole, proposals = first_proposals(lab)
    kinds = Counter(proposal.kind for proposal in proposals)
    shares = [proposal.saving / whole for proposal in proposals]
    cheap, dear = sorted(proposals, key=lambda proposal: proposal.saving)[:: len(proposals) - 1]
    # the second loses half as much again for each multiply-add that it saves
    candidates = [Candidate(cheap, 0.74, -0.01), Candidate(dear, 0.70, -0.01 * 1.5 * dear.saving / cheap.saving)]
    by_ratio = by_slope(candidates).candidate.proposal is cheap
    found = (
        f"{kinds['expansion']} proposals narrow an expansion, {kinds['bottleneck']} a bottleneck with all layers that skips "
        f"tie to it; each saves {percent(min(shares), 2)} to {percent(max(shares), 1)} of the multiply-adds"
    )
    return Finding(found, verdict_of(set(kinds) == {"expansion", "bottleneck"} and min(shares) >= 0.01 and by_ratio))


@claim(
    22,
    "T = 10000 is the number of NetAdapt iterations.",
    published="T = 10000 steps of fine-tuning for each proposal",
    source=f"{_PAPER}, section 4.2",
)
def meaning_of_t(_: Lab) -> Finding:
    """How many iterations there can be: each saves at least 1 % of the seed's latency, which no 10000 can."""
    step, seed_ms, final_ms = 0.01, 71.0, 51.0  # Pixel 1: MnasNet-A1 and V3-Large, table 3
    most, needed = math.floor(1 / step), math.ceil(round((1 - final_ms / seed_ms) / step, 6))
    found = (
        f"each iteration saves 1 % of the seed's latency: {most} would leave nothing, {needed} suffice from MnasNet-A1's "
        f"{seed_ms:.0f} ms to V3-Large's {final_ms:.0f}"
    )
    why = (
        "T counts the steps of fine-tuning of one proposal; the number of iterations follows from the latency wanted. "
        "The paper adds that T = 10000 raises the accuracy of proposals, not that of the network trained in the end."
    )
    return Finding(found, "the notes are wrong" if most < 10_000 else "holds", why)


@claim(
    23,
    "Redesigning the last stage saves 7 ms, 11 % of the time and 30 M MACs at almost no loss of accuracy.",
    published="the same",
    source=f"{_PAPER}, section 5.1 and figure 5",
)
def last_stage(lab: Lab) -> Finding:
    """Counts with the stage before and after."""
    before, after = lab.count("mobilenet_v3_large_original_last_stage"), lab.count("mobilenet_v3_large")
    saved = before.macs - after.macs
    found = (
        f"{millions(-saved)} MACs, {percent(saved / before.macs)} of them, and "
        f"{millions(after.params - before.params, 2)} more parameters"
    )
    return Finding(found, verdict_of(25e6 <= saved < 35e6))  # printed with one digit


@claim(
    24,
    "16 first filters in place of 32 save 2 ms and 10 M MACs at the same accuracy.",
    published="the same",
    source=f"{_PAPER}, section 5.1",
)
def first_filters(lab: Lab) -> Finding:
    """Counts with both stems; the first block, which takes the stem's channels, saves too."""
    before, after = lab.count("mobilenet_v3_large_stem32"), lab.count("mobilenet_v3_large")
    saved = before.macs - after.macs
    found = f"{millions(-saved, 2)} MACs, {percent(saved / before.macs)}; {after.params - before.params} parameters"
    return Finding(found, verdict_of(printed_as(saved / 1e6, "10")))


@claim(
    30,
    "The layer tables of Large and Small.",
    published="5,483,032 and 2,542,856 parameters; 217 and 57 M MACs",
    source=f"{_PAPER}, tables 1, 2 and 9; parameters of torchvision's `mobilenet_v3.py`",
)
def layer_tables(lab: Lab) -> Finding:
    """Counts of the tables as built."""
    large, small = lab.count("mobilenet_v3_large"), lab.count("mobilenet_v3_small")
    activations = [
        {op.activation for op in lab.graph(name).ops if isinstance(op, Conv) and ".se." not in op.name}
        for name in ("mobilenet_v3_large", "mobilenet_v3_small")
    ]
    macs = f"{millions(large.macs)} and {millions(small.macs)} MACs"
    found = f"{large.params:,} and {small.params:,} parameters, {macs}"
    exact = (large.params, small.params) == (5_483_032, 2_542_856)
    printed = printed_as(large.macs / 1e6, "217") and printed_as(small.macs / 1e6, "57")
    mixed = all(kinds == {"relu", "hswish", "none"} for kinds in activations)
    return Finding(found, verdict_of(exact and printed and mixed))
