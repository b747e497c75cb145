"""Claims about GoogLeNet (arXiv 1409.4842) and its form with batch normalisation (arXiv 1502.03167)."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import numpy as np

from nas.claims.claim import Claim, Finding, claim, verdict_of
from nas.claims.figures import millions, percent, printed_as
from nas.claims.lab import Lab
from search_spaces.arch import ArchSpec
from search_spaces.arch_string import parse_arch
from search_spaces.count import num_weights, op_macs
from search_spaces.graph import Conv, Op
from search_spaces.lower import lower, lower_block
from search_spaces.module import Branch, BranchConv, Branches

_GOOGLENET = "arXiv 1409.4842"
_BN = "arXiv 1502.03167"


def named_modules(arch: ArchSpec) -> dict[str, Branches]:
    """GoogLeNet's modules by their names: 3a, 3b, 4a to 4e, 5a, 5b."""
    modules = [block for block in arch.blocks if isinstance(block, Branches)]
    return dict(zip(("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b"), modules, strict=True))


@claim(
    44,
    "GoogLeNet has two auxiliary classifiers, whose losses count 0.3.",
    published="at 4a and 4d, weight 0.3, in training only",
    source=f"{_GOOGLENET}, section 5",
)
def auxiliary_classifiers(lab: Lab) -> Finding:
    """The graphs for training and inference, and the loss that training takes, at low resolution."""
    import torch
    from torch.nn import functional as F

    from nas.training import training_loss
    from search_spaces.torch_module import build_module

    arch = lab.arch("googlenet")
    training, inference = (lab.graph("googlenet", training=training) for training in (True, False))
    weights = [output.weight for output in training.auxiliary]
    kept = {op.name.partition(".")[0] for op in inference.ops if op.name.startswith("aux")}
    places = [_module_before(arch, head.after) for head in arch.aux]

    module = build_module(
        lower(arch, 64, 10, training=True), lab.seed
    ).eval()  # no dropout, so that both see one network
    images = torch.from_numpy(lab.rng().standard_normal((2, 3, 64, 64), dtype=np.float32))
    labels = torch.tensor([3, 7])
    with torch.no_grad():
        main, first, second = (float(F.cross_entropy(logits, labels)) for logits in module.outputs(images))
        loss = float(training_loss(module, images, labels))
    summed = math.isclose(loss, main + 0.3 * (first + second), rel_tol=1e-5)
    found = (
        f"{len(weights)} in training, after {' and '.join(places)}, weights {', '.join(f'{w:g}' for w in weights)}; "
        f"{len(kept)} at inference; the loss is {'' if summed else 'not '}main + 0.3 (first + second)"
    )
    right = weights == [0.3, 0.3] and places == ["4a", "4d"] and not inference.auxiliary and not kept and summed
    return Finding(found, verdict_of(right))


def _module_before(arch: ArchSpec, place: int) -> str:
    block = arch.blocks[place - 1]
    return next((name for name, module in named_modules(arch).items() if module is block), f"block {place}")


@claim(
    45,
    "GoogLeNet beats VGG by about 1.5 % less error.",
    published="top-5 error of ILSVRC 2014 6.67 against 7.32 %",
    source=f"{_BN}, figure 4; ILSVRC 2014 results",
)
def against_vgg(_: Lab) -> Finding:
    """A look-up: the difference of the two published errors."""
    points = 7.32 - 6.67
    found = f"{points:.2f} points by the published errors"
    if printed_as(points, "1.5"):
        return Finding(found, "holds")
    return Finding(found, "the notes are wrong", "A difference of 1.5 points is printed in none of the papers.")


def naive_module(module: Branches) -> Branches:
    """Without the 1x1 convolutions that narrow what a branch reads or what its pooling gives."""

    def bare(branch: Branch) -> Branch:
        kept = tuple(step for step in branch if not (isinstance(step, BranchConv) and step.kernel == (1, 1)))
        return kept or branch

    return replace(module, branches=tuple(map(bare, module.branches)))


@claim(
    46,
    "1x1 reductions keep the cost of a module down.",
    published="the same, without numbers",
    source=f"{_GOOGLENET}, section 4 and figure 2",
)
def reductions(lab: Lab) -> Finding:
    """Module 3a with them and without; the naive one also gives more channels, which the next would have to read."""
    module = named_modules(lab.arch("googlenet"))["3a"]
    naive = naive_module(module)
    macs = [sum(map(op_macs, lower_block(m, (m.in_channels, 28, 28), 1, norm=None).ops)) for m in (module, naive)]
    found = (
        f"module 3a: {millions(macs[0])} MACs and {module.out_channels} channels with, {millions(macs[1])} and "
        f"{naive.out_channels} without: {macs[1] / macs[0]:.2f} x"
    )
    return Finding(found, verdict_of(macs[1] > macs[0] and naive.out_channels > module.out_channels))


_OPS_M = {
    "3a": "128", "3b": "304", "4a": "73", "4b": "88", "4c": "100", "4d": "119", "4e": "170", "5a": "54", "5b": "71",
}  # fmt: skip
_FIRST_OPS_M = 34  # of the first convolution, which is separable in the table
_PARAMS_K = 6797.7  # of all rows; K is 1024, as row by row shows
_OPS_TOTAL_M = 1502


