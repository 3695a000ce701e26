"""A shared token in a header: ``Authorization: Bearer ...`` (RFC 6750), or any other header."""

from collections.abc import Sequence

from pydantic import Field

from producers.refusal import Refusal
from producers.signing import (
    Options,
    Scheme,
    Verify,
    any_same,
    header_bytes,
    mismatched,
    raw_keys,
    unsigned,
)
from schemas.events import Delivery


class BearerOptions(Options):
    """Where the token is."""

    header: str = Field(default="authorization", description="The header that holds the token.")
    prefix: str = Field(default="Bearer ", description="What stands before the token.")


def prepare(options: BearerOptions, secrets: Sequence[str]) -> Verify:
    """The prefix in any case, then one of the secrets. The body is not proved."""
    tokens = raw_keys(secrets)
    header, prefix = options.header.lower(), options.prefix.lower()

    def verify(delivery: Delivery) -> Refusal | None:
        given = delivery.headers.get(header)
        if given is None or given[: len(prefix)].lower() != prefix:
            return unsigned(header)
        token = header_bytes(given[len(prefix) :].strip())
        return None if any_same(tokens, (token,)) else mismatched(header)

    return verify


SCHEME = Scheme(name="bearer", options=BearerOptions, prepare=prepare, challenge="Bearer")
