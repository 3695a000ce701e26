"""The comments behind the members of an enumeration: they are its documentation."""

import inspect
import re
from enum import Enum


def comments_of(kind: type[Enum]) -> dict[str, str]:
    """The comment behind each member of an enumeration, by the member's value."""
    found = {}
    for line in inspect.getsource(kind).splitlines():
        match = re.match(r"\s+(\w+) = .+?  # (.+)", line)
        if match is not None:
            found[str(kind[match[1]].value)] = match[2]
    return found
