"""The gateway as an ASGI application, without sockets."""

import asyncio
import gzip
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as fuzz
from hypothesis import strategies as st

from producers.encode import StreamEncoder
from producers.refusal import RefusalReason
from producers.webhook import Answer, Handshake
from schemas.contract import Contract
from schemas.dead_letters import DeadLetterWriter
from schemas.errors import SetupError, TransientError
from schemas.events import Delivery
from services.gateway.app import Gateway
from services.gateway.rate import TokenBucket
from services.gateway.responses import _TITLES
from services.settings import Gateway as GatewaySettings
from tests.support.http import (
    Order,
    World,
    call,
    post,
    preset,
    problem,
    signature,
    signed,
    source,
)

SETTINGS = GatewaySettings(port=0)


def world(**changed: Any) -> World:
    return World([source(), preset("github")], settings=SETTINGS.model_copy(update=changed))


def test_an_event_is_stored_and_then_acknowledged_with_its_id() -> None:
    here = world()
    reply = post(here.app(), b'{"id":"a","amount":1}')
    assert reply.status == 200
    assert reply.json == {"accepted": 1, "ids": ["a"]}
    assert [(one.topic, one.value) for one in here.sink.records] == [
        ("shop.orders", b'{"id":"a","amount":1}')
    ]
    assert here.metrics.total("gateway_requests", source="shop", status="200") == 1
    assert here.metrics.total("gateway_events", stream="shop.orders") == 1
    assert here.metrics.total("gateway_bytes", source="shop") == 21


def test_the_answer_waits_for_the_acknowledgement() -> None:
    here = world()
    app = here.app()

    async def scenario() -> None:
        here.sink.gate.clear()
        task = asyncio.create_task(call(app, b'{"id":"a"}', signed(b'{"id":"a"}')))
        await asyncio.sleep(0.05)
        assert not task.done()
        assert not here.sink.records
        here.sink.gate.set()
        assert (await task).status == 200
        assert len(here.sink.records) == 1

    asyncio.run(scenario())


def test_dead_letters_are_published_with_the_events_and_named_in_the_answer() -> None:
    here = world()
    reply = post(here.app(), b'[{"id":"a"},{"id":"b","amount":"x"},7]')
    assert reply.status == 200
    assert reply.json["accepted"] == 3
    assert reply.json["dead"] == 2
    assert [one["reason"] for one in reply.json["dead_letters"]] == ["not_an_object", "wrong_type"]
    assert reply.json["dead_letters"][1]["id"] == reply.json["ids"][1] == "b"
    assert [one.topic for one in here.sink.records] == [
        "shop.orders",
        "shop.orders.dead",
        "shop.orders.dead",
    ]
    assert here.metrics.total("gateway_events_dead", reason="wrong_type") == 1


def test_an_answer_repeats_no_value_of_an_event_but_its_dead_letter_does() -> None:
    here = World([source(stream="shop.{/to}")], settings=SETTINGS)
    encoder = StreamEncoder(Contract(stream="shop.orders", model=Order), 7)
    writer = DeadLetterWriter(8)
    ports = replace(here.ports, encoders={"shop.orders": encoder}, dead_letters=writer.records)
    body = b'[{"id":"a","to":"orders","amount":"Ada"},{"id":"b","to":"Grace"}]'
    reply = post(Gateway(ports, SETTINGS), body)
    assert [one["id"] for one in reply.json["dead_letters"]] == ["b", "a"]
    assert b"Ada" not in reply.body
    assert b"grace" not in reply.body.lower()
    grace, ada = (record.value for record in here.sink.records)
    assert b"found 'shop.grace'" in grace
    assert b"found 'Ada'" in ada


def test_a_body_of_dead_letters_only_is_acknowledged() -> None:
    here = world()
    assert post(here.app(), b'{"id":"b","amount":"x"}').json["dead"] == 1
    assert [one.value for one in here.sink.records] == [b'{"id":"b","amount":"x"}']


def test_a_body_without_events_is_acknowledged_and_stores_nothing() -> None:
    here = world()
    assert post(here.app(), b"[]").json == {"accepted": 0, "ids": []}
    assert not here.sink.records


@pytest.mark.parametrize(
    "path", ["/", "/v1/in/", "/v1/in/other", "/v1/in/shop/", "/v1/in/shop/x", "/v2/in/shop", ""]
)
def test_an_unknown_address_says_the_same_everywhere(path: str) -> None:
    reply = post(world().app(), b"{}", path=path)
    found = problem(reply, 404, "unknown_source")
    assert "shop" not in reply.body.decode()
    assert found["detail"] == "no source is served at this address"
    assert "/v1/in/<source>" in found["remedy"]


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
def test_other_methods_are_told_which_are_allowed(method: str) -> None:
    reply = post(world().app(), b"", method=method)
    assert problem(reply, 405, "wrong_method")["remedy"] == "send it with POST"
    assert reply.headers["allow"] == "POST"


