"""Warehouse work in worker threads, a few sessions wide."""

import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait

from schemas.events import Claimed, LoadPlan, Partition, Receipt
from schemas.ports import Warehouse


class ThreadLanes:
    """Fits :class:`schemas.ports.Lanes`: each thread has a session of its own."""

    def __init__(self, connect: Callable[[], Warehouse], count: int) -> None:
        self._connect = connect
        self._local = threading.local()
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="lane")
        self._answers: queue.SimpleQueue[Receipt | Claimed] = queue.SimpleQueue()
        self._sessions: list[Warehouse] = []
        self._running: set[Future[None]] = set()

    def claim(self, starts: Mapping[Partition, int]) -> None:
        """Start claiming; the answer comes from :meth:`finished`."""
        self._start(lambda: self._claim(starts))

    def load(self, plan: LoadPlan) -> None:
        """Start a load; the receipt comes from :meth:`finished`."""
        self._start(lambda: self._load(plan))

    def finished(self) -> Sequence[Receipt | Claimed]:
        """What has ended since the last call, well or badly; never raises, never blocks."""
        self._running = {future for future in self._running if not future.done()}
        answers = []
        while True:
            try:
                answers.append(self._answers.get_nowait())
            except queue.Empty:
                return answers

    def close(self, timeout: float) -> None:
        """Wait for what is under way, then end the sessions."""
        wait(self._running, timeout)
        self._pool.shutdown(wait=False, cancel_futures=True)
        if not any(not future.done() for future in self._running):
            for session in self._sessions:
                session.close()

    def _start(self, work: Callable[[], Receipt | Claimed]) -> None:
        self._running.add(self._pool.submit(lambda: self._answers.put(work())))

    def _session(self) -> Warehouse:
        session: Warehouse | None = getattr(self._local, "session", None)
        if session is None:
            session = self._local.session = self._connect()
            self._sessions.append(session)
        return session

    def _claim(self, starts: Mapping[Partition, int]) -> Claimed:
        try:
            return Claimed(tuple(starts), self._session().claim(starts))
        except Exception as error:  # noqa: BLE001 - the loop decides: a bug in a lane must not vanish
            return Claimed(tuple(starts), error=error)

    def _load(self, plan: LoadPlan) -> Receipt:
        try:
            return self._session().load(plan)
        except Exception as error:  # noqa: BLE001 - see above
            return Receipt(plan.batch, plan.topic, error=error)
