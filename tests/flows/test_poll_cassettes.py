"""Conversations in the documented form of well-known interfaces, repeated word for word."""

import asyncio

import orjson
import pytest

from producers.cursors import load_state, write
from producers.pagers import pagers
from producers.rest import parse_source
from services.poller.ports import cursor_key
from services.poller.run import run
from services.settings import Poller, Settings
from tests.support.cassettes import Cassette, cassettes
from tests.support.polling import MemoryLog, ports_of
from tests.support.virtual import LoopClock, run_virtually

RUNS_APART_SECONDS = 3_600.0


class Clock(LoopClock):
    """Begins when the cassette does; one run is an hour after the other."""

    def __init__(self, begins: int) -> None:
        self.begins = begins

    def now(self) -> int:
        return self.begins + round(self.monotonic() * 1_000_000)


def play(cassette: Cassette, log: MemoryLog) -> list[float]:
    """All runs; the seconds that each took."""
    source = cassette.content["source"]
    settings = Settings(sources={"shop": source}, poller=Poller(attempts_max=3))
    (stream,) = (one["stream"] for one in source["streams"])
    clock = Clock(cassette.begins)
    secrets = cassette.content["secrets"]
    ports = ports_of(log, stream, secrets=secrets, http=cassette.open, clock=clock)

    async def all_runs() -> list[float]:
        took = []
        for number, exchanges in enumerate(cassette.content["runs"]):
            await asyncio.sleep(max(0.0, number * RUNS_APART_SECONDS - clock.monotonic()))
            began = clock.monotonic()
            cassette.at = list(exchanges)
            await run(ports, settings, asyncio.Event(), once=True)
            assert cassette.at == [], f"{cassette.name}: this was not asked for"
            took.append(clock.monotonic() - began)
        return took

    return run_virtually(all_runs())


@pytest.mark.parametrize("cassette", cassettes(), ids=lambda one: one.name)
def test_a_conversation_is_repeated_word_for_word(cassette: Cassette) -> None:
    log = MemoryLog()
    seconds = play(cassette, log)
    source = parse_source("shop", cassette.content["source"])
    (stream,) = source.streams
    events = log.of(stream.stream)
    assert [(record.key or b"").decode() for record in events] == cassette.content["ids"]
    assert [str(orjson.loads(record.value)["id"]) for record in events] == cassette.content["ids"]
    assert seconds[0] >= cassette.content["seconds_min"]
    state = load_state(log.cursors()[cursor_key("shop", stream.stream)])
    assert state.run is None
    shown = None
    if stream.cursor is not None and state.cursor is not None:
        shown = write(state.cursor, stream.cursor.format)
    assert shown == cassette.content["cursor"]


def test_every_pager_and_every_way_of_proof_but_refreshing_has_a_cassette() -> None:
    sources = [parse_source("shop", cassette.content["source"]) for cassette in cassettes()]
    assert {source.streams[0].pages.kind for source in sources if source.streams[0].pages} == set(
        pagers()
    )
    assert {source.auth.kind for source in sources} == {
        *("bearer", "basic", "api_key", "oauth2_client_credentials"),
    }
