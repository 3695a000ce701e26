"""What signature schemes share: one comparison, one tolerance, keys and verdicts."""

import binascii
import hashlib
import hmac
from base64 import b64decode
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from producers.refusal import Refusal, RefusalReason
from schemas.errors import SetupError
from schemas.events import Delivery

TOLERANCE_SECONDS = 300
MICROSECONDS = 1_000_000
_TIMESTAMP_DIGITS_MAX = 16  # enough for microseconds; keeps int() cheap

Verify = Callable[[Delivery], Refusal | None]
"""None, or why the delivery is turned away. Never raises, whatever the headers and the body."""


class Options(BaseModel):
    """The table ``verify`` of a source, less its ``scheme``."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class TimedOptions(Options):
    """Options of a scheme that signs the time."""

    tolerance_seconds: int = Field(
        default=TOLERANCE_SECONDS,
        ge=1,
        description="How far the signed time may be from ours, either way.",
    )


OptionsT = TypeVar("OptionsT", bound=Options)


@dataclass(frozen=True, slots=True)
class Scheme(Generic[OptionsT]):
    """A way to prove who sent a delivery. One file in ``producers/signatures`` declares one.

    ``prepare`` gets the options and the live secrets and raises SetupError for those that cannot
    be used; what it returns is called for every delivery.
    """

    name: str
    options: type[OptionsT]
    prepare: Callable[[OptionsT, Sequence[str]], Verify]
    needs_secret: bool = True
    challenge: str = "Signature"  # WWW-Authenticate of a 401 (RFC 9110, 11.6.1)


AnyScheme = Scheme[Any]


def same(left: bytes, right: bytes) -> bool:
    """Whether two byte strings are equal, in constant time: the only comparison of secrets."""
    return hmac.compare_digest(left, right)


def any_same(expected: Iterable[bytes], given: Sequence[bytes]) -> bool:
    """Whether one of the expected is among the given; every pair is compared."""
    found = False
    for left in expected:
        for right in given:
            found |= same(left, right)
    return found


def header_bytes(text: str) -> bytes:
    """A header's text as bytes, never failing: comparison of non-ASCII strings would raise."""
    return text.encode("utf-8", "surrogatepass")


Mac = Callable[[bytes], bytes]


def macs(keys: Iterable[bytes], algorithm: str = "sha256") -> tuple[Mac, ...]:
    """For each key the function from bytes to their HMAC (RFC 2104)."""
    return tuple(_mac(key, algorithm) for key in keys)


def _mac(key: bytes, algorithm: str) -> Mac:
    """The key is hashed once, here, instead of for every delivery.

    ``hmac.digest`` looks the algorithm up in OpenSSL each time and costs a delivery 11
    microseconds more.
    """
    size = hashlib.new(algorithm).block_size
    padded = (hashlib.new(algorithm, key).digest() if len(key) > size else key).ljust(size, b"\0")
    inner = hashlib.new(algorithm, bytes(byte ^ 0x36 for byte in padded))
    outer = hashlib.new(algorithm, bytes(byte ^ 0x5C for byte in padded))

    def mac(signed: bytes) -> bytes:
        within, around = inner.copy(), outer.copy()
        within.update(signed)
        around.update(within.digest())
        return around.digest()

    return mac


def raw_keys(secrets: Sequence[str]) -> tuple[bytes, ...]:
    """The secrets' own bytes."""
    return tuple(secret.encode() for secret in secrets)


def base64_keys(secrets: Sequence[str], prefix: str = "") -> tuple[bytes, ...]:
    """The bytes that base64 secrets stand for. Raises SetupError without repeating them."""
    keys = []
    for number, secret in enumerate(secrets, start=1):
        try:
            keys.append(b64decode(secret.removeprefix(prefix), validate=True))
        except (binascii.Error, ValueError):
            raise SetupError(
                f"the {number}. of {len(secrets)} secrets is not base64",
                remedy=f"copy it as the provider shows it, with {prefix} in front"
                if prefix
                else "copy it as the provider shows it",
            ) from None
    return tuple(keys)


def timestamp_of(text: str, per_second: int = 1) -> int | None:
    """Microseconds since the epoch of a decimal number of seconds (or their fractions)."""
    text = text.strip()
    if not (text.isascii() and text.isdigit() and len(text) <= _TIMESTAMP_DIGITS_MAX):
        return None
    return int(text) * MICROSECONDS // per_second


def untimely(
    signed_at: int | None, delivery: Delivery, tolerance_seconds: int, field: str
) -> Refusal | None:
    """A refusal if the signed time is missing, or further from ours than the tolerance."""
    if signed_at is None:
        return Refusal(
            401,
            RefusalReason.NO_SIGNATURE,
            "no readable signed time",
            field,
            remedy="say in this header when the delivery was signed, in the form of the scheme",
        )
    distance = delivery.received_at - signed_at
    if abs(distance) <= tolerance_seconds * MICROSECONDS:
        return None
    seconds = abs(distance) // MICROSECONDS
    return Refusal(
        401,
        RefusalReason.EXPIRED,
        f"signed {seconds} s {'ago' if distance > 0 else 'ahead of our clock'}; "
        f"{tolerance_seconds} s are allowed",
        field,
        remedy="sign each attempt anew, and keep the clock set",
    )


def unsigned(field: str) -> Refusal:
    """The refusal of a delivery without its proof."""
    return Refusal(
        401,
        RefusalReason.NO_SIGNATURE,
        f"the header {field} is missing",
        field,
        remedy="send it with every delivery, made from the secret that this source was given",
    )


def mismatched(field: str) -> Refusal:
    """The refusal of a delivery whose proof does not fit."""
    return Refusal(
        401,
        RefusalReason.BAD_SIGNATURE,
        f"the header {field} does not fit the body and any live secret",
        field,
        remedy="sign the body's exact bytes with the secret that this source was given",
    )
