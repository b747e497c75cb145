"""The string form of an architecture: MnasNet's block strings, extended, with a strict parser.

``r3_k5_s22_e3_i24_o40_se0.25_noskip``: 3 layers, kernel 5, stride 2, expansion 3, 24 to 40 channels, SE, no skip.
The notation is that of the published networks (tensorflow/tpu, `mnasnet_models.py`); new here are ``x200`` (absolute
expansion), ``conv`` (plain convolution), ``dwsep`` (MobileNetV1's pair), ``b64`` and ``bv64`` (ResNet bottleneck, stride on
the middle or the first convolution), ``hse0.25`` and ``gse0.25`` (MobileNetV3's and SENet's SE), ``poolskip``, ``valid``,
activations; and words for everything that is no such block: ``stem_``, ``head_``, ``norm_``, ``aux_``, ``maxpool_``,
``avgpool_``, ``lrn``, ``branches_i192(k1_o64|k1_o96,k3_o128)``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from search_spaces.arch import (
    BLOCK_ACTIVATIONS,
    ArchSpec,
    AuxHead,
    Block,
    BlockSpec,
    Head,
    Norm,
    SqueezeExcite,
    SqueezeRule,
    Stem,
)
from search_spaces.module import Branch, BranchConv, Branches, Fork, LocalNorm, Pool, Step
from search_spaces.token import Token, fraction, integer, parse_fields, token

_ACTIVATION = token(
    "|".join(BLOCK_ACTIVATIONS), f"({'|'.join(BLOCK_ACTIVATIONS)})", lambda t: {"activation": t}, "activation"
)
_STRIDE = token("s11|s22", "s(11|22)", lambda text: {"stride": int(text[0])}, "s", required=True)
_OPTIONAL_STRIDE = token("s22", "s(22)", lambda _: {"stride": 2}, "s")
_VALID = token("valid", "(valid)", lambda _: {"padding": "valid"}, "padding")
_CEIL = token("ceil", "(ceil)", lambda _: {"padding": "ceil"}, "padding")
_OPERATION = "eN, xN, bN, bvN, conv or dwsep"
_SQUEEZES: dict[SqueezeRule, str] = {"input": "se", "expansion": "hse", "gated": "gse"}


def _squeeze(rule: SqueezeRule, prefix: str) -> Token:
    return fraction(prefix, lambda value: {"se": SqueezeExcite(value, rule)}, slot="se")


_SQUEEZE_TOKENS = tuple(_squeeze(rule, prefix) for rule, prefix in _SQUEEZES.items())
_BOTTLENECKS = {"bottleneck": "b", "bottleneck_v1": "bv"}


def _bottleneck(op: str, prefix: str) -> Token:
    return token(
        f"{prefix}N",
        rf"{prefix}([1-9]\d*)",
        lambda text: {"op": op, "expand_channels": int(text)},
        _OPERATION,
        required=True,
    )


_BLOCK = (
    integer("r", "repeats"),
    integer("k", "kernel"),
    _STRIDE,
    integer("e", "expand_ratio", slot=_OPERATION),
    integer("x", "expand_channels", slot=_OPERATION),
    *(_bottleneck(op, prefix) for op, prefix in _BOTTLENECKS.items()),
    token("conv", "(conv)", lambda _: {"op": "conv"}, _OPERATION, required=True),
    token("dwsep", "(dwsep)", lambda _: {"op": "dwsep"}, _OPERATION, required=True),
    integer("i", "in_channels"),
    integer("o", "out_channels"),
    *_SQUEEZE_TOKENS,
    token("noskip", "(noskip)", lambda _: {"skip": "none"}, "skip"),
    token("poolskip", "(poolskip)", lambda _: {"skip": "pool"}, "skip"),
    _ACTIVATION,
    token("linear", "(linear)", lambda _: {"activation": "none"}, "activation"),
    _VALID,
)
_STEM = (integer("k", "kernel"), _STRIDE, integer("o", "channels"), _ACTIVATION, _VALID)
_HEAD = (
    integer("o", "channels"),
    token("noconv", "(noconv)", lambda _: {"channels": None}, "o", required=True),
    integer("f", "hidden", required=False),
    _ACTIVATION,
    fraction("d", lambda value: {"dropout": value}),
)
_NORM = (fraction("e", lambda value: {"epsilon": value}, required=True),)
_AUX = (
    integer("b", "after"),
    fraction("w", lambda value: {"weight": value}, required=True),
    integer("o", "channels"),
    integer("c", "final_channels", required=False),
    integer("f", "hidden", required=False),
    fraction("d", lambda value: {"dropout": value}),
)
_POOL = (
    integer("k", "kernel"),
    _STRIDE,
    _VALID,
    _CEIL,
    token("countpad", "(countpad)", lambda _: {"counts_padding": True}, "countpad"),
)
_LRN = (integer("k", "size", required=False),)
_BRANCHES = (integer("i", "in_channels"), *_SQUEEZE_TOKENS, _ACTIVATION)
_BRANCH_CONV = (
    token("kN|kNxN", r"k([1-9]\d*(?:x[1-9]\d*)?)", lambda text: {"kernel": _kernel(text)}, "k", required=True),
    _OPTIONAL_STRIDE,
    integer("o", "channels"),
    _VALID,
)
_POOLS = {"max": "maxpool", "average": "avgpool"}
_NO_NORM = "nonorm"


def _kernel(text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    return int(height), int(width or height)


def _split(text: str, separator: str) -> list[str]:
    """`text` at `separator`s outside parentheses."""
    parts, depth = [""], 0
    for character in text:
        depth += (character == "(") - (character == ")")
        if depth < 0:
            break
        if character == separator and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    if depth != 0:
        raise ValueError(f"parentheses do not match in {text!r}")
    return parts


def _inside(text: str) -> tuple[str, str]:
    """What stands before the parenthesis that ends `text`, and in it."""
    before, opened, inside = text.partition("(")
    if not opened or not text.endswith(")"):
        raise ValueError(f"{text!r}: expected branches in parentheses, such as (k1_o64|k1_o96,k3_o128)")
    return before, inside[:-1]


def _parse_step(text: str) -> Step:
    if text.startswith("("):
        return Fork(_parse_branches(_inside(text)[1]))
    words = text.split("_")
    for kind, name in _POOLS.items():
        if words[0] == name:
            return Pool(kind, **parse_fields(text, words[1:], _POOL))  # type: ignore[arg-type]
    return BranchConv(**parse_fields(text, words, _BRANCH_CONV))


def _parse_branches(text: str) -> tuple[Branch, ...]:
    return tuple(tuple(map(_parse_step, _split(branch, ","))) for branch in _split(text, "|"))


def _parse_module(text: str) -> Branches:
    before, inside = _inside(text)
    fields = parse_fields(text, before.split("_")[1:], _BRANCHES)
    return Branches(branches=_parse_branches(inside), **fields)


_Part = Stem | Block | Head | Norm | AuxHead | None


def _parse_part(text: str) -> _Part:
    words = text.split("_")
    match words[0].partition("(")[0]:
        case "stem":
            return Stem(**parse_fields(text, words[1:], _STEM))
        case "head":
            return Head(**parse_fields(text, words[1:], _HEAD))
        case "norm":
            return Norm(**parse_fields(text, words[1:], _NORM))
        case "aux":
            return AuxHead(**parse_fields(text, words[1:], _AUX))
        case "maxpool" | "avgpool":
            step = _parse_step(text)
            assert isinstance(step, Pool)
            return step
        case "lrn":
            return LocalNorm(**parse_fields(text, words[1:], _LRN))
        case "branches":
            return _parse_module(text)
    if text == _NO_NORM:
        return None
    return BlockSpec(**parse_fields(text, words, _BLOCK))


def _parse_named(text: str) -> _Part:
    try:
        return _parse_part(text)
    except ValueError as error:
        raise ValueError(f"{error} (in {text!r})" if repr(text) not in str(error) else str(error)) from None


def parse_arch(text: str) -> ArchSpec:
    """The architecture that `text` describes: ``[norm] [stem] block block ... [head] [aux ...]``, by white space.

    A stem or head that is left out is MnasNet's (stem_k3_s22_o32, head_o1280), and so is the norm (norm_e0.001).

    Raises:
        ValueError: a token is unknown, missing, repeated or out of range, parts are out of order, or widths do not
            chain; the message shows the token and what is allowed.
    """
    parts = [_parse_named(word) for word in text.split()]
    fields: dict[str, Any] = {}
    if parts and (parts[0] is None or isinstance(parts[0], Norm)):
        fields["norm"] = parts.pop(0)
    if parts and isinstance(parts[0], Stem):
        fields["stem"] = parts.pop(0)
    aux: list[AuxHead] = []
    while parts and isinstance(last := parts[-1], AuxHead):
        aux.insert(0, last)
        parts.pop()
    if parts and isinstance(parts[-1], Head):
        fields["head"] = parts.pop()
    blocks = tuple(part for part in parts if isinstance(part, Block))
    if len(blocks) != len(parts):
        raise ValueError(f"order is [norm] [stem] blocks [head] [aux ...], norm, stem and head once: {text!r}")
    return ArchSpec(blocks, aux=tuple(aux), **fields)


def _number(value: float) -> str:
    """All digits of `value` and no exponent, so that the parser gets the same float back."""
    return np.format_float_positional(value, trim="-")


def _common_words(part: Any) -> list[str]:
    """Words for SE, activation and padding, where they are not the defaults."""
    words = []
    if (se := getattr(part, "se", None)) is not None:
        words.append(f"{_SQUEEZES[se.rule]}{_number(se.ratio)}")
    words += {"identity": [], "none": ["noskip"], "pool": ["poolskip"]}[getattr(part, "skip", "identity")]
    if (activation := getattr(part, "activation", "relu")) != "relu":
        words.append("linear" if activation == "none" else activation)
    if (padding := getattr(part, "padding", "same")) != "same":
        words.append(padding)
    return words


def _sizes(part: Any) -> list[str]:
    return [f"k{part.kernel}", f"s{part.stride}{part.stride}"]


def _format_spec(block: BlockSpec) -> str:
    inner = block.expand_channels
    if block.op == "mbconv":
        operation = f"x{inner}" if inner else f"e{block.expand_ratio}"
    else:
        operation = f"{_BOTTLENECKS[block.op]}{inner}" if block.is_bottleneck else block.op
    words = [f"r{block.repeats}", *_sizes(block), operation, f"i{block.in_channels}", f"o{block.out_channels}"]
    return "_".join(words + _common_words(block))


def _format_step(step: Step) -> str:
    match step:
        case Pool():
            countpad = ["countpad"] if step.counts_padding else []
            return "_".join([_POOLS[step.kind], *_sizes(step), *_common_words(step), *countpad])
        case BranchConv():
            height, width = step.kernel
            kernel = f"k{height}" if height == width else f"k{height}x{width}"
            return "_".join([kernel, *(["s22"] if step.stride == 2 else []), f"o{step.channels}", *_common_words(step)])
        case Fork():
            return f"({_format_branches(step.branches)})"


def _format_branches(branches: tuple[Branch, ...]) -> str:
    return "|".join(",".join(map(_format_step, branch)) for branch in branches)


def format_block(block: Block) -> str:
    """`block` as one word; `parse_arch` reads it back."""
    match block:
        case BlockSpec():
            return _format_spec(block)
        case Pool():
            return _format_step(block)
        case LocalNorm():
            return "lrn" if block == LocalNorm() else f"lrn_k{block.size}"
        case Branches():
            words = ["branches", f"i{block.in_channels}", *_common_words(block)]
            return f"{'_'.join(words)}({_format_branches(block.branches)})"


def _format_head(head: Head) -> str:
    words = ["head", f"o{head.channels}" if head.channels else "noconv", *([f"f{head.hidden}"] if head.hidden else [])]
    dropout = [] if head.dropout == Head().dropout else [f"d{_number(head.dropout)}"]
    return "_".join(words + _common_words(head) + dropout)


def _format_aux(aux: AuxHead) -> str:
    words = ["aux", f"b{aux.after}", f"w{_number(aux.weight)}", f"o{aux.channels}"]
    words += [f"c{aux.final_channels}"] if aux.final_channels else []
    words += [f"f{aux.hidden}"] if aux.hidden else []
    return "_".join(words + ([f"d{_number(aux.dropout)}"] if aux.dropout else []))


def format_arch(arch: ArchSpec) -> str:
    """`arch` on one line; parts that are MnasNet's defaults are left out, so that its published strings print unchanged."""
    words = []
    if arch.norm != Norm():
        words.append(f"norm_e{_number(arch.norm.epsilon)}" if arch.norm else _NO_NORM)
    if arch.stem != Stem():
        words.append("_".join(["stem", *_sizes(arch.stem), f"o{arch.stem.channels}", *_common_words(arch.stem)]))
    words += map(format_block, arch.blocks)
    if arch.head != Head():
        words.append(_format_head(arch.head))
    words += map(_format_aux, arch.aux)
    return " ".join(words)
