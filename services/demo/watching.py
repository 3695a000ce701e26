"""Waits until the ledger holds what was sent, and says how far it is."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from schemas.errors import TransientError
from schemas.ports import Clock, Warehouse
from services.demo.facts import on_topic
from services.demo.measured import scrape, total

PAUSE_SECONDS = 0.5
STILL_SECONDS_MAX = 90.0


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the events are."""

    polled: int
    loaded: Counter[str]  # messages in the ledger, by topic


@dataclass(frozen=True, slots=True)
class Watched:
    """What is looked at."""

    warehouse: Warehouse
    admin_urls: Sequence[str]
    clock: Clock


def watch(watched: Watched, wanted: Counter[str], show: Callable[[Progress], None]) -> None:
    """Return when the ledger has ``wanted`` messages of every topic; ``show`` each step.

    Raises TransientError when nothing moves for STILL_SECONDS_MAX.
    """
    clock = watched.clock
    moved_at, before = clock.monotonic(), Progress(-1, Counter())
    while True:
        polled = total(scrape(watched.admin_urls), "sluice_poll_records_total")
        now = Progress(int(polled), on_topic(watched.warehouse))
        show(now)
        if all(now.loaded[topic] >= count for topic, count in wanted.items()):
            return
        if now != before:
            moved_at, before = clock.monotonic(), now
        elif clock.monotonic() - moved_at > STILL_SECONDS_MAX:
            raise _stuck(wanted, now)
        clock.sleep(PAUSE_SECONDS)


def _stuck(wanted: Counter[str], now: Progress) -> TransientError:
    missing = [
        f"{topic}: {now.loaded[topic]:,} of {count:,}"
        for topic, count in sorted(wanted.items())
        if now.loaded[topic] < count
    ]
    return TransientError(
        f"nothing was loaded for {STILL_SECONDS_MAX:.0f} s ({'; '.join(missing)})",
        where="sluice demo",
        remedy="look into the logs of poller, gateway and loader in the demo's folder",
    )
