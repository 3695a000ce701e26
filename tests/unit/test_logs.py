"""Logs say who, when and what, one line each, and never a secret however hard one tries."""

import base64
import json
import logging
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import SetupError, TransientError
from services import logs
from services.redaction import HIDDEN, MASK, SCAN_MAX, TEXT_MAX, Redactor, looks_secret
from services.secrets import resolve
from tests.support.log_lines import Sink, as_before

SECRET = 'pä"ss/w0rd+\\ %&\n2nd-line-of-it'
PLAIN = "correct-horse-battery-9"


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    with as_before():
        yield


@pytest.fixture
def sink() -> Sink:
    return Sink()


def test_a_line_is_one_json_object_with_time_level_role_and_fields(sink: Sink) -> None:
    structlog.contextvars.bind_contextvars(traceparent="00-ab-cd-01")
    structlog.get_logger("consumers.loading.load").info("loaded", stream="a.b", partition=3)
    (line,) = sink.lines
    assert line.pop("time").endswith("Z")
    assert line == {
        "event": "loaded",
        "level": "info",
        "logger": "consumers.loading.load",
        "role": "loader",
        "stream": "a.b",
        "partition": 3,
        "traceparent": "00-ab-cd-01",
    }


def test_libraries_go_the_same_way_with_their_extras(sink: Sink) -> None:
    logging.getLogger("some.library").warning("x %s %d", "y", 3, extra={"attempt": 2})
    (line,) = sink.lines
    assert (line["event"], line["logger"], line["role"]) == ("x y 3", "some.library", "loader")
    assert line["attempt"] == 2


def test_warnings_are_logged_and_chatter_is_not(sink: Sink) -> None:
    logging.getLogger("httpx2").info("GET everything")
    logging.getLogger("snowflake.connector.cursor").info("query")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old thing", DeprecationWarning, stacklevel=1)
    assert [line["logger"] for line in sink.lines] == ["py.warnings"]


def test_lines_below_the_level_are_left_out() -> None:
    sink = Sink(level="warning")
    structlog.get_logger().info("no")
    logging.getLogger("a").info("no")
    structlog.get_logger().warning("yes")
    assert [line["event"] for line in sink.lines] == ["yes"]


def test_configuring_again_replaces_and_does_not_double() -> None:
    first, second = Sink(), Sink()
    structlog.get_logger().info("once")
    assert first.text == ""
    assert len(second.lines) == 1


def test_an_exception_is_fields_with_frames_and_without_locals(sink: Sink) -> None:
    def fail() -> None:
        local_thing = "value-of-a-local"
        raise SetupError(f"cannot {len(local_thing)}", where="sluice.toml: a", remedy="mend it")

    try:
        try:
            fail()
        except SetupError as error:
            raise TransientError("later", where="here") from error
    except TransientError:
        structlog.get_logger().exception("failed")
    (line,) = sink.lines
    outer, inner = line["exception"]
    assert (outer["exc_type"], inner["exc_type"]) == ("TransientError", "SetupError")
    assert inner["frames"][-1]["name"] == "fail"
    assert (line["what"], line["where"]) == ("later", "here")
    assert "value-of-a-local" not in sink.text


def test_hostile_text_cannot_forge_a_line_or_move_the_cursor(sink: Sink) -> None:
    text = 'x\n{"level":"info","event":"forged"}\r\x1b[2J\u2028\ud800'
    structlog.get_logger().info(text, **{"k\n\x1b": text})
    assert len(sink.text.splitlines()) == 1
    console = Sink(console=True)
    structlog.get_logger().info("hello", value=text, exception=text)
    assert "\x1b[2J" not in console.text
    assert "\r" not in console.text


def test_odd_values_are_logged_as_text(sink: Sink) -> None:
    structlog.get_logger().info(
        "odd", nan=float("nan"), big=10**30, path=Path("/x"), data=b"\xff", some={1}, none=None
    )
    (line,) = sink.lines
    assert (line["nan"], line["big"], line["data"], line["none"]) == ("nan", 10**30, "\\xff", None)


