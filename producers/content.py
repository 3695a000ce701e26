"""The id of an event by its content, apart from what its sender changes with every retry."""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import orjson
from pydantic import AfterValidator, BeforeValidator

from producers.config_errors import finding
from schemas import exact_json
from schemas.identity import event_id_of_content
from schemas.pointers import pointer_tokens, tree_of, without

_SHOWN_CHARS_MAX = 100


def _field_pointer(text: str) -> str:
    if not pointer_tokens(text):
        msg = '"" is the whole record; point to a field of it, such as /sent_at'
        raise ValueError(msg)
    return text


FieldPointer = Annotated[str, AfterValidator(_field_pointer)]
"""A JSON pointer (RFC 6901) to something inside a record; a number counts an array's elements."""


def _listed(value: object) -> object:
    if isinstance(value, str):
        shown = value if value.startswith("/") and len(value) <= _SHOWN_CHARS_MAX else "/sent_at"
        raise finding("a list of JSON pointers, this is a text", f'write ["{shown}"]')
    return value


FieldPointers = Annotated[tuple[FieldPointer, ...], BeforeValidator(_listed)]
"""A list of them."""


def content_id(source: str, left_out: Sequence[str]) -> Callable[[Mapping[str, Any]], str | None]:
    """What names a source's records by their canonical JSON without what the pointers find.

    A pointer that finds nothing is fine. The order of keys and the white space never matter;
    every digit of a number counts. None for a record that cannot be written as JSON, such as one
    nested too deeply.
    """
    tree = tree_of(left_out)

    def read(value: Mapping[str, Any]) -> str | None:
        try:
            canonical = exact_json.dumps(without(value, tree), orjson.OPT_SORT_KEYS)
        except TypeError:
            return None
        return event_id_of_content(source, canonical)

    return read
