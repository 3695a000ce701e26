"""Runs every polled stream at its own cadence; one that fails leaves the others alone."""

import asyncio
import random
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from itertools import groupby

import structlog

from producers.encode import Encoder
from producers.exchange import Bounds
from producers.limits import WAIT_SECONDS_MAX
from producers.poll import Plan
from producers.rest import RestSource, parse_source
from schemas.errors import REMEDY, FencedError, SetupError, SluiceError, TransientError
from services.poller.asking import Asker
from services.poller.ports import PollPorts
from services.poller.progress import StreamState
from services.poller.streams import StoppedError, Stored, Stream
from services.run import Backoff, backoff_seconds, error_kind
from services.settings import Poller, Settings

KIND = "rest"
WORKERS_MAX = 32


def plans_of(settings: Settings, encoders: Mapping[str, Encoder]) -> list[Plan]:
    """What the settings say to poll. Raises SetupError naming the field."""
    plans = []
    for name, table in settings.sources.items():
        if table.get("kind") != KIND:
            continue
        source = parse_source(name, table)
        for stream in source.streams:
            if stream.stream not in encoders:
                raise SetupError(
                    f"no contract for {stream.stream}",
                    where=f"sluice.toml: sources.{name}",
                    remedy=f"declare it in contracts/; there are {', '.join(sorted(encoders))}",
                )
            plans.append(Plan(name, source, stream))
    return plans


async def run(
    ports: PollPorts, settings: Settings, stop: asyncio.Event, *, once: bool = False
) -> None:
    """Polls until ``stop`` is set; then every stream finishes its page under way.

    With ``once`` every stream runs until complete, and the first error of those that could not is
    raised after the last one has ended. Raises SetupError for settings that cannot be.
    """
    plans = plans_of(settings, ports.encoders)
    workers = ThreadPoolExecutor(max(1, min(WORKERS_MAX, len(plans))), "poll")

    async def read() -> dict[bytes, bytes]:
        return dict(await asyncio.get_running_loop().run_in_executor(workers, ports.cursors))

    stored = Stored(read, ports.clock.monotonic)
    try:
        async with AsyncExitStack() as stack:
            turns: list[Turns] = []
            for (name, source), group in _by_source(plans):
                http = await stack.enter_async_context(ports.http(_bounds(source, settings.poller)))
                asker = Asker(name, source, http, ports, settings.poller)
                for plan in group:
                    progress = ports.board.open(name, plan.stream.stream)
                    stream = Stream(
                        plan, settings.project, asker, ports, stored, stop, workers, progress
                    )
                    turns.append(Turns(stream, settings.poller, once=once))
            errors = await _all(turns)
            if not once:
                await (
                    stop.wait()
                )  # streams that are fenced stay so: coming back would fence in turn
    finally:
        workers.shutdown(wait=False)
    if once and errors:
        raise errors[0]


def _by_source(plans: list[Plan]) -> Iterator[tuple[tuple[str, RestSource], list[Plan]]]:
    for name, group in groupby(plans, key=lambda plan: plan.name):
        found = list(group)
        yield (name, found[0].source), found


def _bounds(source: RestSource, settings: Poller) -> Bounds:
    timeout = source.timeout_seconds or settings.timeout_seconds
    return Bounds(timeout, settings.page_bytes_max, source.concurrency)


async def _all(turns: "list[Turns]") -> list[SluiceError]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(turn.keep()) for turn in turns]
    return [error for error in (task.result() for task in tasks) if error is not None]


@dataclass(slots=True)
class Turns:
    """A stream's turns, one after the other."""

    stream: Stream
    settings: Poller
    once: bool

    async def keep(self) -> SluiceError | None:
        """Turns until the stop; the error with which the stream ended, if it did."""
        stop = self.stream.stop
        structlog.contextvars.bind_contextvars(
            source=self.stream.plan.name, stream=self.stream.name
        )
        clock = self.stream.ports.clock
        due = clock.monotonic()
        while not stop.is_set():
            began = clock.monotonic()
            try:
                error = await self._turn(began)
            except StoppedError:
                break
            if self._ends(error):
                return error
            # from due to due, so that waking up late does not add up; missed turns are left out
            due = max(due + self.stream.plan.stream.every_seconds, clock.monotonic())
            if error is not None:
                due = clock.monotonic() + self._pause(error)
            await _wait(stop, due - clock.monotonic())
        self.stream.progress.state = StreamState.STOPPED
        return None

    async def _turn(self, began: float) -> SluiceError | None:
        self.stream.progress.state = StreamState.RUNNING
        try:
            await self.stream.turn()
        except SluiceError as error:
            self._note(error)
            return error
        self._succeeded(began)
        return None

    def _ends(self, error: SluiceError | None) -> bool:
        match error:
            case FencedError():
                return True
            case TransientError():
                return self.once and self.stream.progress.failures >= self.settings.attempts_max
            case _:
                return self.once

    def _pause(self, error: SluiceError) -> float:
        if isinstance(error, TransientError):
            return self._backoff(error)
        return self.settings.setup_retry_seconds

    def _succeeded(self, began: float) -> None:
        progress, clock = self.stream.progress, self.stream.ports.clock
        if progress.failures:
            structlog.get_logger().info("poll recovered")
        progress.state, progress.failures, progress.error = StreamState.WAITING, 0, ""
        progress.last_success = clock.now()
        seconds = clock.monotonic() - began
        self.stream.ports.metrics.observe("poll_run_seconds", seconds, stream=self.stream.name)

    def _note(self, error: SluiceError) -> None:
        progress = self.stream.progress
        progress.state = _state_of(error)
        progress.failures += 1
        progress.error = self.stream.asker.credentials.hidden(_explained(error, self.stream))
        self.stream.ports.metrics.count(
            "poll_failures", stream=self.stream.name, kind=error_kind(error).value
        )
        structlog.get_logger().warning(
            "poll failed",
            state=progress.state.value,
            failures=progress.failures,
            error=progress.error,
        )

    def _backoff(self, error: TransientError) -> float:
        """Exponential with full jitter, not shorter than the source's own wish."""
        backoff = Backoff(seconds_max=self.settings.backoff_seconds_max)
        draw = random.random()  # noqa: S311 - jitter
        wait = backoff_seconds(backoff, self.stream.progress.failures, draw)
        return max(wait, min(error.retry_after or 0.0, WAIT_SECONDS_MAX))


def _state_of(error: SluiceError) -> StreamState:
    match error:
        case FencedError():
            return StreamState.FENCED
        case TransientError():
            return StreamState.FAILING
        case _:
            return StreamState.SETUP


def _explained(error: SluiceError, stream: Stream) -> str:
    if isinstance(error, FencedError):
        return (
            f"another poller has taken {stream.name} over: it is stopped here{REMEDY}"
            "run one poller a stream, or stop the other one and restart this"
        )
    return str(error)


async def _wait(stop: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), max(0.0, seconds))
