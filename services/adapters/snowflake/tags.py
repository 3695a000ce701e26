"""QUERY_TAG: what a statement is for, as Snowflake's account usage shows it beside its cost."""

import json
from collections.abc import Mapping

APP = "sluice"
TAG_CHARS_MAX = 2_000  # Snowflake's


def tag_of(configured: str, about: Mapping[str, str]) -> str:
    """The tag as JSON, with the configured one kept in it; that alone where ``about`` is empty.

    A configured tag that is a JSON object gives its members, any other is the member ``tag``.
    What would be too long for Snowflake goes without the configured one.
    """
    if not about:
        return configured
    own = {"app": APP, **about}
    text = json.dumps({**_members(configured), **own})
    return text if len(text) <= TAG_CHARS_MAX else json.dumps(own)


def _members(configured: str) -> dict[str, object]:
    try:
        found = json.loads(configured)
    except ValueError:
        found = None
    if isinstance(found, dict):
        return found
    return {"tag": configured} if configured else {}
