"""An ARCH as people name it: a network of the zoo, an architecture string, or a JSON file."""

from __future__ import annotations

import json
import os
from pathlib import Path

from nas.errors import UserError
from search_spaces.arch import ArchSpec
from search_spaces.arch_json import arch_from_json
from search_spaces.arch_string import parse_arch
from search_spaces.zoo import ZOO


def resolve_network(text: str) -> ArchSpec:
    """The architecture that `text` names.

    Raises:
        UserError: it is none of the three, or the string or file is wrong.
    """
    if text in ZOO:
        return ZOO[text]
    path = Path(os.path.expanduser(text))  # unlike Path.expanduser, leaves the home of an unknown user alone
    if path.suffix == ".json" or os.path.isfile(path):
        return _read(path)
    if "_" in text and any(character.isdigit() for character in text) and text[:1] in "rs":
        try:
            return parse_arch(text)
        except ValueError as error:
            raise UserError(f"architecture: {error}") from None
    raise UserError(f"{text!r}: neither a network ({', '.join(ZOO)}), nor an architecture string, nor a JSON file")


def _read(path: Path) -> ArchSpec:
    try:
        return arch_from_json(json.loads(path.read_text()))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise UserError(f"{path}: {error}") from None


def network_name(arch: ArchSpec) -> str:
    """The zoo's name of `arch`, or its string."""
    return next((name for name, spec in ZOO.items() if spec == arch), str(arch))
