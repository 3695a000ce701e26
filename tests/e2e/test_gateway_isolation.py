"""A source that sends too much is refused; the others do not notice.

``ISOLATION_ROUNDS`` (9) says how often the calm and the noisy rounds of the long run take turns.
"""

import asyncio
import os
import random
import statistics
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest
import uvloop

from schemas import avro
from services.adapters.kafka import TopicSpec
from services.gateway.app import Gateway
from tests.support.gateway_on_kafka import NOISY_PER_SECOND, contract, running, stored
from tests.support.http import Reply, World, call, signature, source
from tests.support.kafka import TestBroker
from tests.support.paced import Heard, beside, pace
from tests.support.world import StepClock

ROUNDS = int(os.environ.get("ISOLATION_ROUNDS", "9"))
QUIET_PER_SECOND = 150.0  # far below what a gateway takes
EXCESS = 10
MARGIN_SECONDS = 0.5  # the noise begins before the quiet source does


def test_a_quiet_source_is_never_refused_while_a_noisy_one_is() -> None:
    here = World([source("quiet"), source("noisy", rate_per_second=3)])
    app = Gateway(replace(here.ports, clock=StepClock()), here.settings)

    async def send(name: str, number: int) -> Reply:
        body = b'{"id":"%s-%d"}' % (name.encode(), number)
        return await call(app, body, {"x-signature": signature(body)}, f"/v1/in/{name}")

    async def scenario() -> dict[str, list[Reply]]:
        turns = [(name, n) for n in range(30) for name in ("noisy", "quiet")]
        random.Random(1).shuffle(turns)
        replies = await asyncio.gather(*(send(*turn) for turn in turns))
        return {
            name: [r for r, turn in zip(replies, turns, strict=True) if turn[0] == name]
            for name in ("noisy", "quiet")
        }

    replies = asyncio.run(scenario())
    assert {reply.status for reply in replies["quiet"]} == {200}
    assert Counter(reply.status for reply in replies["noisy"]) == {200: 3, 429: 27}
    refused = [reply for reply in replies["noisy"] if reply.status == 429]
    assert {reply.headers["retry-after"] for reply in refused} == {"1"}
    stored = Counter((record.key or b"").split(b"-")[0] for record in here.sink.records)
    assert stored == {b"quiet": 30, b"noisy": 3}


@dataclass
class Rounds:
    """What was heard, in rounds with and without noise."""

    calm: list[Heard] = field(default_factory=list)
    noisy: list[Heard] = field(default_factory=list)
    refused: list[Heard] = field(default_factory=list)  # the noisy source

    def take(self, port: int, rounds: int, seconds: float) -> None:
        """Both kinds in turns, each first in every other pair: drifts of the machine hit both."""
        self._calm(port, 1.0)  # connections, caches
        self.calm.clear()
        for number in range(rounds):
            for turn in (self._calm, self._noisy)[:: -1 if number % 2 else 1]:
                turn(port, seconds)

    def _calm(self, port: int, seconds: float) -> None:
        self.calm.append(uvloop.run(pace(port, "shop", QUIET_PER_SECOND, seconds)))

    def _noisy(self, port: int, seconds: float) -> None:
        rate = EXCESS * NOISY_PER_SECOND
        with beside(port, "noisy", rate, seconds + 2 * MARGIN_SECONDS) as answers:
            answers.recv()
            uvloop.run(asyncio.sleep(MARGIN_SECONDS))
            self.noisy.append(uvloop.run(pace(port, "shop", QUIET_PER_SECOND, seconds)))
            self.refused.append(answers.recv())


@pytest.mark.embedded
@pytest.mark.enable_socket
@pytest.mark.parametrize(
    ("rounds", "seconds", "bound"),
    [
        pytest.param(3, 2.0, lambda calm: 3 * calm + 0.05, id="roughly"),
        pytest.param(
            *(ROUNDS, 4.0, lambda calm: 1.1 * calm),
            id="strictly",
            marks=[pytest.mark.slow, pytest.mark.timeout(120 + 30 * ROUNDS)],
        ),
    ],
)
def test_ten_times_its_limit_from_one_source_does_not_slow_down_another(
    kafka_broker: TestBroker,
    tell: Callable[[str], object],
    rounds: int,
    seconds: float,
    bound: Callable[[float], float],
) -> None:
    stream = "shop." + kafka_broker.unique("isolation").replace(".", "-")
    kafka_broker.admin.ensure_topics([TopicSpec(contract(stream).topic, 2)])
    here = Rounds()
    with running(str(kafka_broker.client["bootstrap.servers"]), stream) as (_, port):
        here.take(port, rounds, seconds)

    before, beside_noise = (
        statistics.median(heard.p99() for heard in found) for found in (here.calm, here.noisy)
    )
    answers = sum((heard.statuses for heard in here.refused), Counter[int]())
    tell(
        f"p99 {before * 1000:.2f} ms calm, {beside_noise * 1000:.2f} ms beside a source that was "
        f"answered {dict(answers)}; rounds {_millis(here.calm)} and {_millis(here.noisy)}"
    )
    assert all(heard.statuses.keys() == {200} for heard in here.calm + here.noisy)
    assert answers.keys() == {200, 429}
    assert answers[429] > 0.8 * answers.total()
    assert sum(heard.unadvised for heard in here.refused) == 0
    events = stored(kafka_broker, contract(stream), avro.ID)
    taken = set().union(*(heard.taken for heard in here.calm + here.noisy + here.refused))
    assert taken <= events.keys()
    assert events.total() == len(events)
    assert beside_noise < bound(before)


def _millis(rounds: list[Heard]) -> list[float]:
    return [round(heard.p99() * 1000, 2) for heard in rounds]
