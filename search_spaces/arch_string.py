"""The string form of an architecture: MnasNet's block strings, extended, with a strict parser.

``r3_k5_s22_e3_i24_o40_se0.25_noskip``: 3 layers, kernel 5, stride 2, expansion 3, 24 to 40 channels, SE, no skip.
The notation is that of the published networks (tensorflow/tpu, `mnasnet_models.py`); new here are ``x200`` (absolute
expansion), ``conv`` (plain convolution), ``hse0.25`` (MobileNetV3's SE), ``poolskip``, activations, ``stem_`` and ``head_``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from search_spaces.arch import BLOCK_ACTIVATIONS, ArchSpec, BlockSpec, Head, SqueezeExcite, Stem


@dataclass(frozen=True, slots=True)
class _Token:
    """One kind of token: what it looks like, and the constructor arguments it stands for."""

    shown: str
    pattern: re.Pattern[str]
    fields: Callable[[str], dict[str, Any]]
    slot: str  # tokens of one slot exclude each other
    required: bool = False


def _token(
    shown: str, pattern: str, fields: Callable[[str], dict[str, Any]], slot: str, required: bool = False
) -> _Token:
    return _Token(shown, re.compile(pattern, re.ASCII), fields, slot, required)


def _integer(prefix: str, name: str, slot: str | None = None, required: bool = True) -> _Token:
    return _token(f"{prefix}N", rf"{prefix}([1-9]\d*)", lambda text: {name: int(text)}, slot or prefix, required)


_FRACTION = r"(0\.\d+|1|0)"
_ACTIVATION = _token(
    "|".join(BLOCK_ACTIVATIONS), f"({'|'.join(BLOCK_ACTIVATIONS)})", lambda t: {"activation": t}, "activation"
)
_STRIDE = _token("s11|s22", "s(11|22)", lambda text: {"stride": int(text[0])}, "s", required=True)

_BLOCK = (
    _integer("r", "repeats"),
    _integer("k", "kernel"),
    _STRIDE,
    _integer("e", "expand_ratio", slot="eN, xN or conv"),
    _integer("x", "expand_channels", slot="eN, xN or conv"),
    _token("conv", "(conv)", lambda _: {"op": "conv"}, "eN, xN or conv", required=True),
    _integer("i", "in_channels"),
    _integer("o", "out_channels"),
    _token("se0.N", f"se{_FRACTION}", lambda text: {"se": SqueezeExcite(float(text), "input")}, "se"),
    _token("hse0.N", f"hse{_FRACTION}", lambda text: {"se": SqueezeExcite(float(text), "expansion")}, "se"),
    _token("noskip", "(noskip)", lambda _: {"skip": "none"}, "skip"),
    _token("poolskip", "(poolskip)", lambda _: {"skip": "pool"}, "skip"),
    _ACTIVATION,
)
_STEM = (_integer("k", "kernel"), _STRIDE, _integer("o", "channels"), _ACTIVATION)
_HEAD = (
    _integer("o", "channels"),
    _integer("f", "hidden", required=False),
    _ACTIVATION,
    _token("d0.N", f"d{_FRACTION}", lambda text: {"dropout": float(text)}, "d"),
)


def _parse_fields(text: str, words: list[str], tokens: tuple[_Token, ...]) -> Mapping[str, Any]:
    """Constructor arguments of one part, from its words; each slot at most once, required ones exactly once."""
    allowed = ", ".join(token.shown for token in tokens)
    fields: dict[str, Any] = {}
    taken: dict[str, str] = {}
    for word in words:
        matches = [(token, match) for token in tokens if (match := token.pattern.fullmatch(word))]
        if not matches:
            raise ValueError(f"unknown token {word!r} in {text!r}; allowed: {allowed}")
        token, match = matches[0]
        if token.slot in taken:
            raise ValueError(f"token {word!r} repeats {taken[token.slot]!r} in {text!r}; allowed once: {token.slot}")
        taken[token.slot] = word
        fields.update(token.fields(match.group(1)))
    missing = sorted({token.slot for token in tokens if token.required} - taken.keys())
    if missing:
        raise ValueError(f"missing token {', '.join(missing)} in {text!r}; allowed: {allowed}")
    return fields


def _parse_part(text: str) -> Stem | BlockSpec | Head:
    words = text.split("_")
    kinds: dict[str, tuple[type[Stem | Head], tuple[_Token, ...]]] = {"stem": (Stem, _STEM), "head": (Head, _HEAD)}
    try:
        if words[0] in kinds:
            kind, tokens = kinds[words[0]]
            return kind(**_parse_fields(text, words[1:], tokens))
        return BlockSpec(**_parse_fields(text, words, _BLOCK))
    except ValueError as error:
        raise ValueError(f"{error} (in {text!r})" if repr(text) not in str(error) else str(error)) from None


def parse_arch(text: str) -> ArchSpec:
    """The architecture that `text` describes: ``[stem_...] block block ... [head_...]``, separated by white space.

    A stem or head that is left out is MnasNet's (stem_k3_s22_o32, head_o1280).

    Raises:
        ValueError: a token is unknown, missing, repeated or out of range, parts are out of order, or widths do not
            chain; the message shows the token and what is allowed.
    """
    parts = [_parse_part(word) for word in text.split()]
    stem = parts.pop(0) if parts and isinstance(parts[0], Stem) else Stem()
    head = parts.pop() if parts and isinstance(parts[-1], Head) else Head()
    blocks = tuple(part for part in parts if isinstance(part, BlockSpec))
    if len(blocks) != len(parts):
        raise ValueError(f"the stem comes first and the head last, each once: {text!r}")
    assert isinstance(stem, Stem)
    assert isinstance(head, Head)
    return ArchSpec(blocks, stem, head)


def _activation_words(activation: str) -> list[str]:
    return [] if activation == "relu" else [activation]


def _fraction_word(value: float) -> str:
    """All digits of `value` and no exponent, so that the parser gets the same float back."""
    return np.format_float_positional(value, trim="-")


def format_block(block: BlockSpec) -> str:
    """`block` as one word; `parse_arch` reads it back."""
    if block.op == "conv":
        operation = "conv"
    else:
        operation = f"x{block.expand_channels}" if block.expand_channels else f"e{block.expand_ratio}"
    words = [f"r{block.repeats}", f"k{block.kernel}", f"s{block.stride}{block.stride}", operation]
    words += [f"i{block.in_channels}", f"o{block.out_channels}"]
    if block.se:
        words.append(f"{'h' if block.se.rule == 'expansion' else ''}se{_fraction_word(block.se.ratio)}")
    words += {"identity": [], "none": ["noskip"], "pool": ["poolskip"]}[block.skip]
    return "_".join(words + _activation_words(block.activation))


def format_arch(arch: ArchSpec) -> str:
    """`arch` on one line; parts that are MnasNet's defaults are left out, so that its published strings print unchanged."""
    words = []
    if arch.stem != Stem():
        stem = [f"stem_k{arch.stem.kernel}_s{arch.stem.stride}{arch.stem.stride}_o{arch.stem.channels}"]
        words.append("_".join(stem + _activation_words(arch.stem.activation)))
    words += [format_block(block) for block in arch.blocks]
    if arch.head != Head():
        head = [f"head_o{arch.head.channels}"] + ([f"f{arch.head.hidden}"] if arch.head.hidden else [])
        dropout = [] if arch.head.dropout == Head().dropout else [f"d{_fraction_word(arch.head.dropout)}"]
        words.append("_".join(head + _activation_words(arch.head.activation) + dropout))
    return " ".join(words)
