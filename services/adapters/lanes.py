"""Warehouse work in worker threads, a few sessions wide."""

import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import TypeVar

from consumers.loading.loader import Note
from schemas.errors import SetupError, TransientError
from schemas.events import Claimed, LoadPlan, Partition, Receipt
from schemas.ports import Warehouse

T = TypeVar("T")
Work = Callable[[Warehouse | None], Warehouse | None]
"""Takes and gives the thread's session; None while none could be opened. Never raises."""

AfterLoad = Callable[[Warehouse, LoadPlan], None]
"""What a lane does once a load has committed and that is told; raises for bugs only."""


def nothing(_session: Warehouse, _plan: LoadPlan) -> None:
    """Leave everything as it is."""


def discards(note: Note) -> AfterLoad:
    """Delete the staged file; ``note`` takes what stays."""

    def discard(session: Warehouse, plan: LoadPlan) -> None:
        try:
            session.discard(plan)
        except (TransientError, SetupError) as error:  # the rows are loaded all the same
            note("file_left", {"topic": plan.topic, "file": plan.file, "error": str(error)})

    return discard


class ThreadLanes:
    """Fits :class:`schemas.ports.Lanes`: each thread has a session of its own.

    The threads are daemons: a warehouse that does not answer must not hold up the process's end.
    """

    def __init__(
        self, connect: Callable[[], Warehouse], count: int, after_load: AfterLoad = nothing
    ) -> None:
        self._connect = connect
        self._after_load = after_load
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
            session = work(session)
        if session is not None:
            session.close()

    def _claim(
        self, starts: Mapping[Partition, int], session: Warehouse | None
    ) -> Warehouse | None:
        try:
            session = session or self._connect()
            answer = Claimed(tuple(starts), session.claim(starts))
        except BaseException as error:  # noqa: BLE001 - the loop decides: a bug must not vanish
            answer = Claimed(tuple(starts), error=_raisable(error))
        self._answers.put(answer)
        return session

    def _load(self, plan: LoadPlan, session: Warehouse | None) -> Warehouse | None:
        try:
            session = session or self._connect()
            self._answers.put(session.load(plan))
            self._after_load(session, plan)
        except BaseException as error:  # noqa: BLE001 - see above
            self._answers.put(Receipt(plan.batch, plan.topic, error=_raisable(error)))
        return session


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
