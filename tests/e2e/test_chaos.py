"""Real load while everything is killed in turn: nothing lost, nothing doubled, books that balance.

``CHAOS_SECONDS`` (60) says for how long, ``CHAOS_SEED`` (1) in which order.
"""

import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import reduce
from operator import add
from pathlib import Path

import pytest

from consumers.books.balance import Books
from schemas.dead_letters import TABLE as DEAD_LETTERS
from schemas.errors import TransientError
from services.cli.up import Member
from tests.support.api import serving
from tests.support.contacts import Contacts, offer
from tests.support.project import CONTACTS, ORDERS, Site, drained, kill_now, standing, until
from tests.support.senders import Fate, Sender, Sent

SECONDS = float(os.environ.get("CHAOS_SECONDS", "60"))
SEED = int(os.environ.get("CHAOS_SEED", "1"))
SETTLE_SECONDS_MAX = 150.0
SENDERS = 4
PACE_SECONDS = 0.04
CONTACTS_PER_SECOND = 40.0
# A child that was killed often comes back later and later, unless it ran for a minute: a long run
# kills so seldom that this does not become the test.
KILL_SECONDS = (3.0, 6.0) if SECONDS <= 180 else (8.0, 18.0)
VICTIMS = ("gateway", "poller", "loader", "broker", "warehouse")

pytestmark = [
    pytest.mark.enable_socket,
    pytest.mark.embedded,
    pytest.mark.slow,
    pytest.mark.timeout(SECONDS + SETTLE_SECONDS_MAX + 180),
]


Tell = Callable[[str], object]


@dataclass
class Killer:
    """Kills one part after the other, each once a round, in an order drawn anew every round."""

    site: Site
    members: dict[str, Member]
    draw: random.Random
    tell: Tell
    killed: list[str] = field(default_factory=list)

    def pid(self, victim: str) -> int | None:
        if victim == "broker":
            return self.site.kafka.pid()
        if victim == "warehouse":
            return self.site.warehouse.process.pid
        return self.members[victim].process.pid

    def run(self, seconds: float) -> None:
        """For so long. The last kill leaves some seconds of load behind it."""
        began = time.monotonic()
        for victim in self._victims():
            time.sleep(self.draw.uniform(*KILL_SECONDS))
            if time.monotonic() - began > seconds - KILL_SECONDS[0]:
                break
            if kill_now(self.pid(victim)):
                self.killed.append(victim)
                self.tell(f"{time.monotonic() - began:7.1f} s  killed {victim}")

    def _victims(self) -> Iterator[str]:
        while True:
            yield from self.draw.sample(VICTIMS, len(VICTIMS))


@contextmanager
def sending(port: int) -> Iterator[Callable[[], Sent]]:
    """Senders at work; calling what is given ends them and says what they know."""
    senders = [Sender(f"s{n}", port, SEED, PACE_SECONDS) for n in range(SENDERS)]
    for sender in senders:
        sender.start()

    def ended() -> Sent:
        for sender in senders:
            sender.stop(60)
        return reduce(add, (sender.sent for sender in senders))

    try:
        yield ended
    finally:
        for sender in senders:
            sender.stop(0)


def ids_of(site: Site, table: str, where: str = "TRUE") -> Counter[str]:
    """How often the table has each event id."""
    column = "EVENT_ID" if table == DEAD_LETTERS else "_ID"
    sql = f"SELECT {column} AS ID, COUNT(*) AS N FROM {table} WHERE {where} GROUP BY {column}"
    return Counter({row["id"]: int(row["n"]) for row in site.rows(sql)})


@dataclass(frozen=True)
class Expected:
    """What has to be in the warehouse."""

    orders: set[str]
    encode: set[str]
    judge: set[str]
    contacts: set[str]

    @classmethod
    def of(cls, sent: Sent, contacts: set[str]) -> "Expected":
        fates = {fate: {i for i, f in sent.taken.items() if f is fate} for fate in Fate}
        return cls(fates[Fate.ROW], fates[Fate.ENCODE], fates[Fate.JUDGE], contacts)

    def all_there(self, site: Site) -> bool:
        """Whether there are rows enough; which ones is found out later."""
        try:
            found = (
                site.count("SHOP_ORDERS") >= len(self.orders),
                site.count("CRM_CONTACTS") >= len(self.contacts),
                len(ids_of(site, DEAD_LETTERS)) >= len(self.encode) + len(self.judge),
            )
        except TransientError:
            return False  # the warehouse was killed last, and is not up again
        return all(found)


