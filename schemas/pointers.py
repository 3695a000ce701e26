"""JSON pointers (RFC 6901): what they point to, and values without it."""

from collections.abc import Iterable
from typing import Any

Tokens = tuple[str, ...]
Tree = dict[str, Any]
"""By name or place: a tree of what goes below, or None for all of it."""

NOTHING: Tree = {}


def pointer_tokens(pointer: str) -> Tokens:
    """The reference tokens of a JSON pointer (RFC 6901). Raises ValueError."""
    if pointer and not pointer.startswith("/"):
        msg = f"a JSON pointer begins with / (found {pointer!r})"
        raise ValueError(msg)
    return tuple(part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:])


def tree_of(pointers: Iterable[str]) -> Tree:
    """What these point to, none of them to the whole. Raises ValueError."""
    tree: Tree = {}
    # the longest first: whoever leaves out the whole of something has the last word
    for *path, last in sorted(map(pointer_tokens, pointers), key=len, reverse=True):
        node = tree
        for token in path:
            node = node.setdefault(token, {})
        node[last] = None
    return tree


def without(value: Any, tree: Tree) -> Any:  # noqa: ANN401 - any JSON value
    """The value without what the tree leaves out; the value itself is never changed."""
    if not tree:
        return value
    if isinstance(value, dict):
        return {
            name: without(part, below)
            for name, part in value.items()
            if (below := tree.get(name, NOTHING)) is not None
        }
    if isinstance(value, list):
        return [
            without(part, below)
            for place, part in enumerate(value)
            if (below := tree.get(str(place), NOTHING)) is not None
        ]
    return value
