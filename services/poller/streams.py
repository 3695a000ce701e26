"""One stream: its state, its transactions, and the effects of one run."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import TypeVar

from producers.cursors import State, dump_state, is_time, load_state, write
from producers.exchange import Request, Response
from producers.fitting import fitting
from producers.poll import Fetch, Plan, Publish, poll
from schemas.dead_letters import without_bytes
from schemas.errors import SetupError, SluiceError
from schemas.events import CURSORS_TOPIC, Record, Rejection
from schemas.ports import Transactions
from services.poller.asking import Asker, Call
from services.poller.ports import PollPorts, cursor_key
from services.poller.progress import Progress

STOP_SECONDS_MAX = 10.0  # that an answer may still take after the stop
_MICROS = 1_000_000
T = TypeVar("T")


class StoppedError(Exception):
    """The poller stops; the page under way has been finished."""


@dataclass(slots=True)
class Stored:
    """The cursors in the log. One reading serves all who asked before it began."""

    read: Callable[[], Awaitable[dict[bytes, bytes]]]
    monotonic: Callable[[], float]
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)
    _began_at: float = field(default=float("-inf"), init=False)
    _cursors: dict[bytes, bytes] = field(default_factory=dict, init=False)

    async def fresh(self) -> dict[bytes, bytes]:
        """Cursors read after this was called."""
        asked_at = self.monotonic()
        async with self._lock:
            if self._began_at < asked_at:
                began_at = self.monotonic()
                self._cursors = await self.read()
                self._began_at = began_at
            return self._cursors


@dataclass(slots=True)
class Stream:
    """A polled stream. One task at a time."""

    plan: Plan
    project: str
    asker: Asker
    ports: PollPorts
    stored: Stored
    stop: asyncio.Event
    workers: Executor
    progress: Progress
    _transactions: Transactions | None = field(default=None, init=False)
    _state: State = field(default=State(), init=False)

    @property
    def name(self) -> str:
        """The contract's name."""
        return self.plan.stream.stream

    async def turn(self) -> None:
        """One run, from the stored state to its end.

        1. The first time, and after a failed publish: open the transactions, which fences an older
           twin; only then read the cursor.
        2. The effects of :func:`producers.poll.poll`, in its order.

        Raises StoppedError between two pages, TransientError, SetupError, FencedError.
        """
        if self._transactions is None:
            await self._open()
        run = poll(self.plan, self._state, self.ports.clock.now())
        answer: Response | None = None
        try:
            while True:
                match run.send(answer):
                    case Fetch(request):
                        answer = await self._answer(request)
                    case Publish() as page:
                        answer = None
                        await self._land(page)
        except StopIteration as end:
            self._state = end.value
        finally:
            run.close()

    async def _open(self) -> None:
        name = f"{self.project}-poll-{self.plan.name}-{self.name}"
        transactions = await self._in_thread(lambda: _fencing(self.ports.transactions(name)))
        key = cursor_key(self.plan.name, self.name)
        try:
            self._state = load_state((await self.stored.fresh()).get(key))
        except (ValueError, KeyError, TypeError) as error:
            raise SetupError(
                f"the stored cursor cannot be read ({type(error).__name__})",
                where=f"{CURSORS_TOPIC}: {key.decode()}",
                remedy="publish a record with this key and no value to begin anew",
            ) from None
        self._transactions = transactions
        self._show()

    async def _answer(self, request: Request) -> Response:
        """The answer; a stop ends waiting at once, but gives a request in flight a while."""
        if self.stop.is_set():
            raise StoppedError
        call = Call(self.name, self.stop, self.plan.stream.answer_errors)
        asked = asyncio.create_task(self.asker.ask(request, call))
        stopped = asyncio.create_task(self.stop.wait())
        try:
            await asyncio.wait({asked, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if not asked.done() and not call.in_flight:
                raise StoppedError
            await asyncio.wait({asked}, timeout=STOP_SECONDS_MAX)
            if not asked.done():
                raise StoppedError
            return await asked
        finally:
            asked.cancel()
            stopped.cancel()
            await asyncio.wait({asked, stopped})

    async def _land(self, page: Publish) -> None:
        try:
            records, rejections = await self._in_thread(lambda: self._publish(page))
        except SluiceError:
            self._transactions = None  # it may have been committed: read the cursor again
            raise
        self._state = page.state
        self.progress.pages += 1
        self.progress.records += records
        self.progress.rejected += len(rejections)
        self.progress.last_advance = self.ports.clock.now()
        metrics = self.ports.metrics
        metrics.count("poll_pages", stream=self.name)
        metrics.count("poll_records", records, stream=self.name)
        for reason, count in Counter(r.reason for r in rejections).items():
            metrics.count("poll_records_dead", count, stream=self.name, reason=reason.value)
        self._show()

    def _publish(self, page: Publish) -> tuple[int, list[Rejection]]:
        """Events, dead letters and cursor in one transaction. Runs in a worker thread."""
        if self._transactions is None:  # pragma: no cover - turn() has opened them
            raise AssertionError("publish before open")
        events: tuple[Record, ...] = ()
        rejections = list(page.rejections)
        if page.incoming:
            encoded = self.ports.encoders[self.name].encode(page.incoming)
            encoded = fitting(encoded, page.incoming, self.ports.record_bytes_max)
            events, rejections = encoded.records, [*rejections, *encoded.rejections]
        cursor = Record(
            CURSORS_TOPIC, dump_state(page.state), cursor_key(self.plan.name, self.name)
        )
        dead, rejections = self._letters(rejections)
        self._transactions.publish_atomically([*events, *dead, cursor])
        return len(events), rejections

    def _letters(self, rejections: list[Rejection]) -> tuple[Sequence[Record], list[Rejection]]:
        """Their dead letters; those that are too large for the log go without the bytes."""
        if not rejections:
            return (), rejections
        dead, bytes_max = self.ports.dead_letters(rejections), self.ports.dead_letter_bytes_max
        large = [record.log_bytes > bytes_max for record in dead]
        if any(large):
            cut = zip(rejections, large, strict=True)
            rejections = [without_bytes(one) if big else one for one, big in cut]
            dead = self.ports.dead_letters(rejections)
        return dead, rejections

    def _show(self) -> None:
        cursor, state = self.plan.stream.cursor, self._state
        self.progress.mid_run = state.run is not None
        if cursor is None or state.cursor is None:
            return
        self.progress.cursor = write(state.cursor, cursor.format)
        if isinstance(state.cursor, int) and is_time(cursor.format):
            age = (self.ports.clock.now() - state.cursor) / _MICROS
            self.ports.metrics.gauge("poll_cursor_age_seconds", age, stream=self.name)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self.workers, work)


def _fencing(transactions: Transactions) -> Transactions:
    """After this no older holder of the transactional id can commit: an empty one says so."""
    transactions.publish_atomically(())
    return transactions
