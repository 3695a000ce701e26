"""Standard Webhooks 1.0.0 (and Svix, the same with ``svix-`` headers)."""

from base64 import b64encode
from collections.abc import Sequence

from producers.refusal import Refusal
from producers.signing import (
    Scheme,
    TimedOptions,
    Verify,
    any_same,
    base64_keys,
    header_bytes,
    macs,
    mismatched,
    timestamp_of,
    unsigned,
    untimely,
)
from schemas.events import Delivery

_FAMILIES = ("webhook", "svix")
_SIGNATURES_MAX = 20  # more would be an attempt to keep us busy


def prepare(options: TimedOptions, secrets: Sequence[str]) -> Verify:
    """HMAC-SHA256 of ``id.timestamp.body``, any of several; a secret is ``whsec_`` and base64."""
    signers = macs(base64_keys(secrets, "whsec_"))

    def verify(delivery: Delivery) -> Refusal | None:
        headers = delivery.headers
        family = next((f for f in _FAMILIES if f"{f}-signature" in headers), None)
        if family is None:
            return unsigned("webhook-signature")
        id_, stamp = headers.get(f"{family}-id"), headers.get(f"{family}-timestamp", "")
        if not id_:
            return unsigned(f"{family}-id")
        late = untimely(
            timestamp_of(stamp), delivery, options.tolerance_seconds, f"{family}-timestamp"
        )
        if late is not None:
            return late
        field = f"{family}-signature"
        given = [
            header_bytes(part[3:])
            for part in headers[field].split()[:_SIGNATURES_MAX]
            if part.startswith("v1,")
        ]
        signed = b".".join((header_bytes(id_), header_bytes(stamp), delivery.body))
        expected = (b64encode(mac(signed)) for mac in signers)
        return None if any_same(expected, given) else mismatched(field)

    return verify


SCHEME = Scheme(name="standard_webhooks", options=TimedOptions, prepare=prepare)