@claim(
    47,
    "GoogLeNet's table of modules.",
    published="operations of 3a to 5b 128, 304, 73, 88, 100, 119, 170, 54, 71 M; all rows 6797.7 K parameters, 1502 M",
    source=f"{_GOOGLENET}, table 1",
)
def module_table(lab: Lab) -> Finding:
    """Each row of modules, and the sums with the table's separable first convolution; the built one is plain."""
    graph, modules = lab.graph("googlenet"), named_modules(lab.arch("googlenet"))
    blocks = lab.arch("googlenet").blocks
    by_block: Counter[str] = Counter()
    for op in graph.ops:
        by_block[op.name.partition(".")[0]] += op_macs(op)
    rows_m = {name: by_block[f"b{blocks.index(module) + 1}"] / 1e6 for name, module in modules.items()}
    differing = [name for name, printed in _OPS_M.items() if not printed_as(rows_m[name], printed)]
    counts = lab.count("googlenet")
    table_m = (counts.macs - by_block["stem"]) / 1e6 + _FIRST_OPS_M
    weights = sum(map(num_weights, graph.ops))
    told = ", ".join(f"{name} ({rows_m[name]:.0f} M, printed {_OPS_M[name]})" for name in differing)
    found = (
        f"{len(rows_m) - len(differing)} of {len(rows_m)} rows as printed, differing: {told}; {millions(counts.params, 2)} "
        f"parameters and {counts.macs / 1e9:.3f} G in all, {table_m:.0f} M with the table's first convolution"
    )
    why = (
        "The printed 54 M of row 5a fit 48 channels before its 5x5, where the table says 32. The first convolution is "
        "plain here, as in the authors' released model."
    )
    right = differing == ["5a"] and math.isclose(table_m, _OPS_TOTAL_M, rel_tol=0.005)
    right &= math.isclose(weights / 1024, _PARAMS_K, rel_tol=0.01)
    return Finding(found, verdict_of(right), why)


LEARNING_RATE_OF_BN = Claim(
    48,
    "BN allows higher learning rates and makes dropout dispensable.",
    published="millions of steps to 72.2 %: 31.0 without BN, 13.3 with, 2.1 at 5 times the rate, 2.7 at 30 times; best "
    "72.2, 72.7, 73.0, 74.8 %",
    source=f"{_BN}, figure 3",
)


@claim(
    49,
    "BN's gamma and beta are trained by back-propagation.",
    published="the same",
    source=f"{_BN}, section 3",
)
def gradients_of_bn(lab: Lab) -> Finding:
    """Gradients of gamma and beta of a small network against finite differences, in float64."""
    import torch
    from torch.nn import functional as F

    from search_spaces.torch_module import build_module

    arch = parse_arch("stem_k3_s22_o8_hswish r2_k3_s11_dwsep_i8_o8_noskip_hswish head_noconv_d0")  # smoother than ReLU
    module = build_module(lower(arch, 16, 5), lab.seed).double().train()
    rng = lab.rng()
    images = torch.from_numpy(rng.standard_normal((8, 3, 16, 16)))
    labels = torch.from_numpy(rng.integers(0, 5, 8))
    parameters = [p for name, p in module.named_parameters() if ".norm." in name]
    with torch.no_grad():
        for parameter in parameters:
            parameter.copy_(torch.from_numpy(rng.normal(1, 0.3, parameter.shape)))
    gradients = torch.autograd.grad(F.cross_entropy(module(images), labels), parameters)
    step, apart = 1e-5, 0.0
    for parameter, gradient in zip(parameters, gradients, strict=True):
        direction = torch.from_numpy(rng.standard_normal(parameter.shape))
        losses = []
        for sign in (1, -2, 1):  # there, to the other side, and back
            with torch.no_grad():
                parameter.add_(direction, alpha=sign * step)
                losses.append(float(F.cross_entropy(module(images), labels)))
        difference = (losses[0] - losses[1]) / (2 * step)
        apart = max(apart, abs(difference - float((gradient * direction).sum())) / float(gradient.norm()))
    found = f"{len(parameters)} vectors of gamma and beta: gradients within {apart:.0e} of finite differences"
    trained = all(float(gradient.norm()) > 0 for gradient in gradients)
    return Finding(found, verdict_of(trained and apart < 1e-5))


def _kernels(lab: Lab, name: str) -> Counter[tuple[int, int]]:
    """How often each kernel occurs in the modules."""
    return Counter(op.kernel for op in lab.graph(name).ops if _in_module(op) and isinstance(op, Conv))


def _in_module(op: Op) -> bool:
    return ".branch" in op.name


@claim(
    50,
    "Inception V2 (with BN) replaces 5x5 convolutions by two 3x3.",
    published="for the whole re-tuned network +25 % parameters, +30 % computation",
    source=f"{_BN}, section 4.2.1 and appendix",
)
def double_three(lab: Lab) -> Finding:
    """Kernels in the modules of both networks, and what the whole networks cost."""
    before, after = _kernels(lab, "googlenet"), _kernels(lab, "inception_bn")
    first, second = lab.count("googlenet"), lab.count("inception_bn")
    params, macs = second.params / first.params - 1, second.macs / first.macs - 1
    found = (
        f"5x5 convolutions {before[5, 5]} and {after[5, 5]}, 3x3 {before[3, 3]} and {after[3, 3]}; "
        f"{millions(second.params)} against {millions(first.params)} parameters ({percent(params, 0)} more), "
        f"{second.macs / 1e9:.2f} against {first.macs / 1e9:.2f} G ({percent(macs, 0)} more)"
    )
    if not before[5, 5] or after[5, 5] or min(params, macs) <= 0:
        return Finding(found, "fails here")
    if printed_as(100 * params, "25") and printed_as(100 * macs, "30"):
        return Finding(found, "holds")
    why = (
        "The network was re-tuned as well: one more module and wider ones. Its computation is the printed one within "
        "2 points; the printed parameters are not those of its own table."
    )
    return Finding(found, "holds in direction", why)
