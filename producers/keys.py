"""Keys that are too long to be put into a thousand errors."""

from collections.abc import Iterator
from typing import Any

KEY_CHARS_MAX = 1_000
SMALL_BYTES = 16_384  # of a record that is not looked at: its errors cannot hold much

Level = list[dict[str, Any] | list[Any]]


def levels(value: dict[str, Any]) -> Iterator[Level]:
    """The objects and arrays of a record, level by level, without recursion."""
    level: Level = [value]
    while level:
        yield level
        level = [
            child
            for node in level
            for child in (node.values() if isinstance(node, dict) else node)
            if isinstance(child, dict | list)
        ]


def long_key(value: dict[str, Any], raw: bytes) -> str | None:
    """What is wrong with the longest key of a record, or None.

    A validator names the place of every error in full, so that a record of a megabyte with one
    key of half of it and a wrong item in each of the other bytes would take tens of gigabytes.
    """
    if len(raw) <= SMALL_BYTES:
        return None
    objects = (node for level in levels(value) for node in level if isinstance(node, dict))
    for node in objects:
        longest = max(map(len, node), default=0)
        if longest > KEY_CHARS_MAX:
            return f"a key of {longest} characters; {KEY_CHARS_MAX} are allowed"
    return None
