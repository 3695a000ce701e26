"""The gateway is killed with -9 again and again: what it has acknowledged is in the log.

``KILLS`` (200) says how often in the long run, ``KILLS_SEED`` (1) at which moments.
No loader runs here, so there are no books to balance: what was sent and acknowledged is held
against the log itself, id by id.
"""

import asyncio
import os
import random
import signal
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import orjson
import pytest

from schemas import avro
from schemas.dead_letters import dead_contract
from services.adapters.kafka import TopicSpec
from tests.support.gateway_on_kafka import contract, running, stored
from tests.support.http import Reply, read_reply, request
from tests.support.kafka import TestBroker

KILLS = int(os.environ.get("KILLS", "200"))
SEED = int(os.environ.get("KILLS_SEED", "1"))
SENDERS = 8
LIFE_SECONDS_MAX = 0.4
ANSWER_SECONDS_MAX = 30
DEAD_SHARE = 0.1

pytestmark = [pytest.mark.embedded, pytest.mark.enable_socket]


@dataclass
class Sender:
    """One connection of a provider's: the same delivery until it is acknowledged, then the next."""

    name: str
    draw: random.Random
    number: int = 0
    sent: Counter[str] = field(default_factory=Counter)  # how often each event was on its way
    events: set[str] = field(default_factory=set)  # acknowledged
    dead: set[str] = field(default_factory=set)  # acknowledged, as dead letters
    ended: bool = False
    cut: int = 0

    def __post_init__(self) -> None:
        self._next()

    async def send(self, port: int) -> None:
        """Deliver until the connection breaks, or the last delivery is acknowledged."""
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionError:
            return
        try:
            while not self.ended:
                self.sent.update(self._delivery.keys())
                writer.write(request(self._body))
                self._read(await read_reply(reader))
        except (asyncio.IncompleteReadError, ConnectionError):
            self.cut += 1
        finally:
            writer.close()

    def _next(self) -> None:
        self.number += 1
        names = [f"{self.name}-{self.number}.{n}" for n in range(self.draw.randint(1, 4))]
        self._delivery = {name: self.draw.random() < DEAD_SHARE for name in names}
        self._body = orjson.dumps(
            [{"id": name, "amount": "x" if dead else 1} for name, dead in self._delivery.items()]
        )

    def _read(self, reply: Reply) -> None:
        assert reply.status in {200, 503}, reply
        if reply.status == 503:
            return
        assert reply.json["ids"] == list(self._delivery)
        self.events |= {name for name, dead in self._delivery.items() if not dead}
        self.dead |= {name for name, dead in self._delivery.items() if dead}
        self._next()


async def acknowledged(senders: list[Sender], count: int) -> None:
    """Wait for so many further deliveries."""
    wanted = sum(sender.number for sender in senders) + count
    async with asyncio.timeout(ANSWER_SECONDS_MAX):
        while sum(sender.number for sender in senders) < wanted:  # noqa: ASYNC110 - nobody to set an event
            await asyncio.sleep(0.001)


async def lives(broker: TestBroker, stream: str, kills: int) -> list[Sender]:
    """So many gateways, each killed under load, and a last one that may finish."""
    draw = random.Random(SEED)
    senders = [Sender(f"s{n}", random.Random(f"{SEED}/{n}")) for n in range(SENDERS)]
    bootstrap = str(broker.client["bootstrap.servers"])
    for _ in range(kills):
        with running(bootstrap, stream) as (process, port):
            sending = [asyncio.create_task(sender.send(port)) for sender in senders]
            await acknowledged(senders, draw.randint(0, 2))
            await asyncio.sleep(draw.uniform(0, LIFE_SECONDS_MAX))
            process.kill()
            await asyncio.gather(*sending)
        assert process.exitcode == -signal.SIGKILL
    with running(bootstrap, stream) as (process, port):
        sending = [asyncio.create_task(sender.send(port)) for sender in senders]
        await acknowledged(senders, 10 * SENDERS)
        for sender in senders:
            sender.ended = True
        await asyncio.gather(*sending)
        process.terminate()
        await asyncio.to_thread(process.join)
        assert process.exitcode == 0
    return senders


@pytest.mark.parametrize(
    "kills",
    [
        5,
        pytest.param(
            KILLS, id="many", marks=[pytest.mark.slow, pytest.mark.timeout(120 + 6 * KILLS)]
        ),
    ],
)
def test_what_a_gateway_acknowledged_before_kill_9_is_in_the_log_with_its_id(
    kafka_broker: TestBroker, kills: int, tell: Callable[[str], object]
) -> None:
    stream = "shop." + kafka_broker.unique("kills").replace(".", "-")
    good, bad = contract(stream), dead_contract(stream)
    kafka_broker.admin.ensure_topics([TopicSpec(good.topic, 2), TopicSpec(bad.topic, 1)])

    senders = asyncio.run(lives(kafka_broker, stream, kills))

    events, dead = stored(kafka_broker, good, avro.ID), stored(kafka_broker, bad, "event_id")
    sent = sum((sender.sent for sender in senders), Counter[str]())
    taken = set().union(*(sender.events for sender in senders))
    taken_dead = set().union(*(sender.dead for sender in senders))
    cut = sum(sender.cut for sender in senders)
    tell(
        f"{kills} kills, {cut} requests cut off; acknowledged {len(taken)} events and "
        f"{len(taken_dead)} dead letters, missing {len(taken - events.keys())} and "
        f"{len(taken_dead - dead.keys())}; {(events + dead - Counter(set(sent))).total()} doubles"
    )
    assert taken - events.keys() == set(), "acknowledged events were lost"
    assert taken_dead - dead.keys() == set(), "acknowledged dead letters were lost"
    assert events.keys() | dead.keys() == sent.keys() == taken | taken_dead
    assert events + dead <= sent, "more often in the log than sent"
    assert cut > kills  # a kill that nobody notices proves nothing
