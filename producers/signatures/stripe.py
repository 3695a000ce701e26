"""Stripe: ``Stripe-Signature: t=...,v1=...``."""

from collections.abc import Sequence

from producers.refusal import Refusal
from producers.signing import (
    Scheme,
    TimedOptions,
    Verify,
    any_same,
    header_bytes,
    macs,
    mismatched,
    raw_keys,
    timestamp_of,
    unsigned,
    untimely,
)
from schemas.events import Delivery

HEADER = "stripe-signature"
_PARTS_MAX = 20  # more would be an attempt to keep us busy


def prepare(options: TimedOptions, secrets: Sequence[str]) -> Verify:
    """HMAC-SHA256 of ``t.body``, hex, any of several ``v1``; the secret is used as it is."""
    signers = macs(raw_keys(secrets))

    def verify(delivery: Delivery) -> Refusal | None:
        text = delivery.headers.get(HEADER)
        if text is None:
            return unsigned(HEADER)
        parts = [part.strip().partition("=") for part in text.split(",")[:_PARTS_MAX]]
        stamp = next((value for name, _, value in parts if name == "t"), "")
        late = untimely(timestamp_of(stamp), delivery, options.tolerance_seconds, HEADER)
        if late is not None:
            return late
        given = [header_bytes(value) for name, _, value in parts if name == "v1"]
        signed = b".".join((header_bytes(stamp), delivery.body))
        expected = (mac(signed).hex().encode() for mac in signers)
        return None if any_same(expected, given) else mismatched(HEADER)

    return verify


SCHEME = Scheme(name="stripe", options=TimedOptions, prepare=prepare)
