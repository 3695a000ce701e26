"""The supervisor: runs loops, and acts on errors by their class. The only place that does.

* :class:`SetupError`: alert, unhealthy, slow retry; somebody has to change something.
* :class:`TransientError`: backoff with full jitter, the other side's Retry-After honoured.
* :class:`FencedError`: the same; the step claims again.
* anything else is a bug: log it, end with :attr:`ExitCode.BUG`, commit nothing.

What is wrong with data is a verdict and never comes here.
"""

import math
import os
import random
import select
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Protocol, assert_never

import structlog

from schemas.errors import FencedError, SetupError, SluiceError, TransientError
from schemas.ports import Clock, Metrics
from schemas.telemetry import ErrorKind
from services.exit_codes import ExitCode
from services.monitor.health import Health
from services.redaction import explained

SETUP_SECONDS = 30.0  # between tries while the setup is wrong
RETRY_AFTER_SECONDS_MAX = 3_600.0  # no wish of another side is honoured for longer
SLICE_SECONDS = 1.0  # a waiting loop beats this often
UNREADY_TRIES = 3  # transient failures in a row that are no blip any more


@dataclass(frozen=True, slots=True)
class Backoff:
    """How the waits between tries grow."""

    first_seconds: float = 0.5
    seconds_max: float = 60.0


def backoff_seconds(backoff: Backoff, failures: int, draw: float) -> float:
    """The wait after ``failures`` (1 or more) in a row: full jitter, ``draw`` in [0, 1).

    Follows "Exponential Backoff And Jitter" (AWS Architecture Blog): random between zero and
    the exponential, so that many that failed together do not come back together.
    """
    exponent = min(max(failures, 1) - 1, 62)  # beyond, every limit is long reached
    return draw * min(backoff.seconds_max, backoff.first_seconds * 2.0**exponent)


def error_kind(error: BaseException) -> ErrorKind:
    """What one does about it."""
    match error:
        case SetupError():
            return ErrorKind.SETUP
        case FencedError():
            return ErrorKind.FENCED
        case TransientError():
            return ErrorKind.TRANSIENT
        case _:
            return ErrorKind.BUG


def wait_seconds(error: Exception, backoff: Backoff, failures: int, draw: float) -> float:
    """How long to wait before the next try after this error; not for bugs."""
    if isinstance(error, SetupError):
        return SETUP_SECONDS * (0.9 + 0.2 * draw)
    jittered = backoff_seconds(backoff, failures, draw)
    wish = error.retry_after if isinstance(error, TransientError) else None
    if wish is None or not 0 <= wish < math.inf:
        return jittered
    return min(wish, RETRY_AFTER_SECONDS_MAX) + min(jittered, 0.1 * wish)


class StopFlag(Protocol):
    """Whether to end."""

    def is_set(self) -> bool:
        """Whether to end now."""

    def wait(self, seconds: float) -> bool:
        """Block for ``seconds`` or until the stop; whether to end now."""


class Stop:
    """A flag that a signal handler may raise: nothing is locked, a pipe wakes those who wait.

    ``threading.Event`` would not do: its lock may be held by the very thread that the handler
    interrupts.
    """

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        self._set = False
        self.reason = ""

    def set(self, reason: str = "asked to") -> None:
        """End: wakes everybody, now and from now on."""
        if not self._set:
            self.reason = reason
            self._set = True
            os.write(self._writer, b".")  # never read: the pipe stays readable

    def is_set(self) -> bool:
        """Whether to end now."""
        return self._set

    def wait(self, seconds: float) -> bool:
        """Block for ``seconds`` or until the stop; whether to end now."""
        if not self._set and seconds > 0:
            poll = select.poll()
            poll.register(self._reader, select.POLLIN)
            poll.poll(math.ceil(seconds * 1000))
        return self._set

    def close(self) -> None:
        """Give the pipe back; nobody may wait any more."""
        os.close(self._reader)
        os.close(self._writer)


@contextmanager
def stop_on_signals(stop: Stop) -> Iterator[Stop]:
    """Inside, SIGTERM and SIGINT raise the flag; the second of a kind acts as if unhandled.

    For the main thread. What was set before is set again at the end.
    """
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def raised(number: int, _frame: FrameType | None) -> None:
        stop.set(signal.Signals(number).name)
        signal.signal(
            number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
        )

    for number in before:
        signal.signal(number, raised)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def leave_in_time(stop: Stop, seconds: float) -> Iterator[None]:
    """Inside, the process ends ``seconds`` after the stop, whatever still waits for others.

    Nothing is lost by it: what has not been committed is done again, as after a kill.
    """
    done = threading.Event()

    def watch() -> None:
        while not stop.wait(SLICE_SECONDS):
            if done.is_set():
                return
        if not done.wait(seconds):
            structlog.get_logger(__name__).error(
                "stopping took too long; what was under way is left to the next start",
                seconds=seconds,
            )
            os._exit(ExitCode.UNREACHABLE)

    threading.Thread(target=watch, name="leave", daemon=True).start()
    try:
        yield
    finally:
        done.set()


