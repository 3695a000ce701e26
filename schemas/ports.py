"""What the loops need from outside: small protocols, each promise in one sentence.

``services.adapters`` makes them real; ``services.adapters.memory`` keeps them in memory.
Adapters translate their client's exceptions: only :class:`schemas.errors.TransientError`,
:class:`schemas.errors.SetupError` or a bug leaves them.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from schemas.events import Claim, Claimed, LoadPlan, Partition, Polled, Receipt, Record, Run
from schemas.keys import Found, Keys, Segment


class Clock(Protocol):
    """Time, as an argument that moves."""

    def now(self) -> int:
        """Microseconds since the epoch, UTC."""

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back."""

    def sleep(self, seconds: float) -> None:
        """Block this thread."""


class Log(Protocol):
    """One group member's partitions, in order, from positions that the loop sets."""

    def poll(self, messages_max: int, timeout: float) -> Polled:
        """Up to ``messages_max`` messages; blocks for ``timeout`` seconds at most.

        Newly assigned partitions are reported once and deliver nothing until :meth:`seek`.
        Messages of revoked or paused partitions are never delivered. Aborted transactions are
        never delivered.
        """

    def seek(self, positions: Mapping[Partition, int]) -> None:
        """Deliver from exactly these offsets on. Partitions that are gone are ignored."""

    def pause(self, partitions: Sequence[Partition]) -> None:
        """Deliver nothing of these until :meth:`resume`; what was buffered is not lost."""

    def resume(self, partitions: Sequence[Partition]) -> None:
        """Deliver again from where delivery stopped."""

    def ends(self, partitions: Sequence[Partition]) -> Mapping[Partition, int]:
        """Where the log ends, as last heard with what was fetched; unknown ones are left out."""

    def commit(self, positions: Mapping[Partition, int]) -> None:
        """Tell lag monitors how far we are: a hint, not durable, failures are swallowed."""

    def close(self) -> None:
        """Leave the group at once, so that others take over without waiting."""


class LogReader(Protocol):
    """Reads ranges of the log outside any group (read committed)."""

    def partitions(self, topic: str) -> Sequence[Partition]:
        """The topic's partitions; empty where it does not exist."""

    def bounds(self, partition: Partition) -> tuple[int, int]:
        """The first offset that is still there, and the offset after the last stable one."""

    def offset_at(self, partition: Partition, timestamp: int) -> int:
        """The first offset whose timestamp (ms) is not earlier; the end where there is none."""

    def topic_id(self, topic: str) -> str | None:
        """The id of the topic that has this name now; None where the broker tells none.

        A topic that is deleted and made again has another one. Raises TransientError where there
        is no such topic at the moment.
        """

    def read(self, partition: Partition, first: int, after: int) -> Iterator[Run]:
        """The visible messages of ``[first, after)``. Raises TransientError when it stalls."""


class Publisher(Protocol):
    """Writes to the log outside a transaction."""

    def publish(self, records: Sequence[Record]) -> None:
        """Durable (acks=all, idempotent) on return, in order; TransientError if not all.

        Raises OversizedError for a record that is too large, wherever possible before any other
        was sent.
        """


class Transactions(Protocol):
    """Writes to the log, all or nothing."""

    def publish_atomically(self, records: Sequence[Record]) -> None:
        """All records visible to read-committed readers, or none; FencedError for a twin.

        Raises OversizedError for a record that is too large.
        """


class Warehouse(Protocol):
    """One session in the warehouse. Not for several threads at once."""

    def claim(self, starts: Mapping[Partition, int]) -> Mapping[Partition, Claim]:
        """Own these partitions: raise their epoch, read where they stand and in which topic.

        ``starts`` gives the next offset for partitions that the warehouse has never seen.
        Durable on return.
        """

    def load(self, plan: LoadPlan) -> Receipt:
        """PUT, then COPY, ledger and fence in one transaction; returns once it has committed.

        Raises FencedError when the fence fails and TransientError when the outcome is unknown;
        after these the loop must claim again to know where the warehouse stands. Raises
        RefusedError where the target takes only some of the rows: nothing was loaded, and a plan
        without the others may be loaded under the same claim.
        """

    def discard(self, plan: LoadPlan) -> None:
        """Delete the staged file of a plan; nothing happens where there is none.

        Only after its load: another load of the plan puts the file there again.
        """

    def rows(self, sql: str) -> list[dict[str, Any]]:
        """The rows of a query, by lower-case column name."""

    def execute(self, sql: str) -> int:
        """One statement outside a transaction; the number of rows that it touched."""

    def close(self) -> None:
        """End the session; an open transaction is rolled back."""


class Lanes(Protocol):
    """Warehouse work beside the reading, a few sessions wide."""

    def claim(self, starts: Mapping[Partition, int]) -> None:
        """Start claiming; the answer comes from :meth:`finished`."""

    def load(self, plan: LoadPlan) -> None:
        """Start a load; the receipt comes from :meth:`finished`."""

    def finished(self) -> Sequence[Receipt | Claimed]:
        """What has ended since the last call, well or badly; never raises, never blocks."""

    def close(self, timeout: float) -> None:
        """Wait for what is under way, then end the sessions."""


class Seen(Protocol):
    """The durable memory of one partition's accepted keys, on this machine, for one thread.

    What it holds is a copy of what the log says: it may lose the newest of it, and says so by a
    lower :attr:`applied`; it never holds a part of what it says it holds.
    """

    @property
    def applied(self) -> int:
        """Every accepted event below this offset is remembered."""

    @property
    def rows(self) -> int:
        """How many keys are remembered."""

    @property
    def lost(self) -> str | None:
        """Why it was opened empty, for the log; None where it was not."""

    def latest(self, keys: Keys) -> Found:
        """For keys sorted by (h1, h2, offset): the last one remembered before each offset."""

    def remember(self, parts: Sequence[Segment], next_offset: int, now: int) -> None:
        """Hold these too, and be applied up to ``next_offset``; ``now`` in microseconds.

        Survives the end of the process, not always that of the machine. Forgets what no event
        can need any more. Raises TransientError when the disk refuses: open it again then.
        """

    def close(self) -> None:
        """Let others on this machine open it."""


class SeenStores(Protocol):
    """The durable memories of the partitions that this process holds."""

    def open(self, partition: Partition, until: int, window: int) -> Seen:
        """The partition's memory, without what it holds from offset ``until`` on.

        ``window`` in microseconds: what is older may be forgotten. Raises TransientError while
        another process on this machine has it open, SetupError where the folder can't be used.
        A store that is damaged, or of another hash, is opened empty with ``applied`` 0.
        """


class Metrics(Protocol):
    """Counts and times; never raises, never blocks."""

    def count(self, name: str, value: float = 1, **labels: str) -> None:
        """Add to a counter."""

    def gauge(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge; NaN forgets the series, such as the lag of a partition that is gone."""

    def observe(self, name: str, value: float, *, times: int = 1, **labels: str) -> None:
        """The same observation of a histogram, ``times`` over."""
