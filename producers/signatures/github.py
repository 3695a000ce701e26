"""GitHub: ``X-Hub-Signature-256``."""

from collections.abc import Sequence

from producers.refusal import Refusal
from producers.signing import (
    Options,
    Scheme,
    Verify,
    any_same,
    header_bytes,
    macs,
    mismatched,
    raw_keys,
    unsigned,
)
from schemas.events import Delivery

HEADER = "x-hub-signature-256"


def prepare(options: Options, secrets: Sequence[str]) -> Verify:
    """``sha256=`` and the HMAC-SHA256 of the body, hex. GitHub signs no time."""
    del options
    signers = macs(raw_keys(secrets))

    def verify(delivery: Delivery) -> Refusal | None:
        given = delivery.headers.get(HEADER)
        if given is None:
            return unsigned(HEADER)
        expected = (b"sha256=" + mac(delivery.body).hex().encode() for mac in signers)
        return None if any_same(expected, (header_bytes(given),)) else mismatched(HEADER)

    return verify


SCHEME = Scheme(name="github", options=Options, prepare=prepare)
