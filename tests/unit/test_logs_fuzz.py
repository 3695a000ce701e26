"""Secrets anywhere in anything that is logged, escaped ever so often: no line tells them."""

import base64
import html
import json
import logging
import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, make_dataclass
from string import ascii_letters, digits
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
import structlog
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from typing_extensions import override

from schemas.errors import SetupError
from services.redaction import MASK, SCAN_MAX, Redactor
from tests.support.log_lines import Sink, as_before

ESCAPINGS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "json": json.dumps,
    "json with umlauts": lambda s: json.dumps(s, ensure_ascii=False),
    "json of PHP": lambda s: json.dumps(s).replace("/", "\\/"),
    "repr": repr,
    "ascii": ascii,
    "repr of bytes": lambda s: repr(s.encode()),
    "URL": lambda s: quote(s, safe=""),
    "lower case URL": lambda s: re.sub("%..", lambda m: m[0].lower(), quote(s)),
    "form": quote_plus,
    "HTML": html.escape,
    "HTML in ASCII": lambda s: html.escape(s).encode("ascii", "xmlcharrefreplace").decode(),
}
BACKSLASHES_MAX = 32  # more of them before one character hide it, but they are not looked through
SPECIAL = "\"'\\/ \n\t\r\x00\x1b%&+<>=:;,{}[]@#\u00e4\u00df\u20ac\U0001f4a9\u2028"
AROUND = st.text(max_size=6)
PIECES = st.text(ascii_letters + digits, min_size=7, max_size=12)


class Talkative:
    """An object that tells all that it has."""

    def __init__(self, held: object) -> None:
        self.held = held

    @override
    def __repr__(self) -> str:
        return f"<talkative {self.held!r}>"


HOLDERS: dict[str, Callable[[Any], Any]] = {
    "list": lambda v: [1, v, None],
    "pair": lambda v: ("name", v),
    "value": lambda v: {"a": 1, "b": v},
    "key": lambda v: {v if isinstance(v, str | bytes) else repr(v): 1},
    "set": lambda v: {v} if isinstance(v, str | bytes) else {repr(v)},
    "bytes": lambda v: (v if isinstance(v, str) else repr(v)).encode(),
    "bytearray": lambda v: bytearray((v if isinstance(v, str) else repr(v)).encode()),
    "object": Talkative,
    "dataclass": lambda v: make_dataclass("Row", ["cell"])(v),
    "error": ValueError,
    "our error": lambda v: SetupError(str(v), where=repr(v), remedy=str(v)),
    "group": lambda v: ExceptionGroup("several", [KeyError(v), OSError(5, repr(v))]),
}


def _caught(log: Any, value: object) -> None:
    try:
        try:
            raise KeyError(value)  # noqa: TRY301 - a chain is the point
        except KeyError as error:
            error.add_note(str(value))
            raise SetupError(f"no {value}", where=repr(value)) from error
    except SetupError:
        log.exception("failed", value=value)
        logging.getLogger("lib").exception("failed with %r", value)


def _warned(_log: Any, value: object) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn(f"old {value}", UserWarning, stacklevel=1)


CARRIERS: dict[str, Callable[[Any, Any], object]] = {
    "event": lambda log, v: log.info(str(v)),
    "field": lambda log, v: log.info("x", value=v),
    "field's name": lambda log, v: log.info("x", **{str(v): v}),
    "context": lambda log, v: log.bind(value=v).warning("x"),
    "arguments": lambda _, v: logging.getLogger("lib").warning("%s and %r", v, v),
    "extra": lambda _, v: logging.getLogger("lib").warning("x", extra={"value": v}),
    "exception": _caught,
    "warning": _warned,
}


@dataclass(frozen=True)
class Held:
    """A value with a secret in it, which has its pieces: nobody escapes letters and digits."""

    secret: str
    pieces: tuple[str, ...]
    value: Any
    how: tuple[str, ...]


@st.composite
def helds(draw: st.DrawFn) -> Held:
    """Any secret, escaped up to two times, and held by up to three things in one another."""
    pieces = draw(st.lists(PIECES, min_size=1, max_size=4))
    secret = pieces[0]
    for piece in pieces[1:]:
        secret += draw(st.text(SPECIAL, min_size=1, max_size=4)) + piece
    shift = draw(st.none() | st.integers(0, 4))
    text = secret if shift is None else packed(secret, shift)
    before, after = draw(AROUND), draw(AROUND)
    value: Any = (before + text + after).encode("utf-8", "replace").decode()
    how = draw(st.lists(st.sampled_from(sorted(ESCAPINGS)), max_size=2))
    for name in how:
        value = ESCAPINGS[name](value)
    holders = draw(st.lists(st.sampled_from(sorted(HOLDERS)), max_size=3))
    for name in holders:
        value = HOLDERS[name](value)
    return Held(secret, tuple(pieces), value, (*how, *holders))


def packed(text: str, shift: int) -> str:
    """In base64, behind something else."""
    return base64.b64encode(b"x" * shift + text.encode()).decode()


def unpacked(text: str) -> Iterator[str]:
    """All that may be base64 in a text, decoded."""
    for token in re.findall(r"[A-Za-z0-9+/_-]{8,}", text):
        for start in range(4):
            rest = token[start:].replace("-", "+").replace("_", "/")
            yield base64.b64decode(rest[: len(rest) // 4 * 4]).decode("latin-1")


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    with as_before():
        yield


@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(held=helds(), carrier=st.sampled_from(sorted(CARRIERS)), console=st.booleans())
def test_no_line_tells_a_secret_however_it_is_escaped_and_wherever_it_is_held(
    held: Held, carrier: str, *, console: bool
) -> None:
    assume("\\" * (BACKSLASHES_MAX + 1) not in repr(repr(held.value)))  # twice: for its carrier
    sink = Sink(console=console)
    sink.redactor.hide(held.secret)

    CARRIERS[carrier](structlog.get_logger("t"), held.value)

    assert MASK in sink.text or "group" in held.how or "[deeper]" in sink.text
    for shown in [sink.text] if console else [sink.text, *map(str, sink.lines)]:
        rest = shown.replace(MASK, " ")
        assert [piece for piece in held.pieces if piece in rest] == []
        assert [piece for one in unpacked(rest) for piece in held.pieces if piece in one] == []


MASKED = {  # what is much shorter afterwards
    "nothing": "",
    "a password": "password=" + "x" * (SCAN_MAX - 40) + " ",
    "a token": "token " + "A1" * (SCAN_MAX // 2 - 20) + " ",
}


@settings(max_examples=200, deadline=None)
@given(
    secret=PIECES.map(lambda piece: f"sec/{piece}"),
    before=st.sampled_from(sorted(MASKED)),
    pad=st.integers(0, 60),
)
def test_a_secret_at_the_end_of_what_is_looked_at_does_not_show_its_beginning(
    secret: str, before: str, pad: int
) -> None:
    redactor = Redactor()
    redactor.hide(secret)
    assert secret[:8] not in redactor.text(MASKED[before] + "." * pad + secret + "." * SCAN_MAX)