def check(site: Site, expected: Expected) -> None:
    """Every event where it belongs, once."""
    orders, contacts = ids_of(site, "SHOP_ORDERS"), ids_of(site, "CRM_CONTACTS")
    assert expected.orders - orders.keys() == set(), "orders were lost"
    assert orders.keys() - expected.orders == set(), "orders that nobody had acknowledged"
    assert {i for i, n in orders.items() if n > 1} == set(), "orders were doubled"
    assert expected.contacts - contacts.keys() == set(), "contacts were lost"
    assert {i for i, n in contacts.items() if n > 1} == set(), "contacts were doubled"
    encode = ids_of(site, DEAD_LETTERS, "STAGE = 'encode'")
    assert encode == dict.fromkeys(expected.encode, 1), "dead letters of the gateway"
    # A repeat that breaks the contract is another message of the log: a dead letter of its own.
    judge = ids_of(site, DEAD_LETTERS, "STAGE = 'judge'")
    assert judge.keys() == expected.judge, "dead letters of the loader"
    places = "SELECT COUNT(DISTINCT ORIGIN_PARTITION || '/' || ORIGIN_OFFSET) AS N"
    different = site.rows(f"{places} FROM {DEAD_LETTERS} WHERE STAGE = 'judge'")[0]["n"]
    assert judge.total() == different, "a message is two dead letters"
    doubled = "SELECT _TOPIC FROM {} GROUP BY _TOPIC, _PARTITION, _OFFSET HAVING COUNT(*) > 1"
    for table in ("SHOP_ORDERS", "CRM_CONTACTS", DEAD_LETTERS):
        assert site.rows(doubled.format(table)) == [], f"an offset is twice in {table}"


def summary(killer: Killer, sent: Sent, books: Books) -> str:
    restarts = {name: member.process.restarts for name, member in killer.members.items()}
    calls = f"{sent.attempts.total()} calls, {sent.repeated} repeats"
    return "\n  ".join(
        (
            f"killed {dict(Counter(killer.killed))}; restarts {restarts}",
            f"{len(sent.attempts)} deliveries, {calls}; answers {dict(sent.answers)}",
            *(f"{stream}: {totals}" for stream, totals in books.by_stream.items()),
            *map(str, books.findings),
            *books.notes,
            str(books),
        )
    )


def test_kills_under_load_lose_nothing_and_double_nothing(tmp_path: Path, tell: Tell) -> None:
    with serving() as api, standing(tmp_path / "chaos", api.url) as site:
        contacts = Contacts(CONTACTS_PER_SECOND, random.Random(SEED).random)
        offer(api, contacts)
        with site.up() as members, sending(site.gateway_port) as ended:
            killer = Killer(site, members, random.Random(SEED), tell)
            killer.run(SECONDS)
            contacts.stop()
            sent = ended()
            expected = Expected.of(sent, contacts.ids())
            took = until(
                lambda: expected.all_there(site), SETTLE_SECONDS_MAX, "everything is loaded", 1
            )
            tell(f"everything is loaded {took:.1f} s after the load has stopped")
            members["poller"].process.stop()  # it asks for the last contact again and again
            until(lambda: drained(site), 60, "nothing is in flight")
            books = site.audit()
            tell(summary(killer, sent, books))
            assert sent.problems == []
            check(site, expected)
            assert books.balanced, [str(finding) for finding in books.findings]
            assert books.totals.in_flight == 0
            assert books.by_stream[ORDERS].loaded == len(expected.orders)
            assert books.by_stream[CONTACTS].loaded == len(expected.contacts)
            # a run without kills and refusals would prove nothing
            assert SECONDS < 45 or set(killer.killed) == set(VICTIMS)
            assert books.totals.duplicate > 0
