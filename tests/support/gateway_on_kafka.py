"""Gateways on a broker, each in a process of its own that is quickly started and may be killed.

They are forked from a process that has imported everything: many more kills a minute.
"""

import asyncio
import io
import multiprocessing
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess

import fastavro
import uvloop

from producers.encode import StreamEncoder
from schemas import avro
from schemas.contract import Contract
from schemas.dead_letters import DeadLetterWriter
from services.adapters.kafka import KafkaLogReader
from services.adapters.kafka.group_commit import GroupCommit
from services.gateway.serve import listen, serve
from services.settings import Gateway as GatewaySettings
from tests.support.http import Order, World, source
from tests.support.kafka import TestBroker

START_SECONDS_MAX = 60
NOISY_PER_SECOND = 20.0


def contract(stream: str) -> Contract:
    return Contract(stream=stream, model=Order, key=("id",))


@contextmanager
def running(bootstrap: str, stream: str) -> Iterator[tuple[ForkServerProcess, int]]:
    """A gateway's process and port; it is gone afterwards.

    Its source ``shop`` has no limit, its source ``noisy`` may send :data:`NOISY_PER_SECOND`.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["__main__", __name__, "tests.support.paced"])
    heard, told = context.Pipe(duplex=False)
    process = context.Process(target=run, args=(bootstrap, stream, told), daemon=True)
    process.start()
    try:
        assert heard.poll(START_SECONDS_MAX), "the gateway did not start"
        yield process, heard.recv()
    finally:
        process.kill()
        process.join()
        heard.close()
        told.close()


def stored(broker: TestBroker, of: Contract, id_field: str) -> Counter[str]:
    """How often the topic has each event id."""
    schema = fastavro.parse_schema(avro.wire_schema(of))
    reader = KafkaLogReader(broker.client)
    found: Counter[str] = Counter()
    try:
        for partition in reader.partitions(of.topic):
            for run in reader.read(partition, *reader.bounds(partition)):
                for value in run.values:
                    event = fastavro.schemaless_reader(io.BytesIO((value or b"")[5:]), schema)
                    assert isinstance(event, dict)
                    found[event[id_field]] += 1
    finally:
        reader.close()
    return found


def run(bootstrap: str, stream: str, told: Connection) -> None:
    """Serve until SIGTERM; the port is told first."""
    uvloop.run(_serve(bootstrap, stream, told))


async def _serve(bootstrap: str, stream: str, told: Connection) -> None:
    settings = GatewaySettings(port=0, ack_seconds_max=10)  # a shared machine may be slow
    sink = GroupCommit({"bootstrap.servers": bootstrap}, settings.ack_seconds_max)
    noisy = source("noisy", stream=stream, rate_per_second=NOISY_PER_SECOND)
    sources = [source(stream=stream), noisy]
    ports = replace(
        World(sources, streams=()).ports_to(sink),
        encoders={stream: StreamEncoder(contract(stream), 7)},
        dead_letters=DeadLetterWriter(8).records,
    )
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    listener = listen(settings)
    told.send(listener.getsockname()[1])
    await serve(ports, settings, listener, stop)
