"""Senders that keep a pace, whatever the answers, and say how long each took."""

import asyncio
import multiprocessing
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection

import uvloop

from tests.support.http import read_reply, request

CONNECTIONS = 4


@dataclass
class Heard:
    """Answers to one source."""

    seconds: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    taken: set[str] = field(default_factory=set)  # ids of the acknowledged
    unadvised: int = 0  # 429 without Retry-After

    def p99(self) -> float:
        return sorted(self.seconds)[len(self.seconds) * 99 // 100]


async def pace(port: int, source: str, per_second: float, seconds: float) -> Heard:
    """Deliveries at even distances, over a few connections in turns.

    One that had to wait for the answer before it is measured from when it was due: a gateway that
    stalls must not look better for having kept its senders from sending.
    """
    heard = Heard()
    count = round(per_second * seconds)
    start = time.perf_counter()
    at = [start + n / per_second for n in range(count)]
    lanes = [_lane(port, source, at[n::CONNECTIONS], heard) for n in range(CONNECTIONS)]
    await asyncio.gather(*lanes)
    return heard


async def _lane(port: int, source: str, moments: list[float], heard: Heard) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for moment in moments:
        early = moment - time.perf_counter()
        await asyncio.sleep(max(0.0, early))
        began = moment if early < 0 else time.perf_counter()
        name = f"{source}-{moment:.9f}"
        writer.write(request(b'{"id":"%s"}' % name.encode(), path=f"/v1/in/{source}"))
        reply = await read_reply(reader)
        heard.seconds.append(time.perf_counter() - began)
        heard.statuses[reply.status] += 1
        heard.unadvised += reply.status == 429 and int(reply.headers.get("retry-after", "0")) < 1
        if reply.status == 200:
            heard.taken.add(name)
    writer.close()


@contextmanager
def beside(port: int, source: str, per_second: float, seconds: float) -> Iterator[Connection]:
    """A paced sender in a process of its own; its :class:`Heard` comes when it is over."""
    context = multiprocessing.get_context("forkserver")
    answers, told = context.Pipe(duplex=False)
    arguments = (port, source, per_second, seconds, told)
    process = context.Process(target=_run, args=arguments, daemon=True)
    process.start()
    try:
        yield answers
    finally:
        process.join(seconds + 30)
        process.kill()
        process.join()
        answers.close()
        told.close()


def _run(port: int, source: str, per_second: float, seconds: float, told: Connection) -> None:
    told.send(None)  # it runs
    told.send(uvloop.run(pace(port, source, per_second, seconds)))
