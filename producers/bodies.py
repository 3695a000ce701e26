"""A request's body as a template: ``${name}`` stands for a parameter's value."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

_HOLE = re.compile(r"\$(\$?)\{([^{}]*)\}")
_ABSENT = object()


def placeholders(template: object) -> frozenset[str]:
    """The names in ``${...}`` anywhere in a JSON value; ``$${`` is a plain ``${``."""
    return frozenset(_names(template))


def filled(template: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The template with its values.

    A text that is one placeholder becomes the value itself, a number or a list too; in a longer
    text the value is written out. A member with a placeholder that has no value yet, such as the
    token of the first page, is left out.
    """
    members = ((name, _filled(value, values)) for name, value in template.items())
    return {name: value for name, value in members if value is not _ABSENT}


def _names(template: object) -> Iterator[str]:
    if isinstance(template, str):
        yield from (hole[2] for hole in _HOLE.finditer(template) if not hole[1])
    elif isinstance(template, Mapping):
        for value in template.values():
            yield from _names(value)
    elif isinstance(template, list):
        for value in template:
            yield from _names(value)


def _filled(template: object, values: Mapping[str, Any]) -> object:
    if isinstance(template, Mapping):
        return filled(template, values)
    if isinstance(template, list):
        elements = (_filled(value, values) for value in template)
        return [value for value in elements if value is not _ABSENT]
    return _text(template, values) if isinstance(template, str) else template


def _text(template: str, values: Mapping[str, Any]) -> object:
    if not placeholders(template) <= values.keys():
        return _ABSENT
    whole = _HOLE.fullmatch(template)
    if whole is not None and not whole[1]:
        return values[whole[2]]
    return _HOLE.sub(lambda hole: hole[0][1:] if hole[1] else _written(values[hole[2]]), template)


def _written(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
