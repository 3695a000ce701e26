"""The usual way: FastAPI, one delivery report callback and one wake-up of the loop a message.

The same work as the gateway's: HMAC over the raw body, orjson, the same encoder, acks=all.
``python -m benchmarks.fastapi_gateway BOOTSTRAP TOPIC`` prints its port and serves.
"""

import asyncio
import hashlib
import hmac
import socket
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import orjson
import uvicorn
from confluent_kafka import KafkaError, Message, Producer
from fastapi import FastAPI, Header, HTTPException, Request

from benchmarks.events import SCHEMA_ID, contract
from producers.encode import StreamEncoder
from schemas.events import Incoming
from services.adapters.clock import SystemClock
from services.adapters.kafka.clients import PRODUCER, WRITING

SECRET = b"benchmark"


def make_app(bootstrap: str, topic: str) -> FastAPI:
    encoder = StreamEncoder(contract(topic), SCHEMA_ID)
    clock = SystemClock()
    producer = Producer(
        {
            **PRODUCER,
            **WRITING,
            "bootstrap.servers": bootstrap,
            "linger.ms": 0,
            "message.timeout.ms": 10_000,
            "delivery.report.only.error": False,
        }
    )

    def poll() -> None:
        while True:
            producer.poll(0.2)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        threading.Thread(target=poll, daemon=True).start()
        yield

    app = FastAPI(lifespan=lifespan)

    @app.post("/v1/in/bench")
    async def ingest(
        request: Request, x_signature: Annotated[str, Header()] = ""
    ) -> dict[str, object]:
        body = await request.body()
        expected = hmac.new(SECRET, body, hashlib.sha256).hexdigest()
        if not hmac.compare_digest(expected, x_signature):
            raise HTTPException(401)
        value = orjson.loads(body)
        encoded = encoder.encode([Incoming(value, body, None, "bench", clock.now())])
        loop = asyncio.get_running_loop()
        done = loop.create_future()

        def delivered(error: KafkaError | None, _message: Message) -> None:
            loop.call_soon_threadsafe(done.set_result, error)

        record = encoded.records[0]
        producer.produce(record.topic, record.value, record.key, on_delivery=delivered)
        if await done is not None:
            raise HTTPException(503)
        return {"accepted": 1, "ids": encoded.ids}

    return app


def main() -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    print(listener.getsockname()[1], flush=True)
    config = uvicorn.Config(
        make_app(*sys.argv[1:3]),
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="error",
    )
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