def test_a_configured_handshake_answers_get() -> None:
    def challenge(one: Delivery, secrets: Sequence[str]) -> Answer | None:
        del secrets
        token = one.url.partition("challenge=")[2]
        return Answer(body=token.encode()) if token else None

    hook = Handshake(challenge, frozenset({"GET"}))
    here = World([replace(source(), handshake=hook)], settings=SETTINGS)
    reply = post(here.app(), b"", method="GET", path="/v1/in/shop?challenge=42")
    assert (reply.status, reply.body) == (200, b"42")
    without = post(here.app(), b"", method="GET")
    problem(without, 405, "wrong_method")
    assert without.headers["allow"] == "GET, POST"
    assert post(here.app(), b'{"id":"a"}').json["ids"] == ["a"]


def test_a_ping_is_answered_and_stores_nothing() -> None:
    here = world()
    headers = {"x-github-event": "ping", "x-hub-signature-256": "sha256=" + signature(b"{}")}
    reply = post(here.app(), b"{}", headers, path="/v1/in/github")
    assert (reply.status, reply.body) == (200, b"pong")
    assert not here.sink.records


def test_a_bad_signature_is_401_with_a_challenge() -> None:
    here = world()
    reply = post(here.app(), b"{}", {"x-signature": "0"})
    found = problem(reply, 401, "bad_signature")
    assert found["field"] == "x-signature"
    assert found["remedy"]
    assert reply.headers["www-authenticate"] == "Signature"
    assert here.metrics.total("gateway_refusals", source="shop", reason="bad_signature") == 1
    assert not here.sink.records


@pytest.mark.parametrize(
    ("body", "headers", "status", "reason"),
    [
        (b"{", {}, 400, "not_json"),
        (b"x", {"content-encoding": "gzip"}, 400, "not_gzip"),
        (b"{}", {"content-encoding": "zstd"}, 415, "content_encoding"),
        (b"{}", {"content-type": "text/html"}, 415, "media_type"),
        (gzip.compress(b" " * 100_000), {"content-encoding": "gzip"}, 413, "too_large"),
        (b"[1,2,3,4]", {}, 422, "too_many_events"),
    ],
)
def test_what_cannot_be_read_is_refused_with_a_problem(
    body: bytes, headers: dict[str, str], status: int, reason: str
) -> None:
    here = world(inflated_bytes_max=50_000, events_max=3)
    problem(post(here.app(), body, headers), status, reason)
    assert not here.sink.records


def test_a_large_body_is_refused_by_its_announced_length_unread() -> None:
    here = world(body_bytes_max=100)
    parts = [b"x" * 90] * 1_000
    headers = signed(b"") | {"content-length": "90000"}
    reply = asyncio.run(call(here.app(), parts, headers))
    problem(reply, 413, "too_large")
    assert reply.headers["connection"] == "close"
    assert here.metrics.total("gateway_bytes") == 0


def test_bytes_are_counted_while_they_come() -> None:
    here = world(body_bytes_max=100)
    exact = b'{"id":"' + b"a" * 91 + b'"}'
    assert len(exact) == 100
    assert asyncio.run(call(here.app(), [exact[:50], exact[50:]], signed(exact))).status == 200
    reply = asyncio.run(call(here.app(), [b"x" * 60, b"x" * 41, b"x"], signed(b"")))
    problem(reply, 413, "too_large")
    assert reply.headers["connection"] == "close"


def test_a_client_that_goes_away_gets_no_answer() -> None:
    here = world()
    assert asyncio.run(call(here.app(), [], signed(b""))).status == 0
    assert here.metrics.total("gateway_requests") == 0


def test_large_headers_are_refused() -> None:
    here = world(header_bytes_max=1_000)
    problem(post(here.app(), b"{}", {"x-big": "x" * 1_000}), 431, "headers_too_large")
    reply = post(here.app(), b"{}", {"x-big": "x" * 1_000}, path="/nowhere")
    problem(reply, 431, "headers_too_large")


def test_a_source_over_its_rate_is_told_when_to_come_back() -> None:
    slow = replace(source(), rate_per_second=2.0)
    here = World([slow, source("calm")], settings=SETTINGS)
    app = here.app()
    replies = [post(app, b'{"id":"a"}') for _ in range(4)]
    assert [reply.status for reply in replies] == [200, 200, 429, 429]
    problem(replies[2], 429, "rate")
    assert int(replies[2].headers["retry-after"]) >= 1
    assert post(app, b'{"id":"a"}', path="/v1/in/calm").status == 200