def test_a_value_without_end_is_cut_and_takes_no_time(sink: Sink) -> None:
    nested: list[Any] = []
    nested.append(nested)
    started = time.monotonic()
    structlog.get_logger().info("a" * 10_000_000, deep=nested, many=list(range(100_000)))
    for evil in ("password" * 20_000, "secret" + "-" * 100_000, "a" * 99_999 + ":", "://" * 50_000):
        structlog.get_logger().info(evil)
    structlog.get_logger().info('token="' + '\\"' * 50_000)
    assert time.monotonic() - started < 20
    assert len(sink.text) < 20 * TEXT_MAX


def test_a_record_that_cannot_be_formatted_leaks_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    sink = Sink()  # here, so that it takes pytest's own handler away

    class Broken:
        def __repr__(self) -> str:
            raise ValueError(PLAIN)

    logging.getLogger("lib").info("%d", PLAIN)
    structlog.get_logger().info("x", value=Broken(), other=PLAIN)
    assert PLAIN not in sink.text + "".join(capsys.readouterr())
    assert [line["error"] for line in sink.lines] == ["TypeError", "ValueError"]


def _b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _lib(name: str) -> logging.Logger:
    return logging.getLogger(name)


TEXTS: dict[str, Callable[[str], str]] = {
    "event": lambda s: f"connecting with {s} now",
    "bytes_repr": lambda s: f"{s.encode()!r}",
    "repr": lambda s: f"{s!r}",
    "json": lambda s: json.dumps({"a": s}),
    "json_unicode": lambda s: json.dumps({"a": s}, ensure_ascii=False),
    "url": lambda s: f"GET https://x.test/?q={quote(s, safe='')}&r={quote_plus(s)}",
    "url_path": lambda s: f"GET https://x.test/{quote(s)}",
    "userinfo": lambda s: f"https://me:{quote(s, safe='')}@x.test/",
    "basic": lambda s: "Basic " + _b64("me:" + s),
    "base64": lambda s: "h " + _b64("me:" + s),
    "base64_2": lambda s: "h " + _b64("mee:" + s),
    "base64_3": lambda s: "h " + _b64("meee:" + s + "."),
    "hex": lambda s: s.encode().hex(),
}
CARRIERS: dict[str, Callable[[Any, str], object]] = {
    "field": lambda log, s: log.info("x", value=s),
    "nested": lambda log, s: log.info("x", value={"a": [{"b": (s, {s})}]}),
    "key": lambda log, s: log.info("x", value={s: 1}),
    "bytes": lambda log, s: log.info("x", value=s.encode()),
    "our_error": lambda log, s: log.info("x", other=SetupError(s, where=s, remedy=s)),
    "object": lambda log, s: log.info("x", value=[ValueError(s)], path=Path(s.replace("\0", ""))),
    "arguments": lambda _, s: _lib("lib").warning("%s %r", s, s),
    "extra": lambda _, s: _lib("lib").warning("x", extra={"some_value": s}),
    "context": lambda log, s: log.bind(value=s).info("x"),
    "logger_name": lambda _, s: _lib(s).warning("x"),
    "stack": lambda log, s: log.info("x", stack_info=True, value=s),
} | {name: lambda log, s, text=text: log.info(text(s)) for name, text in TEXTS.items()}


def _raise(s: str) -> None:
    try:
        try:
            raise ValueError(f"bad key {s}")  # noqa: TRY301 - a chain is the point
        except ValueError as error:
            error.add_note(f"note {s}")
            raise SetupError(f"refused {s}", where=f"at {s}", remedy=f"use {s}") from error
    except SetupError as error:
        raise ExceptionGroup("group " + s, [error, KeyError(s)]) from error


def _exception(log: Any, s: str) -> None:
    try:
        _raise(s)
    except ExceptionGroup:
        log.exception("failed")
        logging.getLogger("lib").exception("failed")


