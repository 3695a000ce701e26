"""A source that sends too much is refused; the others are not."""

import asyncio
import random
from collections import Counter
from dataclasses import replace

from services.gateway.app import Gateway
from tests.support.http import Reply, World, call, signature, source
from tests.support.world import StepClock


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