def test_the_gateways_rate_is_each_sources_own() -> None:
    here = World(
        [source(), source("calm")], settings=SETTINGS.model_copy(update={"rate_per_second": 1})
    )
    app = here.app()
    for path in ("/v1/in/shop", "/v1/in/calm"):
        assert [post(app, b"{}", path=path).status for _ in range(2)] == [200, 429]


def test_a_bucket_fills_again_at_its_rate() -> None:
    bucket = TokenBucket(2)
    assert [bucket.take(0), bucket.take(0)] == [0, 0]
    assert bucket.take(0) == 0.5
    assert bucket.take(0.25) == 0.25
    assert bucket.take(0.5) == 0
    assert [bucket.take(1000) for _ in range(3)] == [0, 0, 0.5]


@pytest.mark.parametrize("failure", [TransientError("away"), SetupError("no such topic")])
def test_without_the_broker_the_answer_is_503(failure: Exception) -> None:
    here = world()
    here.sink.failure = failure  # type: ignore[assignment] # both are
    reply = post(here.app(), b'{"id":"a"}')
    problem(reply, 503, "unavailable")
    assert int(reply.headers["retry-after"]) >= 1
    assert here.metrics.total("gateway_events") == 0


def test_the_brokers_wish_is_passed_on() -> None:
    here = world()
    here.sink.failure = TransientError("busy", retry_after=17)
    assert post(here.app(), b"{}").headers["retry-after"] == "17"


@pytest.mark.parametrize(
    ("body", "sink_seconds"),
    [
        pytest.param(b'{"id":"a"}', 0.1, id="small: the sink keeps the time"),
        pytest.param(b'{"id":"' + b"n" * 200_000 + b'"}', 10, id="large: the gateway does"),
    ],
)
def test_a_silent_broker_is_answered_in_time(body: bytes, sink_seconds: float) -> None:
    here = world(ack_seconds_max=0.1)
    here.sink.gate.clear()
    here.sink.seconds_max = sink_seconds
    problem(post(here.app(), body), 503, "unavailable")
    assert here.sink.pending == 0


def test_large_bodies_are_read_beside_the_loop() -> None:
    here = world()
    body = b"[" + b",".join(b'{"id":"%d","x":"%s"}' % (n, b"x" * 90) for n in range(5_000)) + b"]"
    assert post(here.app(), body).json["accepted"] == 5_000
    packed = gzip.compress(body)
    assert post(here.app(), packed, {"content-encoding": "gzip"}).json["accepted"] == 5_000
    assert len(here.sink.records) == 10_000


def test_repeated_headers_are_one_list() -> None:
    body = b'{"id":"a"}'
    pairs = [(b"x-signature", b"nonsense"), (b"x-signature", signature(body).encode())]
    listed = source(verify={"scheme": "hmac", "header": "x-signature", "separator": ","})
    here = World([listed], settings=SETTINGS)
    assert asyncio.run(call(here.app(), body, pairs)).status == 200


def test_every_reason_has_a_title() -> None:
    assert set(_TITLES) == set(RefusalReason)


HEADER = st.tuples(
    st.sampled_from(
        [
            *(b"content-type", b"content-encoding", b"content-length", b"x-signature"),
            *(b"transfer-encoding", b"Expect", b"x-github-event", b""),
        ]
    )
    | st.binary(max_size=10),
    st.binary(max_size=20)
    | st.sampled_from([b"gzip", b"application/json", b"-1", b"99999999999999999999", b"\xb2"]),
)
PARTS = st.lists(
    st.binary(max_size=50) | st.binary(max_size=50).map(gzip.compress) | st.just(b'{"id":"a"}'),
    max_size=4,
)


@fuzz(suppress_health_check=[HealthCheck.too_slow])
@given(
    parts=PARTS,
    noise=st.lists(HEADER, max_size=6),
    path=st.sampled_from(["/v1/in/shop", "/v1/in/github", "/v1/in/é", "/"]) | st.text(),
    method=st.sampled_from(["POST", "GET", "HEAD", "BREW"]),
    sign=st.booleans(),
)
def test_nothing_makes_the_gateway_fail(
    *,
    parts: list[bytes],
    noise: list[tuple[bytes, bytes]],
    path: str,
    method: str,
    sign: bool,
) -> None:
    here = world()
    headers = list(noise)
    if sign:
        right = signature(b"".join(parts)).encode()
        headers = [(name, value) for name, value in noise if name.lower() != b"x-signature"]
        headers.append((b"x-signature", right))
    reply = asyncio.run(call(here.app(), parts, headers, path=path, method=method))
    assert reply.status in {0, 200, 400, 401, 404, 405, 413, 415, 422, 431}
    if reply.status >= 400:
        assert orjson.loads(reply.body)["status"] == reply.status
    stored = len(here.sink.records)
    assert stored == (reply.json["accepted"] if reply.status == 200 else 0)
