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
    fields = dataclasses.asdict(arch)
    fields["blocks"] = list(fields["blocks"])
    return {"format": FORMAT, "version": VERSION, "arch": str(arch), **fields}


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
        ValueError: not of this format or version, a key unknown or missing, a value of the wrong type or out of range,
            or a string form that says something else than the fields. The message says where.
    """
    if not isinstance(document, Mapping) or document.get("format") != FORMAT:
        raise ValueError(f"not an architecture: expected a JSON object with format {FORMAT!r}")
    if document.get("version") != VERSION or isinstance(document["version"], bool):
        raise ValueError(
            f"architecture format version {document.get('version')!r}: this program reads version {VERSION}"
        )
    names = ["format", "version", "arch", "stem", "blocks", "head"]
    unknown, missing = sorted(set(document) - set(names)), sorted(set(names) - set(document) - {"arch"})
    if unknown or missing:
        raise ValueError(f"architecture: unknown keys {unknown}, missing keys {missing}; expected {names}")
    if not isinstance(document["blocks"], list | tuple):
        raise ValueError(f"blocks: expected a list, got {type(document['blocks']).__name__}")
    blocks = []
    for number, block in enumerate(document["blocks"], start=1):
        where = f"block {number}"
        se = block.get("se") if isinstance(block, Mapping) else None
        resolved = {**block, "se": _strict(SqueezeExcite, se, f"{where}.se")} if se is not None else block
        blocks.append(_strict(BlockSpec, resolved, where))
    arch = ArchSpec(tuple(blocks), _strict(Stem, document["stem"], "stem"), _strict(Head, document["head"], "head"))
    if document.get("arch", str(arch)) != str(arch):
        raise ValueError(
            f"arch: {document['arch']!r} disagrees with the fields, which say {str(arch)!r}; leave one out"
        )
    return arch
