"""What signature schemes share."""

import hmac

from hypothesis import given
from hypothesis import strategies as st

from producers.signing import macs


@given(
    st.binary(max_size=300), st.binary(max_size=300), st.sampled_from(["sha1", "sha256", "sha512"])
)
def test_a_mac_made_once_a_key_is_the_standard_librarys(
    key: bytes, signed: bytes, algorithm: str
) -> None:
    (mac,) = macs([key], algorithm)
    assert mac(signed) == mac(signed) == hmac.digest(key, signed, algorithm)
