"""What signature schemes share."""

import hmac

from hypothesis import given
from hypothesis import strategies as st

from producers.refusal import RefusalReason
from producers.signing import macs, unsigned, untimely
from tests.support.http import delivery


@given(
    st.binary(max_size=300), st.binary(max_size=300), st.sampled_from(["sha1", "sha256", "sha512"])
)
def test_a_mac_made_once_a_key_is_the_standard_librarys(
    key: bytes, signed: bytes, algorithm: str
) -> None:
    (mac,) = macs([key], algorithm)
    assert mac(signed) == mac(signed) == hmac.digest(key, signed, algorithm)


def test_a_missing_proof_is_refused_with_what_to_send() -> None:
    for refusal in (unsigned("x-signature"), untimely(None, delivery(b""), 300, "x-time")):
        assert refusal is not None
        assert refusal.reason is RefusalReason.NO_SIGNATURE
        assert refusal.remedy