CARRIERS["exception"] = _exception


@pytest.mark.parametrize("form", ["json", "console"])
@pytest.mark.parametrize("secret", [SECRET, PLAIN, "8472", "ünïcödé-sécrèt"])
@pytest.mark.parametrize("carrier", CARRIERS)
def test_a_registered_secret_does_not_leak(form: str, secret: str, carrier: str) -> None:
    console = form == "console"
    sink = Sink(console=console)
    sink.redactor.hide(secret)
    CARRIERS[carrier](structlog.get_logger("t"), secret)
    assert MASK in sink.text
    decoded = sink.text if console else "\n".join(map(str, sink.lines))
    spellings = {
        secret,
        repr(secret)[1:-1],
        repr(secret.encode())[2:-1],
        json.dumps(secret)[1:-1],
        quote(secret, safe=""),
        base64.b64encode(secret.encode()).decode(),
        secret.encode().hex(),
        *(line for line in secret.splitlines() if len(line) > 6),
    }
    halves = {half for it in spellings for half in (it[: len(it) // 2], it[len(it) // 2 :])}
    for shown in spellings | {half for half in halves if len(half) > 6}:
        assert shown not in sink.text
        assert shown not in decoded


@settings(max_examples=300, deadline=None)
@given(
    secret=st.text(min_size=6, max_size=40).filter(lambda s: len(s.strip()) >= 6),
    before=st.text(max_size=8),
    after=st.text(max_size=8),
    carrier=st.sampled_from(
        ["event", "field", "nested", "key", "repr", "json", "url", "exception"]
    ),
)
def test_no_text_whatever_leaks(secret: str, before: str, after: str, carrier: str) -> None:
    try:
        secret.encode()
    except UnicodeEncodeError:
        return
    sink = Sink()
    sink.redactor.hide(secret)
    structlog.get_logger("t").info(before + secret + after)
    CARRIERS[carrier](structlog.get_logger("t"), secret)
    for line in sink.lines:
        rest = json.dumps(line, ensure_ascii=False).replace(MASK, "")
        assert secret not in rest


@pytest.mark.parametrize(
    "text",
    [
        "https://user:PLAIN@host.test/path",
        "postgresql+psycopg://user:PLAIN@host.test:5432/db?x=1",
        "https://PLAIN@host.test/",
        "cannot reach user:PLAIN@account/db",
        "GET /in?access_token=PLAIN&x=1",
        "GET /in?a=1&sig=PLAIN",
        "sasl.password=PLAIN, sasl.username=me",
        "ssl.key.password = PLAIN",
        '{"client_secret": "PLAIN", "a": 1}',
        '{"client_secret": "PLAIN with spaces',
        "{'api_key': 'PLAIN'}",
        '{\\"password\\": \\"PLAIN and more\\"}',
        '{\\\\\\"password\\\\\\": \\\\\\"PLAIN\\\\\\"}',
        "[('password', 'PLAIN')]",
        "[(b'X-Api-Key', b'PLAIN')]",
        "Authorization: Digest username=x, response=PLAIN",
        "{'authorization': 'AWS4-HMAC-SHA256 Credential=x, Signature=PLAIN'}",
        "Cookie: session=PLAIN; other=PLAIN",
        "curl -H 'Proxy-Authorization: Basic PLAIN'",
        "Bearer PLAIN",
        "Basic PLAIN==",
        "token PLAIN",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nPLAIN\n-----END ENCRYPTED PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----\\nPLAIN",
        "whsec_PLAIN",
        "sk_live_PLAIN",
        "ghp_PLAIN",
        "xoxb-PLAIN",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJQTEFJTiJ9.PLAIN",
    ],
)
def test_what_looks_secret_is_masked_though_nobody_registered_it(text: str, sink: Sink) -> None:
    plain = "Zq7xW9kLmN0pR3tV"
    structlog.get_logger().info(text.replace("PLAIN", plain), value=[text.replace("PLAIN", plain)])
    assert plain not in sink.text
    assert MASK in sink.text


@pytest.mark.parametrize(
    "name",
    [
        *("password", "sasl.password", "SNOWFLAKE_PASSWORD", "clientSecret", "secret_key"),
        *("api-key", "X-Api-Key", "apikey", "Authorization", "proxy-authorization", "Set-Cookie"),
        *("private_key", "privateKeyPassphrase", "access_token", "Stripe-Signature", "auth", "pwd"),
        *("x-hub-signature-256", "x-shopify-hmac-sha256", "aws_secret_access_key"),
    ],
)
def test_fields_and_headers_with_a_secret_name_are_masked(name: str, sink: Sink) -> None:
    assert looks_secret(name)
    for shape in ({name: PLAIN}, {name: [PLAIN]}, {name: {"a": PLAIN}}, {name: 847291}):
        structlog.get_logger().info("x", **shape, nested={"deep": [shape]})
        structlog.get_logger().info("x", pairs=[(name, PLAIN), (name.encode(), PLAIN.encode())])
    assert PLAIN not in sink.text
    assert "847291" not in sink.text


@pytest.mark.parametrize(
    "name", ["stream", "partition", "key", "dedupe_keys", "source", "author", "passed", "signal"]
)
def test_ordinary_names_are_shown(name: str, sink: Sink) -> None:
    assert not looks_secret(name)
    structlog.get_logger().info("x", **{name: "shown-value"})
    assert "shown-value" in sink.text


@pytest.mark.parametrize(
    "text",
    [
        "shop.orders: 120 events in 0.4 s (batch 2f9c)",
        "https://host.test/path?page=2",
        "sluice.toml: gateway.port: 99999 is too large\n  What to do: use 0 to 65535",
        "at 12:30:05 host:9092 was reached",
    ],
)
def test_ordinary_texts_are_left_alone(text: str) -> None:
    assert Redactor().text(text) == text


def test_a_secret_across_the_cut_does_not_show_its_beginning() -> None:
    redactor = Redactor()
    redactor.hide(PLAIN)
    for place in (TEXT_MAX, SCAN_MAX):
        shown = redactor.text("." * (place - 10) + PLAIN + "." * 100)
        assert PLAIN[:8] not in shown


def test_short_secrets_are_masked_where_they_stand_alone() -> None:
    redactor = Redactor()
    redactor.hide("abc")
    redactor.hide(" ")
    redactor.hide("")
    assert redactor.text("abc abcd a=abc") == f"{MASK} abcd a={MASK}"


def test_every_resolved_secret_is_registered_by_itself(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "key").write_text("file-secret-1\n")
    environ = {"A_SECRET": "env-secret-2"}
    logs.configure("loader", stream=sys.stderr, console=False)
    resolve("file:key", environ, tmp_path)
    resolve("env:A_SECRET", environ, tmp_path)
    resolve("command:echo command-secret-3", environ, tmp_path)
    structlog.get_logger().info("x file-secret-1 env-secret-2 command-secret-3")
    assert json.loads(capsys.readouterr().err)["event"] == f"x {MASK} {MASK} {MASK}"
    assert HIDDEN.text("file-secret-1") == MASK


def test_errors_that_nobody_caught_are_logged_and_masked(
    sink: Sink, capsys: pytest.CaptureFixture[str]
) -> None:
    sink.redactor.hide(PLAIN)
    logs.install_hooks()

    def fail() -> None:
        raise ValueError(f"with {PLAIN}")

    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    try:
        fail()
    except ValueError as error:
        sys.excepthook(ValueError, error, error.__traceback__)
    sys.excepthook(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert [line["event"] for line in sink.lines] == ["uncaught error"] * 2
    assert sink.lines[0]["exception"][0]["exc_value"] == f"with {MASK}"
    assert PLAIN not in sink.text + "".join(capsys.readouterr())