@dataclass(frozen=True, slots=True)
class Supervision:
    """What a loop is run with."""

    health: Health
    metrics: Metrics
    clock: Clock
    stop: StopFlag
    backoff: Backoff = Backoff()
    draw: Callable[[], float] = random.random  # in [0, 1), for the jitter


def run_loop(name: str, step: Callable[[], object], under: Supervision) -> ExitCode:
    """Call ``step`` again and again until the stop (OK) or a bug (BUG).

    A step returns at least every few seconds. It is not called again before the wait that its
    error asks for, and never after the stop. KeyboardInterrupt and the like pass through.
    """
    under.health.ready(name, ok=False, why="its first turn has not ended yet")
    failures = 0
    while not under.stop.is_set():
        under.health.beat(name)
        error = _error_of(step)
        if error is None:
            failures = 0
            _turned(name, under)
            continue
        failures += 1
        kind = error_kind(error)
        under.metrics.count("loop_errors", loop=name, kind=kind)
        if kind is ErrorKind.BUG:
            _crashed(name, error, under)
            return ExitCode.BUG
        seconds = wait_seconds(error, under.backoff, failures, under.draw())
        _failed(name, error, under, failures, seconds)
        _pause(name, under, seconds)
        under.metrics.count("loop_wait_seconds", seconds, loop=name, kind=kind)
    under.health.end(name)
    return ExitCode.OK


def run_command(action: Callable[[], ExitCode | None]) -> ExitCode:
    """Run a command that ends by itself: its exit code, or that of the error it ended with.

    The error is logged here; data that fails a check is the command's own CHECK_FAILED.
    """
    codes: list[ExitCode | None] = []
    try:
        error = _error_of(lambda: codes.append(action()))
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    if error is None:
        return codes[0] or ExitCode.OK
    log = structlog.get_logger(__name__)
    kind = error_kind(error)
    match kind:
        case ErrorKind.SETUP:
            log.error("the setup has to change", **_told(error))
            return ExitCode.SETUP
        case ErrorKind.TRANSIENT | ErrorKind.FENCED:
            log.error("it did not work now", **_told(error))
            return ExitCode.UNREACHABLE
        case ErrorKind.BUG:
            log.critical("an error that nobody expected", exc_info=error)
            return ExitCode.BUG
        case _ as unreachable:
            assert_never(unreachable)


def _error_of(step: Callable[[], object]) -> Exception | None:
    try:
        step()
    except Exception as error:  # noqa: BLE001 - the supervisor: every error is classed here
        return error
    return None


def _turned(name: str, under: Supervision) -> None:
    under.metrics.count("loop_turns", loop=name)
    under.metrics.gauge("loop_setup_failing", 0, loop=name)
    under.health.ready(name, ok=True)


def _failed(name: str, error: Exception, under: Supervision, failures: int, seconds: float) -> None:
    log = structlog.get_logger(__name__)
    is_setup = isinstance(error, SetupError)
    under.metrics.gauge("loop_setup_failing", float(is_setup), loop=name)
    if is_setup or failures >= UNREADY_TRIES:
        why = error if isinstance(error, SluiceError) else type(error).__name__
        under.health.ready(name, ok=False, why=why)
    told = {**_told(error), "loop": name, "failures": failures, "wait_seconds": round(seconds, 3)}
    if is_setup:
        log.error("the setup has to change", **told)
    else:
        log.warning("it did not work now, trying again", **told)


def _crashed(name: str, error: Exception, under: Supervision) -> None:
    under.health.ready(name, ok=False, why=f"crashed with {type(error).__name__}, see the log")
    structlog.get_logger(__name__).critical(
        "an error that nobody expected; nothing was committed", loop=name, exc_info=error
    )


def _pause(name: str, under: Supervision, seconds: float) -> None:
    """Wait, beating: a loop that waits is not stuck."""
    end = under.clock.monotonic() + seconds
    while (left := end - under.clock.monotonic()) > 0:
        under.health.beat(name)
        if under.stop.wait(min(left, SLICE_SECONDS)):
            return


def _told(error: Exception) -> dict[str, str]:
    """The error and what it came from, as fields."""
    told = {"error": type(error).__name__}
    if isinstance(error, SluiceError):
        told |= explained(error)
    if error.__cause__ is not None:
        told["cause"] = f"{type(error.__cause__).__name__}: {error.__cause__}"
    return told
