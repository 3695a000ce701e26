"""Turns: large bodies are read in the order in which they came, a few in a turn of the loop."""

import asyncio
from collections.abc import Callable, Coroutine

from services.gateway.turns import BYTES_MAX, Turns


class Watched:
    """Who had which turn of the loop; turns are counted by a callback that comes back in each."""

    def __init__(self) -> None:
        self.turns = Turns()
        self.now = 0
        self.had: list[tuple[str, int]] = []
        asyncio.get_running_loop().call_soon(self._tick)

    def _tick(self) -> None:
        self.now += 1
        asyncio.get_running_loop().call_soon(self._tick)

    def ask(self, name: str, size: int) -> asyncio.Task[None]:
        async def asking() -> None:
            await self.turns.mine(size)
            self.had.append((name, self.now))

        return asyncio.create_task(asking())

    def shares(self) -> list[list[str]]:
        """The names that had a turn together, in order."""
        moments = sorted({turn for _, turn in self.had})
        return [[name for name, turn in self.had if turn == moment] for moment in moments]


def run(scenario: Callable[[], Coroutine[None, None, None]]) -> None:
    asyncio.run(asyncio.wait_for(scenario(), 5))


def test_those_that_fit_into_a_turn_share_it_and_the_others_wait() -> None:
    async def scenario() -> None:
        here = Watched()
        third = BYTES_MAX // 3
        sizes = {"a": third, "b": third, "c": third, "d": third, "e": 2 * BYTES_MAX, "f": 1}
        await asyncio.gather(*(here.ask(name, size) for name, size in sizes.items()))
        assert here.shares() == [["a", "b", "c"], ["d"], ["e"], ["f"]]

    run(scenario)


def test_others_are_served_between_two_turns() -> None:
    async def scenario() -> None:
        here = Watched()
        asking = [here.ask(str(n), BYTES_MAX) for n in range(20)]
        await asyncio.sleep(0)
        for _ in range(5):  # as whoever needs five steps of the loop
            await asyncio.sleep(0)
        assert 1 <= len(here.had) < 10
        await asyncio.gather(*asking)
        assert [name for name, _ in here.had] == [str(n) for n in range(20)]

    run(scenario)


def test_whoever_gives_up_takes_no_turn_and_holds_up_nobody() -> None:
    async def scenario() -> None:
        here = Watched()
        asking = {name: here.ask(name, BYTES_MAX) for name in "abcd"}
        await asyncio.sleep(0)
        for name in "bd":
            asking[name].cancel()
        await asyncio.gather(*asking.values(), return_exceptions=True)
        assert here.shares() == [["a"], ["c"]]
        await here.ask("later", 1)
        assert here.shares()[-1] == ["later"]

    run(scenario)
