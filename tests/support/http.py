"""The gateway's other side: an ASGI driver, a raw HTTP client, and a world in memory."""

import asyncio
import hashlib
import hmac
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson
from pydantic import BaseModel

from producers.encode import Encoded
from producers.webhook import WebhookSource, find_plugins, make_source, read_config
from schemas import identity
from schemas.contract import Contract
from schemas.errors import RejectReason, Stage
from schemas.events import Delivery, Incoming, Record, Rejection, Violation
from services.adapters.clock import SystemClock
from services.adapters.memory_sink import MemorySink
from services.gateway.app import Gateway
from services.gateway.ports import GatewayPorts, Sink
from services.gateway.serve import listen, serve
from services.settings import Gateway as GatewaySettings

SECRET = "s3cret"
NOW = 1_795_409_148_000_000
HMAC_TABLE = {
    "kind": "webhook",
    "secrets": ["env:SHOP_SECRET"],
    "verify": {"scheme": "hmac", "header": "x-signature"},
    "stream": "shop.orders",
    "event_id": "{/id}",
}


class Order(BaseModel):
    id: str
    amount: float = 0


class PlainEncoder:
    """Records are the JSON bytes; what lacks an id is rejected, like a type that does not fit."""

    def __init__(self, stream: str) -> None:
        self.contract = Contract(stream=stream, model=Order)

    def encode(self, incoming: Sequence[Incoming]) -> Encoded:
        records, rejections, ids = [], [], []
        for one in incoming:
            id_ = one.event_id or identity.event_id_of_body(one.source, one.raw)
            ids.append(id_)
            if isinstance(one.value.get("amount", 0), int | float):
                records.append(Record(self.contract.topic, one.raw, id_.encode()))
                continue
            rejections.append(
                Rejection(
                    stream=self.contract.stream,
                    stage=Stage.ENCODE,
                    violations=(Violation("$.amount", RejectReason.WRONG_TYPE, "no number"),),
                    value=one.raw,
                    event_id=id_,
                    source=one.source,
                    seen_at=one.received_at,
                )
            )
        return Encoded(tuple(records), tuple(rejections), tuple(ids))


def source(name: str = "shop", secrets: Sequence[str] = (SECRET,), **table: Any) -> WebhookSource:
    """A source as a project's table describes it."""
    plugins = find_plugins()
    merged = {k: v for k, v in (HMAC_TABLE | table).items() if v is not None}
    return make_source(name, read_config(name, merged, plugins), secrets, plugins)


def preset(kind: str, **table: Any) -> WebhookSource:
    """A source of a preset, with nothing but a secret."""
    plugins = find_plugins()
    config = read_config(kind, {"kind": kind, "secrets": ["env:S"], **table}, plugins)
    return make_source(kind, config, (SECRET,), plugins)


def signature(body: bytes, secret: str = SECRET) -> str:
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def delivery(body: bytes, headers: Mapping[str, str] | None = None, **changed: Any) -> Delivery:
    """A delivery to ``shop``, signed."""
    signed = {"x-signature": signature(body), "content-type": "application/json"}
    fields: dict[str, Any] = {
        "source": "shop",
        "headers": signed | dict(headers or {}),
        "body": body,
        "payload": body,
        "received_at": NOW,
    }
    return Delivery(**(fields | changed))


def dead_letters(rejections: Sequence[Rejection]) -> Sequence[Record]:
    return [
        Record(f"{one.stream}.dead", one.value or b"", (one.event_id or "").encode())
        for one in rejections
    ]


@dataclass
class Calls:
    """Metrics: every call, as text."""

    seen: list[tuple[str, float, dict[str, str]]] = field(default_factory=list)

    def count(self, name: str, value: float = 1, **labels: str) -> None:
        self.seen.append((name, value, labels))

    gauge = observe = count

    def total(self, name: str, **labels: str) -> float:
        return sum(v for n, v, found in self.seen if n == name and labels.items() <= found.items())


