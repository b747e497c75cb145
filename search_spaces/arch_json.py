"""The JSON form of an architecture: one field per decision, strict, with a format version."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from search_spaces.arch import ArchSpec, BlockSpec, Head, SqueezeExcite, Stem

FORMAT = "nas-arch"
VERSION = 1


def arch_to_json(arch: ArchSpec) -> dict[str, Any]:
    """A JSON document (dict, list, str, int, float, None) that `arch_from_json` reads back; carries the string form too."""
    return {"format": FORMAT, "version": VERSION, "arch": str(arch), **dataclasses.asdict(arch)}


Spec = TypeVar("Spec", Stem, BlockSpec, Head, SqueezeExcite)


def _strict(kind: type[Spec], document: Any, where: str) -> Spec:
    if not isinstance(document, Mapping):
        raise ValueError(f"{where}: expected an object, got {type(document).__name__}")
    names = [field.name for field in dataclasses.fields(kind)]
    unknown, missing = sorted(set(document) - set(names)), sorted(set(names) - set(document))
    if unknown or missing:
        raise ValueError(f"{where}: unknown keys {unknown}, missing keys {missing}; expected exactly {names}")
    try:
        return kind(**document)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: {error}") from None


def arch_from_json(document: Any) -> ArchSpec:
    """The architecture in `document`.

    Raises:
        ValueError: not of this format or version, a key unknown or missing, a value out of range.
    """
    if not isinstance(document, Mapping) or document.get("format") != FORMAT:
        raise ValueError(f"not an architecture: expected a JSON object with format {FORMAT!r}")
    if document.get("version") != VERSION:
        raise ValueError(
            f"architecture format version {document.get('version')!r}: this program reads version {VERSION}"
        )
    unknown = sorted(set(document) - {"format", "version", "arch", "stem", "blocks", "head"})
    if unknown or not isinstance(document.get("blocks"), list | tuple):
        raise ValueError(f"architecture: unknown keys {unknown} or no list of blocks")
    blocks = []
    for number, block in enumerate(document["blocks"], start=1):
        where = f"block {number}"
        se = block.get("se") if isinstance(block, Mapping) else None
        resolved = {**block, "se": _strict(SqueezeExcite, se, f"{where}.se")} if se is not None else block
        blocks.append(_strict(BlockSpec, resolved, where))
    return ArchSpec(
        tuple(blocks),
        _strict(Stem, document.get("stem"), "stem"),
        _strict(Head, document.get("head"), "head"),
    )
