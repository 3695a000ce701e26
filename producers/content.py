"""The id of an event by its content, apart from what its sender changes with every retry."""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import orjson
from pydantic import AfterValidator

from producers.places import pointer_tokens
from schemas import exact_json
from schemas.identity import event_id_of_content

_Tree = dict[str, Any]  # by name or place: a tree of what goes below, or None for all of it
_NOTHING: _Tree = {}


def _field_pointer(text: str) -> str:
    if not pointer_tokens(text):
        msg = '"" is the whole record; point to a field of it, such as /sent_at'
        raise ValueError(msg)
    return text


FieldPointer = Annotated[str, AfterValidator(_field_pointer)]
"""A JSON pointer (RFC 6901) to something inside a record; a number counts an array's elements."""


def content_id(source: str, left_out: Sequence[str]) -> Callable[[Mapping[str, Any]], str | None]:
    """What names a source's records by their canonical JSON without what the pointers find.

    A pointer that finds nothing is fine. The order of keys and the white space never matter;
    every digit of a number counts. None for a record that cannot be written as JSON, such as one
    nested too deeply.
    """
    tree = _tree(left_out)

    def read(value: Mapping[str, Any]) -> str | None:
        try:
            canonical = exact_json.dumps(_without(value, tree), orjson.OPT_SORT_KEYS)
        except TypeError:
            return None
        return event_id_of_content(source, canonical)

    return read


def _tree(pointers: Sequence[str]) -> _Tree:
    tree: _Tree = {}
    # the longest first: whoever leaves out the whole of something has the last word
    for *path, last in sorted(map(pointer_tokens, pointers), key=len, reverse=True):
        node = tree
        for token in path:
            node = node.setdefault(token, {})
        node[last] = None
    return tree


def _without(value: Any, tree: _Tree) -> Any:  # noqa: ANN401 - any JSON value
    """The value without what the tree leaves out; the value itself is never changed."""
    if not tree:
        return value
    if isinstance(value, dict):
        return {
            name: _without(part, below)
            for name, part in value.items()
            if (below := tree.get(name, _NOTHING)) is not None
        }
    if isinstance(value, list):
        return [
            _without(part, below)
            for place, part in enumerate(value)
            if (below := tree.get(str(place), _NOTHING)) is not None
        ]
    return value