@dataclass
class World:
    """A gateway and all it works with, in memory."""

    sources: Sequence[WebhookSource]
    streams: Sequence[str] = ("shop.orders",)
    settings: GatewaySettings = field(default_factory=lambda: GatewaySettings(port=0))
    sink: MemorySink = field(default_factory=MemorySink)
    metrics: Calls = field(default_factory=Calls)

    @property
    def ports(self) -> GatewayPorts:
        return self.ports_to(self.sink)

    def ports_to(self, sink: Sink) -> GatewayPorts:
        return GatewayPorts(
            sources={one.name: one for one in self.sources},
            encoders={stream: PlainEncoder(stream) for stream in self.streams},
            dead_letters=dead_letters,
            sink=sink,
            clock=SystemClock(),
            metrics=self.metrics,
        )

    def app(self) -> Gateway:
        return Gateway(self.ports, self.settings)


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)


Part = bytes | float  # bytes of the body, or seconds to wait


async def call(
    app: Gateway,
    body: bytes | Sequence[Part] = b"",
    headers: Mapping[str, str] | Sequence[tuple[bytes, bytes]] = (),
    path: str = "/v1/in/shop",
    method: str = "POST",
) -> Reply:
    """One request to an ASGI application, without a server."""
    parts: list[Part] = [body] if isinstance(body, bytes) else list(body)
    raw = (
        [(k.encode("latin-1"), v.encode("latin-1")) for k, v in headers.items()]
        if isinstance(headers, Mapping)
        else list(headers)
    )
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        if not parts:
            return {"type": "http.disconnect"}
        part = parts.pop(0)
        if not isinstance(part, bytes):
            await asyncio.sleep(part)
            return await receive()
        return {"type": "http.request", "body": part, "more_body": bool(parts)}

    async def send(message: Any) -> None:
        sent.append(message)

    plain, _, query = path.partition("?")
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "path": plain,
        "query_string": query.encode(),
        "headers": raw,
    }
    await app(scope, receive, send)
    app.tally.tell()
    if not sent:
        return Reply(0, {}, b"")
    found = {k.decode(): v.decode("latin-1") for k, v in sent[0]["headers"]}
    return Reply(sent[0]["status"], found, b"".join(m["body"] for m in sent[1:]))


def post(app: Gateway, body: bytes, headers: Mapping[str, str] | None = None, **more: Any) -> Reply:
    """One signed delivery, from outside of a loop."""
    signed = {"x-signature": signature(body), "content-type": "application/json"}
    return asyncio.run(call(app, body, signed | dict(headers or {}), **more))


@asynccontextmanager
async def served(ports: GatewayPorts, settings: GatewaySettings) -> AsyncIterator[int]:
    """The gateway on a loopback port, stopped in good order."""
    listener = listen(settings)
    stop = asyncio.Event()
    task = asyncio.create_task(serve(ports, settings, listener, stop))
    await asyncio.sleep(0.05)
    try:
        yield listener.getsockname()[1]
    finally:
        stop.set()
        await task


def request(
    body: bytes,
    headers: Mapping[str, str] | None = None,
    path: str = "/v1/in/shop",
    sign: Callable[[bytes], str] = signature,
) -> bytes:
    """A signed request's bytes."""
    lines = {
        "host": "localhost",
        "content-type": "application/json",
        "x-signature": sign(body),
        "content-length": str(len(body)),
    } | dict(headers or {})
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value)
    return f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + body


async def read_reply(reader: asyncio.StreamReader) -> Reply:
    """One answer from a connection. Raises asyncio.IncompleteReadError at its end."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {
        name.lower(): value.strip()
        for name, _, value in (line.partition(":") for line in head[1:] if line)
    }
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Reply(int(head[0].split(" ")[1]), headers, body)


async def exchange(port: int, *parts: Part, count: int = 1) -> list[Reply]:
    """Sends bytes (or waits) on one connection; up to ``count`` answers, fewer if it is closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    replies: list[Reply] = []
    try:
        for part in parts:
            if isinstance(part, bytes):
                writer.write(part)
                await writer.drain()
            else:
                await asyncio.sleep(part)
        while len(replies) < count:
            replies.append(await read_reply(reader))
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()
    return replies


def problem(reply: Reply, status: int, reason: str) -> dict[str, Any]:
    assert reply.status == status, reply
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.headers["content-length"] == str(len(reply.body))
    found: dict[str, Any] = reply.json
    assert found["status"] == status
    assert found["type"] == f"urn:sluice:refusal:{reason}"
    assert found["title"]
    assert found["detail"]
    return found


def signed(body: bytes) -> dict[str, str]:
    return {"x-signature": signature(body), "content-type": "application/json"}
