"""Strict YAML in, frozen sections out: a key stands once and is known, a value has its type, an error is one line."""

from __future__ import annotations

import difflib
import re
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from nas.errors import UserError
from nas.section import Section

S = TypeVar("S", bound=Section)

_LONGEST_VALUE = 80  # characters of a value in a message


class _Loader(yaml.SafeLoader):
    """YAML, strictly: a key stands once; and 1e-4 is a number, as everywhere but in YAML 1.1."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in keys:
                    raise yaml.constructor.ConstructorError(None, None, f"key {key.value!r} twice", key.start_mark)
                keys.add(key.value)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """What `_Loader` reads back."""


for _kind in (_Loader, _Dumper):
    _kind.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)[eE][-+]?\d+\Z", re.ASCII),
        list("-+.0123456789"),
    )


def read_yaml(text: str) -> Any:
    """The document in `text`; ValueError, with one line, when it is not YAML."""
    try:
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise ValueError(f"{line}{error.problem}") from None
    except yaml.YAMLError as error:
        raise ValueError(str(error).partition("\n")[0]) from None


def dump_yaml(section: Section) -> str:
    """A section as YAML that `parse_section` reads back."""
    text: str = yaml.dump(section.model_dump(), Dumper=_Dumper, sort_keys=False)
    return text


def read_mapping(text: str, source: str) -> dict[str, Any]:
    """The keys and values in `text`; none where there is nothing, or nothing but comments.

    Args:
        text: YAML.
        source: where it came from, for messages.

    Raises:
        UserError: it is not YAML, or no mapping.
    """
    try:
        document = read_yaml(text)
    except ValueError as error:
        raise UserError(f"{source}: not YAML: {error}") from None
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise UserError(f"{source}: expected keys and values, got {type(document).__name__}")
    return document


def validated(kind: type[S], document: dict[str, Any], source: str) -> S:
    """The section in `document`.

    Raises:
        UserError: an unknown key, a wrong type or an impossible value.
    """
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        raise UserError(f"{source}: {_explain(kind, error)}") from None


def _known_keys(kind: type[Section], location: tuple[str | int, ...]) -> list[str]:
    section: Any = kind
    for part in location:
        if isinstance(part, int):  # an entry of a list
            continue
        annotation = section.model_fields[part].annotation if part in section.model_fields else None
        kinds = [annotation, *getattr(annotation, "__args__", ())]
        section = next((k for k in kinds if isinstance(k, type) and issubclass(k, BaseModel)), None)
        if section is None:
            return []
    return list(section.model_fields)


def _explain(kind: type[Section], error: ValidationError) -> str:
    """The first thing wrong, on one line: key, value, what is allowed."""
    first = error.errors()[0]
    location = tuple(first["loc"])
    key = ".".join(map(str, location))
    if first["type"] == "extra_forbidden":
        allowed = _known_keys(kind, location[:-1])
        near = difflib.get_close_matches(str(location[-1]), allowed, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        return f"unknown key {key!r}; {hint}allowed: {', '.join(allowed)}"
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "model_type":
        message = f"expected keys and values: {', '.join(_known_keys(kind, location))}"
    return f"{key} = {_shown(first['input'])}: {message[0].lower()}{message[1:]}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}..."
