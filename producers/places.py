"""Names that a delivery decides: texts with ``{header}``, ``{/json/pointer}``, ``{source}``."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from schemas.events import Headers
from schemas.pointers import Tokens, pointer_tokens

Read = Callable[[Headers, Mapping[str, Any]], str | None]
"""A text from a delivery's headers and one of its records; None where there is none."""

_PLACE = re.compile(r"\{([^{}]*)\}")
_HEADER = re.compile(r"[a-z0-9-]+")
_NOT_IN_STREAMS = re.compile(r"[^a-z0-9_.-]")
_MISSING = object()


def text_at(value: object, tokens: Tokens) -> str | None:
    """The string or integer that a pointer finds, as text; None for anything else."""
    for token in tokens:
        if isinstance(value, Mapping):
            value = value.get(token, _MISSING)
        elif isinstance(value, list) and token.isascii() and token.isdigit():
            index = int(token) if len(token) < len("1000000000") else len(value)
            value = value[index] if index < len(value) else _MISSING
        else:
            return None
    if isinstance(value, str):
        return value or None
    return str(value) if _whole(value) else None


def _whole(number: object) -> bool:
    """Whether it is an integer of any size, as :func:`schemas.exact_json.loads` gives them."""
    if isinstance(number, Decimal):
        return number.as_tuple().exponent == 0
    return isinstance(number, int) and not isinstance(number, bool)


@dataclass(frozen=True, slots=True)
class Template:
    """A text with places. Built by :func:`template`."""

    literals: tuple[str, ...]  # one more than there are places
    places: tuple[str | Tokens, ...]  # header names, or a pointer's tokens

    @property
    def fixed(self) -> bool:
        """Whether it is the same for every delivery."""
        return not self.places

    @property
    def reads_records(self) -> bool:
        """Whether it may differ between the records of one delivery."""
        return any(not isinstance(place, str) for place in self.places)

    def read(self, headers: Headers, value: Mapping[str, Any]) -> str | None:
        """The text, or None if one of its places is empty. Fits :data:`Read`."""
        out = [self.literals[0]]
        for place, literal in zip(self.places, self.literals[1:], strict=True):
            text = headers.get(place) if isinstance(place, str) else text_at(value, place)
            if not text:
                return None
            out += (text, literal)
        return "".join(out)


def template(text: str, source: str) -> Template:
    """Compiles a text; ``{source}`` becomes the source's name. Raises ValueError."""
    text = text.replace("{source}", source)
    parts = _PLACE.split(text)
    if any("{" in part or "}" in part for part in parts):
        msg = f"unbalanced braces in {text!r}"
        raise ValueError(msg)
    return Template(tuple(parts[::2]), tuple(_place(place) for place in parts[1::2]))


def _place(place: str) -> str | Tokens:
    if place.startswith("/"):
        return pointer_tokens(place)
    if not _HEADER.fullmatch(place.lower()):
        msg = f"{{{place}}} is neither a header's name nor a JSON pointer such as {{/id}}"
        raise ValueError(msg)
    return place.lower()


def stream_name(text: str) -> str:
    """A text as it may stand in a stream's name: lower case, other characters as ``_``."""
    return _NOT_IN_STREAMS.sub("_", text.lower())
