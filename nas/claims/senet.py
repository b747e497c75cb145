"""Claims about squeeze-and-excitation networks (arXiv 1709.01507)."""

from __future__ import annotations

import numpy as np

from nas.claims.claim import Claim, Finding, claim, verdict_of
from nas.claims.figures import percent, printed_as
from nas.claims.lab import Lab
from search_spaces.arch import BlockSpec, SqueezeExcite
from search_spaces.count import num_elements
from search_spaces.edits import with_squeeze
from search_spaces.graph import Scale
from search_spaces.lower import lower_block
from search_spaces.zoo import ZOO

_PAPER = "arXiv 1709.01507"
_RATIO = 1 / 16  # the paper's r = 16


def _squeeze_excite(u: np.ndarray, w1: np.ndarray, b1: np.ndarray, w2: np.ndarray, b2: np.ndarray) -> np.ndarray:
    """Equations 2 to 4 on maps of shape (channels, height, width)."""
    z = u.mean(axis=(1, 2))
    s = 1 / (1 + np.exp(-(w2 @ np.maximum(w1 @ z + b1, 0) + b2)))
    gated: np.ndarray = s[:, None, None] * u
    return gated


@claim(
    40,
    "Squeeze is the mean of a channel, excitation sigmoid(W2 ReLU(W1 z)), scaling a factor for each channel.",
    published="the same",
    source=f"{_PAPER}, equations 2 to 4",
)
def formulas(lab: Lab) -> Finding:
    """What the trained networks run, in float64, against NumPy, behind a 1x1 convolution with ReLU."""
    import torch

    from search_spaces.torch_module import build_module

    block = BlockSpec(1, 1, 32, 64, op="conv", se=SqueezeExcite(_RATIO, "gated"), skip="none")
    module = build_module(lower_block(block, (32, 9, 7), 1, norm=None), lab.seed).double().eval()
    rng = lab.rng()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.from_numpy(rng.standard_normal(parameter.shape)))
        image = rng.standard_normal((32, 9, 7))
        given = module(torch.from_numpy(image)[None])[0].numpy()
    weights = {name: parameter.detach().numpy() for name, parameter in module.named_parameters()}

    def affine(part: str) -> tuple[np.ndarray, np.ndarray]:
        return weights[f"b1.l1.{part}.conv.weight"][:, :, 0, 0], weights[f"b1.l1.{part}.conv.bias"]

    weight, bias = affine("conv")
    u = np.maximum(np.einsum("oi,ihw->ohw", weight, image) + bias[:, None, None], 0)
    apart = float(np.abs(given - _squeeze_excite(u, *affine("se.reduce"), *affine("se.gate"))).max())
    return Finding(f"at most {apart:.0e} from a NumPy reference, in float64", verdict_of(apart < 1e-10))


@claim(
    41,
    "SENet won ILSVRC 2017 with a top-5 error of 2.251 %, about 25 % better than the year before.",
    published="2.251 %; 2.991 % in 2016",
    source=f"{_PAPER}, abstract and section 7; ILSVRC 2016 results",
)
def winning_error(_: Lab) -> Finding:
    """A look-up: the improvement that the two published errors make."""
    winner, before = 2.251, 2.991
    improvement = 1 - winner / before
    return Finding(f"{percent(improvement)} by the published errors", verdict_of(printed_as(100 * improvement, "25")))


@claim(
    42,
    "Any architecture can take SE; SE-ResNet-50 is the example.",
    published="top-5 error 6.62 against 7.48 %, +0.26 % MACs (3.87 against 3.86 G), +10 % parameters; 167 against "
    "164 ms, a training step 209 against 190 ms",
    source=f"{_PAPER}, sections 3 and 4, table 2",
)
def any_architecture(lab: Lab) -> Finding:
    """Puts SE into every network of the zoo that has none, and counts what it adds to ResNet-50."""
    plain = [name for name in ZOO if not _squeezed(lab, name)]
    taken = sum(_squeezed(lab, name, with_se=True) for name in plain)
    base, squeezed = lab.count("resnet50"), lab.count("se_resnet50")
    params, macs = squeezed.params - base.params, squeezed.macs - base.macs
    ops = lab.graph("se_resnet50").ops
    # scaling reads as many elements as the pooling before it; ResNet's own last pooling is in both
    moved = 2 * sum(num_elements(op.shape) for op in ops if isinstance(op, Scale))
    found = (
        f"{taken} of the {len(plain)} networks here without SE take it; ResNet-50 gets {params:,} parameters "
        f"({percent(params / base.params)}) and {percent(macs / base.macs, 2)} MACs, "
        f"{percent((macs + moved) / base.macs, 2)} with pooling and scaling"
    )
    right = taken == len(plain) and printed_as(100 * params / base.params, "10")
    right &= printed_as((base.macs + macs + moved) / 1e9, "3.87")
    why = (
        "The printed 0.26 % is the step from 3.86 to 3.87 G, both rounded. The 3.87 G hold pooling and scaling "
        f"({(base.macs + macs + moved) / 1e9:.3f} G here); convolutions and linear layers alone make "
        f"{(base.macs + macs) / 1e9:.3f} G."
    )
    return Finding(found, verdict_of(right), why)


def _squeezed(lab: Lab, name: str, *, with_se: bool = False) -> bool:
    """Whether the network has a gate somewhere, of its own or with SE put in."""
    arch = lab.arch(name)
    graph = lab.graph(with_squeeze(arch, _RATIO) if with_se else arch, ZOO[name].resolution)
    return any(isinstance(op, Scale) for op in graph.ops)


BETTER_SQUEEZE = Claim(
    43,
    "A question of the notes: would 2x2 values a channel describe large maps better than one?",
    published="nothing",
    source="the notes",
    awaits="an open question, not a claim; four times the weights of the first layer of every SE",
)
