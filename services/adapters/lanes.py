"""Warehouse work in worker threads, a few sessions wide."""

import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import TypeVar

from schemas.events import Claimed, LoadPlan, Partition, Receipt
from schemas.ports import Warehouse

T = TypeVar("T")
Done = tuple[T, Warehouse | None]
"""An answer, and the thread's session; None while none could be opened."""
Work = Callable[[Warehouse | None], Done[Receipt] | Done[Claimed]]


class ThreadLanes:
    """Fits :class:`schemas.ports.Lanes`: each thread has a session of its own.

    The threads are daemons: a warehouse that does not answer must not hold up the process's end.
    """

    def __init__(self, connect: Callable[[], Warehouse], count: int) -> None:
        self._connect = connect
        self._work: queue.SimpleQueue[Work | None] = queue.SimpleQueue()  # None: end
        self._answers: queue.SimpleQueue[Receipt | Claimed] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._keep_working, name=f"lane_{number}", daemon=True)
            for number in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def claim(self, starts: Mapping[Partition, int]) -> None:
        """Start claiming; the answer comes from :meth:`finished`."""
        self._work.put(partial(self._claim, starts))

    def load(self, plan: LoadPlan) -> None:
        """Start a load; the receipt comes from :meth:`finished`."""
        self._work.put(partial(self._load, plan))

    def finished(self) -> Sequence[Receipt | Claimed]:
        """What has ended since the last call, well or badly; never raises, never blocks."""
        return _taken(self._answers)

    def close(self, timeout: float) -> None:
        """Drop what has not begun; wait so long for what has, and for its session's end."""
        _taken(self._work)
        for _ in self._threads:
            self._work.put(None)
        deadline = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _keep_working(self) -> None:
        session: Warehouse | None = None
        while (work := self._work.get()) is not None:
            answer, session = work(session)
            self._answers.put(answer)
        if session is not None:
            session.close()

    def _claim(self, starts: Mapping[Partition, int], session: Warehouse | None) -> Done[Claimed]:
        try:
            session = session or self._connect()
            return Claimed(tuple(starts), session.claim(starts)), session
        except BaseException as error:  # noqa: BLE001 - the loop decides: a bug must not vanish
            return Claimed(tuple(starts), error=_raisable(error)), session

    def _load(self, plan: LoadPlan, session: Warehouse | None) -> Done[Receipt]:
        try:
            session = session or self._connect()
            return session.load(plan), session
        except BaseException as error:  # noqa: BLE001 - see above
            return Receipt(plan.batch, plan.topic, error=_raisable(error)), session


def _raisable(error: BaseException) -> Exception:
    """As the loop can raise it: a panic of native code is none, and ends a thread unseen."""
    if isinstance(error, Exception):
        return error
    bug = RuntimeError(f"{type(error).__name__} in a lane: {error}")
    bug.__cause__ = error
    return bug


def _taken(waiting: "queue.SimpleQueue[T]") -> list[T]:
    """Everything that is in a queue now."""
    found: list[T] = []
    with suppress(queue.Empty):
        while True:
            found.append(waiting.get_nowait())
    return found
