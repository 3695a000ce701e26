"""Any HMAC over a template of body, time, id, method and address."""

import re
from base64 import b64encode
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Literal, Self

from pydantic import Field, model_validator

from producers.refusal import Refusal
from producers.signing import (
    MICROSECONDS,
    Scheme,
    TimedOptions,
    Verify,
    any_same,
    base64_keys,
    header_bytes,
    macs,
    mismatched,
    raw_keys,
    timestamp_of,
    unsigned,
    untimely,
)
from schemas.errors import SetupError
from schemas.events import Delivery

_PLACE = re.compile(r"\{(\w*)\}")
_PLACES = frozenset({"body", "timestamp", "id", "method", "url"})
_SIGNATURES_MAX = 20  # more would be an attempt to keep us busy
_UNITS = {"s": 1, "ms": 1000}

Pieces = Sequence[tuple[str, bytes]]  # (place or "", literal bytes)


class HmacOptions(TimedOptions):
    """What is signed, with what, and where the signature is."""

    header: str = Field(description="The header that holds the signature.")
    digest: Literal["sha1", "sha256", "sha512"] = Field(
        default="sha256", description="The hash under the HMAC."
    )
    encoding: Literal["hex", "base64"] = Field(
        default="hex", description="How the signature is written."
    )
    prefix: str = Field(default="", description="What stands before it, such as `sha256=`.")
    separator: str = Field(
        default="", description="What stands between several signatures; default: there is one."
    )
    base: str = Field(
        default="{body}",
        description="What is signed: a text with {body}, {timestamp}, {id}, {method}, {url}.",
    )
    timestamp_header: str = Field(default="", description="The header that holds the time.")
    timestamp_unit: Literal["s", "ms", "iso"] = Field(
        default="s", description="Seconds or milliseconds since the epoch, or ISO 8601."
    )
    id_header: str = Field(default="", description="The header that holds {id}.")
    public_url: str = Field(
        default="",
        description="For {url}: scheme and host as the sender knows them; path and query follow.",
    )
    secret_encoding: Literal["raw", "base64", "hex"] = Field(
        default="raw", description="How the secrets are written."
    )

    @model_validator(mode="after")
    def _complete(self) -> Self:
        places = set(_PLACE.findall(self.base))
        if unknown := places - _PLACES:
            msg = f"base: unknown {sorted(unknown)}; there are {sorted(_PLACES)}"
            raise ValueError(msg)
        needs = {"timestamp": "timestamp_header", "id": "id_header", "url": "public_url"}
        for place, option in needs.items():
            if place in places and not getattr(self, option):
                msg = f"{option}: needed, since base has {{{place}}}"
                raise ValueError(msg)
        if "body" not in places:
            msg = "base: without {body} the body would not be proved"
            raise ValueError(msg)
        if self.timestamp_header and "timestamp" not in places:
            msg = "timestamp_header: base has no {timestamp}, so the time would not be proved"
            raise ValueError(msg)
        return self


def prepare(options: HmacOptions, secrets: Sequence[str]) -> Verify:
    """HMAC (RFC 2104) of ``base``, any of several secrets and signatures."""
    signers = macs(_keys(options, secrets), options.digest)
    pieces = _pieces(options.base)
    bare = pieces == [("body", b"")]
    header, stamp_header = options.header.lower(), options.timestamp_header.lower()
    written = _written(options)

    def verify(delivery: Delivery) -> Refusal | None:
        text = delivery.headers.get(header)
        if text is None:
            return unsigned(header)
        if stamp_header:
            stamp = _time(delivery.headers.get(stamp_header, ""), options.timestamp_unit)
            late = untimely(stamp, delivery, options.tolerance_seconds, stamp_header)
            if late is not None:
                return late
        texts = text.split(options.separator)[:_SIGNATURES_MAX] if options.separator else (text,)
        given = [header_bytes(one.strip()) for one in texts]
        signed = delivery.body if bare else _signed(pieces, options, delivery)
        expected = [written(mac(signed)) for mac in signers]
        return None if any_same(expected, given) else mismatched(header)

    return verify


def _keys(options: HmacOptions, secrets: Sequence[str]) -> tuple[bytes, ...]:
    written_as = options.secret_encoding
    if written_as == "raw":
        return raw_keys(secrets)
    if written_as == "base64":
        return base64_keys(secrets)
    try:
        return tuple(bytes.fromhex(secret) for secret in secrets)
    except ValueError:
        raise SetupError("a secret is not hex", remedy="copy it as the provider shows it") from None


def _pieces(base: str) -> Pieces:
    """The template, cut: literals under the place ``""``."""
    parts = _PLACE.split(base)
    return [
        (part, b"") if index % 2 else ("", part.encode())
        for index, part in enumerate(parts)
        if index % 2 or part
    ]


def _written(options: HmacOptions) -> Callable[[bytes], bytes]:
    prefix = options.prefix.encode()

    def as_hex(signature: bytes) -> bytes:
        return prefix + signature.hex().encode()

    def as_base64(signature: bytes) -> bytes:
        return prefix + b64encode(signature)

    return as_hex if options.encoding == "hex" else as_base64


def _signed(pieces: Pieces, options: HmacOptions, delivery: Delivery) -> bytes:
    header = partial(_header, delivery)
    out = []
    for place, literal in pieces:
        match place:
            case "body":
                out.append(delivery.body)
            case "timestamp":
                out.append(header(options.timestamp_header))
            case "id":
                out.append(header(options.id_header))
            case "method":
                out.append(delivery.method.encode())
            case "url":
                out.append(header_bytes(options.public_url + delivery.url))
            case _:
                out.append(literal)
    return b"".join(out)


def _header(delivery: Delivery, name: str) -> bytes:
    return header_bytes(delivery.headers.get(name.lower(), ""))


def _time(text: str, unit: str) -> int | None:
    if unit != "iso":
        return timestamp_of(text, _UNITS[unit])
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        return None
    return int(moment.timestamp() * MICROSECONDS)


SCHEME = Scheme(name="hmac", options=HmacOptions, prepare=prepare)
