"""The JSON form of an architecture: one field per decision, strict, with a format version."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from search_spaces.arch import ArchSpec, AuxHead, BlockSpec, Head, Norm, SqueezeExcite, Stem
from search_spaces.module import BranchConv, Branches, Fork, LocalNorm, Pool

FORMAT = "nas-arch"
VERSION = 2

_BLOCKS: dict[str, type[Any]] = {"block": BlockSpec, "pool": Pool, "lrn": LocalNorm, "branches": Branches}
_STEPS: dict[str, type[Any]] = {"conv": BranchConv, "pool": Pool, "fork": Fork}


def _kind_of(spec: Any, kinds: Mapping[str, type[Any]]) -> str:
    return next(name for name, kind in kinds.items() if isinstance(spec, kind))


def _spec_to_json(spec: Any, kind: str) -> dict[str, Any]:
    """Fields of a block or step, with its type; branches become lists of lists of steps."""
    fields = {name: getattr(spec, name) for name in _names(type(spec))}
    if isinstance(spec, Branches | Fork):
        fields["branches"] = [[_spec_to_json(step, _kind_of(step, _STEPS)) for step in b] for b in spec.branches]
    if isinstance(spec, BranchConv):
        fields["kernel"] = list(spec.kernel)
    if isinstance(se := fields.get("se"), SqueezeExcite):
        fields["se"] = dataclasses.asdict(se)
    return {"type": kind, **fields}


def arch_to_json(arch: ArchSpec) -> dict[str, Any]:
    """A JSON document (dict, list, str, int, float, None) that `arch_from_json` reads back; carries the string form too."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "arch": str(arch),
        "norm": dataclasses.asdict(arch.norm) if arch.norm else None,
        "stem": dataclasses.asdict(arch.stem),
        "blocks": [_spec_to_json(block, _kind_of(block, _BLOCKS)) for block in arch.blocks],
        "head": dataclasses.asdict(arch.head),
        "aux": [dataclasses.asdict(aux) for aux in arch.aux],
    }


Spec = TypeVar("Spec")


def _names(kind: type[Any]) -> list[str]:
    return [field.name for field in dataclasses.fields(kind)]


def _check_keys(document: Any, names: list[str], where: str, optional: tuple[str, ...] = ()) -> None:
    if not isinstance(document, Mapping):
        raise ValueError(f"{where}: expected an object, got {type(document).__name__}")
    unknown, missing = sorted(set(document) - set(names)), sorted(set(names) - set(document) - set(optional))
    if unknown or missing:
        raise ValueError(f"{where}: unknown keys {unknown}, missing keys {missing}; expected {names}")


def _strict(kind: type[Spec], document: Any, where: str) -> Spec:
    _check_keys(document, _names(kind), where)
    try:
        return kind(**document)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: {error}") from None


def _list(document: Any, where: str) -> list[Any]:
    if not isinstance(document, list | tuple):
        raise ValueError(f"{where}: expected a list, got {type(document).__name__}")
    return list(document)


def _spec(document: Any, kinds: Mapping[str, type[Any]], where: str) -> Any:
    """A block or a step of a branch, by its type."""
    if not isinstance(document, Mapping):
        raise ValueError(f"{where}: expected an object, got {type(document).__name__}")
    kind = document.get("type")
    if not isinstance(kind, str) or kind not in kinds:
        raise ValueError(f"{where}: type {kind!r}; allowed are {', '.join(kinds)}")
    fields = {name: value for name, value in document.items() if name != "type"}
    if fields.get("se") is not None:
        fields["se"] = _strict(SqueezeExcite, fields["se"], f"{where}.se")
    if "branches" in fields:
        fields["branches"] = _branches(fields["branches"], where)
    if kind == "conv":
        fields["kernel"] = tuple(_list(fields.get("kernel"), f"{where}.kernel"))
    return _strict(kinds[kind], fields, where)


def _branches(document: Any, where: str) -> tuple[Any, ...]:
    branches = []
    for b, branch in enumerate(_list(document, f"{where}.branches"), start=1):
        place = f"{where}.branch {b}"
        steps = enumerate(_list(branch, place), start=1)
        branches.append(tuple(_spec(step, _STEPS, f"{place}.step {s}") for s, step in steps))
    return tuple(branches)


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
    names = ["format", "version", "arch", "norm", "stem", "blocks", "head", "aux"]
    _check_keys(document, names, "architecture", optional=("arch",))
    blocks = enumerate(_list(document["blocks"], "blocks"), start=1)
    aux = enumerate(_list(document["aux"], "aux"), start=1)
    arch = ArchSpec(
        blocks=tuple(_spec(block, _BLOCKS, f"block {number}") for number, block in blocks),
        stem=_strict(Stem, document["stem"], "stem"),
        head=_strict(Head, document["head"], "head"),
        norm=None if document["norm"] is None else _strict(Norm, document["norm"], "norm"),
        aux=tuple(_strict(AuxHead, head, f"aux {number}") for number, head in aux),
    )
    if document.get("arch", str(arch)) != str(arch):
        raise ValueError(
            f"arch: {document['arch']!r} disagrees with the fields, which say {str(arch)!r}; leave one out"
        )
    return arch
