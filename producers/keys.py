"""Keys that are too long to be put into a thousand errors."""

from typing import Any

KEY_CHARS_MAX = 1_000
SMALL_BYTES = 16_384  # of a record that is not looked at: its errors cannot hold much


def long_key(value: dict[str, Any], raw: bytes) -> str | None:
    """What is wrong with the longest key of a record, or None.

    A validator names the place of every error in full, so that a record of a megabyte with one
    key of half of it and a wrong item in each of the other bytes would take tens of gigabytes.
    """
    if len(raw) <= SMALL_BYTES:
        return None
    level: list[Any] = [value]
    while level:
        below: list[Any] = []
        for node in level:
            if isinstance(node, dict):
                longest = max(map(len, node), default=0)
                if longest > KEY_CHARS_MAX:
                    return f"a key of {longest} characters; {KEY_CHARS_MAX} are allowed"
                node = node.values()  # noqa: PLW2901 - goes on with what is below it
            below += [child for child in node if isinstance(child, dict | list)]
        level = below
    return None
