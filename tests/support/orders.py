"""Orders straight onto a project's topic, and whether they have arrived."""

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from tests.support.project import Site, until
from tests.support.senders import order

ORDERS_TABLE = "SHOP_ORDERS"
_numbers = itertools.count()


def produce(site: Site, count: int) -> list[str]:
    """New orders on the topic; their names, which are their event ids."""
    made = [f"o{next(_numbers)}" for _ in range(count)]
    site.produce(*(order(name) for name in made))
    return made


def missing(site: Site, wanted: Sequence[str]) -> int:
    """How many of these orders are not in the table."""
    listed = ", ".join(f"'{name}'" for name in wanted)
    return len(wanted) - site.count(ORDERS_TABLE, f"_ID IN ({listed})")


def loaded(site: Site, wanted: Sequence[str], seconds: float) -> float:
    """Wait until these orders are in the table: the seconds that it took, at most ``seconds``."""
    what = f"{len(wanted)} orders loaded"
    return until(lambda: missing(site, wanted) <= 0, seconds, what, 0.05)


def check(site: Site, wanted: Sequence[str]) -> None:
    """These orders are there once each, nothing is there twice, and the books balance."""
    assert missing(site, wanted) == 0
    doubled = f"SELECT _ID FROM {ORDERS_TABLE} GROUP BY _ID HAVING COUNT(*) > 1"
    assert site.rows(doubled) == []
    books = site.audit()
    assert books.balanced, [str(finding) for finding in books.findings]


@contextmanager
def producing(site: Site, per_second: int) -> Iterator[Callable[[], list[str]]]:
    """Orders all the time; calling what is given ends that and names them."""
    made: list[str] = []
    stop = threading.Event()

    def work() -> None:
        while not stop.wait(0.1):
            made.extend(produce(site, per_second // 10))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()

    def ended() -> list[str]:
        stop.set()
        thread.join()
        return made

    try:
        yield ended
    finally:
        ended()
