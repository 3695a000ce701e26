"""HTTP basic authentication (RFC 7617)."""

import binascii
from base64 import b64decode
from collections.abc import Sequence

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
from schemas.errors import SetupError
from schemas.events import Delivery

HEADER = "authorization"
_PREFIX = "basic "


def prepare(options: Options, secrets: Sequence[str]) -> Verify:
    """``user:password`` must be one of the secrets. The body is not proved."""
    del options
    if any(":" not in secret for secret in secrets):
        raise SetupError("a secret of scheme basic is user:password, in one", remedy="add the user")
    pairs = raw_keys(secrets)

    def verify(delivery: Delivery) -> Refusal | None:
        given = delivery.headers.get(HEADER, "")
        if given[: len(_PREFIX)].lower() != _PREFIX:
            return unsigned(HEADER)
        try:
            pair = b64decode(header_bytes(given[len(_PREFIX) :].strip()), validate=True)
        except (binascii.Error, ValueError):
            return mismatched(HEADER)
        return None if any_same(pairs, (pair,)) else mismatched(HEADER)

    return verify


SCHEME = Scheme(
    name="basic",
    options=Options,
    prepare=prepare,
    challenge='Basic realm="sluice", charset="UTF-8"',
)
