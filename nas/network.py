"""An ARCH as people name it: a network of the zoo, an architecture string, or a JSON file."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from nas.errors import UserError
from search_spaces import zoo
from search_spaces.arch import ArchSpec
from search_spaces.arch_json import arch_from_json
from search_spaces.arch_string import parse_arch
from search_spaces.edits import replayed, with_squeeze
from search_spaces.zoo import ZOO

DEFAULT_RESOLUTION = 224
_STRING = re.compile(r"(?=.*_)(?=.*\d)(?:[rs]|norm_|nonorm |maxpool_|avgpool_|lrn[ _]|branches_)", re.ASCII | re.DOTALL)
FORM = "NAME[@WIDTH][/RESOLUTION] of the zoo, an architecture string, or a JSON file"


@dataclass(frozen=True, slots=True)
class NamedNetwork:
    """An architecture, what to call it, and the side in pixels of the input that it was made for."""

    name: str
    arch: ArchSpec
    resolution: int = DEFAULT_RESOLUTION


def resolve(text: str) -> NamedNetwork:
    """The network that `text` names.

    Raises:
        UserError: it is none of the three, or the string or file is wrong.
    """
    try:
        variant = zoo.find(text)
    except ValueError as error:
        raise UserError(str(error)) from None
    if variant is not None:
        return NamedNetwork(variant.name, variant.arch, variant.resolution)
    path = Path(os.path.expanduser(text))  # unlike Path.expanduser, leaves the home of an unknown user alone
    if path.suffix == ".json" or os.path.isfile(path):
        arch = _read(path)
    elif _STRING.match(text):
        try:
            arch = parse_arch(text)
        except ValueError as error:
            raise UserError(f"architecture: {error}") from None
    else:
        raise UserError(f"{text!r}: not {FORM}; the zoo has {', '.join(ZOO)}")
    return NamedNetwork(network_name(arch), arch)


def common_resolution(networks: Iterable[NamedNetwork], given: int | None = None) -> int:
    """The side in pixels at which all of them are run: the one given, or else the one that they are made for.

    Raises:
        UserError: they are made for several, and none is given.
    """
    if given is not None:
        return given
    sizes = sorted({network.resolution for network in networks})
    if len(sizes) > 1:
        listed = " and ".join(map(str, sizes))
        raise UserError(f"networks made for {listed} px: say which with --resolution, or see nas zoo compare")
    return sizes[0]


def resolve_network(text: str) -> ArchSpec:
    """The architecture of the network that `text` names; errors as `resolve`."""
    return resolve(text).arch


def history(text: str) -> dict[str, ArchSpec]:
    """The network that the zoo's `text` began as, and what it was after each edit: name -> architecture.

    Raises:
        UserError: no history is known of it.
    """
    known = {name: network.history for name, network in ZOO.items() if network.history}
    if text not in known:
        raise UserError(f"{text!r}: no history of edits; known for {', '.join(known)}")
    past = known[text]
    assert past is not None
    start = zoo.get(past.start)
    return {past.start: start, **dict(zip(past.edits, replayed(start, tuple(past.edits.values())), strict=True))}


def squeezed(network: NamedNetwork, ratio: float | None) -> NamedNetwork:
    """`network` with squeeze-and-excitation of that ratio wherever it can stand; unchanged without one.

    Raises:
        UserError: a ratio out of range.
    """
    if ratio is None:
        return network
    try:
        return NamedNetwork(f"{network.name} + SE {ratio:g}", with_squeeze(network.arch, ratio), network.resolution)
    except ValueError as error:
        raise UserError(f"--se {ratio:g}: {error}") from None


def _read(path: Path) -> ArchSpec:
    try:
        return arch_from_json(json.loads(path.read_text()))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise UserError(f"{path}: {error}") from None


def network_name(arch: ArchSpec) -> str:
    """The zoo's name of `arch`, or its string."""
    return next((name for name, network in ZOO.items() if network.arch == arch), str(arch))
