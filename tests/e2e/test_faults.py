"""Single faults on the embedded stack: what they may cost, and that they heal by themselves."""

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from schemas.avro import HEADER
from schemas.dead_letters import TABLE as DEAD_LETTERS
from schemas.events import Record
from services.demo.folder import free_ports
from tests.support.project import ORDERS, Site, standing, until
from tests.support.senders import Delivery, Fate, order, post_once

pytestmark = [
    pytest.mark.enable_socket,
    pytest.mark.embedded,
    pytest.mark.slow,
    pytest.mark.timeout(240),
]

AGE_SECONDS = 1.0  # of a batch that closes
HEAL_SECONDS = 15.0
_names = itertools.count()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with standing(tmp_path_factory.mktemp("faults") / "project") as standing_site:
        yield standing_site


def names(count: int) -> list[str]:
    return [f"o{next(_names)}" for _ in range(count)]


def produce(site: Site, count: int) -> list[str]:
    """New orders onto the topic."""
    made = names(count)
    site.produce(*(order(name) for name in made))
    return made


def missing(site: Site, wanted: list[str]) -> int:
    """How many of these orders are not in the table."""
    listed = ", ".join(f"'{name}'" for name in wanted)
    return len(wanted) - site.count("SHOP_ORDERS", f"_ID IN ({listed})")


def loaded(site: Site, wanted: list[str], seconds: float) -> float:
    """Wait until these orders are in the table; the seconds that it took."""
    return until(lambda: missing(site, wanted) <= 0, seconds, f"{len(wanted)} orders loaded", 0.1)


def check(site: Site, wanted: list[str]) -> None:
    """These orders are there once each, and the books balance."""
    assert missing(site, wanted) == 0
    doubled = "SELECT _ID FROM SHOP_ORDERS GROUP BY _ID HAVING COUNT(*) > 1"
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


# The broker


def test_without_a_broker_the_gateway_says_503_in_time_and_all_heal_by_themselves(
    site: Site,
) -> None:
    with site.up("gateway", "loader") as members:
        first = Delivery("before", ((Fate.ROW, order("before")),))
        until(lambda: post_once(site.gateway_port, first)[0] == 200, 10, "the first delivery")
        loaded(site, ["before"], HEAL_SECONDS)
        site.kafka.kill()
        lost = Delivery("during", ((Fate.ROW, order("during")),))
        for _ in range(3):
            status, seconds = post_once(site.gateway_port, lost)
            assert (status, seconds < 3.0) == (503, True), seconds
        time.sleep(15)  # long enough for waits to have grown
        site.kafka.revive()
        took = until(
            lambda: post_once(site.gateway_port, lost)[0] == 200, HEAL_SECONDS, "the gateway heals"
        )
        print(f"the gateway took {took:.1f} s")
        print(f"the loader took {loaded(site, ['during'], HEAL_SECONDS):.1f} s more")
        check(site, ["before", "during"])
        assert [m.process.restarts for m in members.values()] == [0, 0]


# The warehouse


def test_without_a_warehouse_events_wait_and_are_loaded_when_it_is_back(site: Site) -> None:
    with site.up("loader") as members, producing(site, 200) as ended:
        time.sleep(3)
        site.warehouse.kill()
        time.sleep(12)
        site.warehouse.start()
        made = ended()
        print(f"the loader took {loaded(site, made, HEAL_SECONDS):.1f} s")
        check(site, made)
        assert members["loader"].process.restarts == 0


@pytest.mark.parametrize("match", ["^COMMIT", "^COPY", "^INSERT INTO SLUICE_LEDGER", "^PUT"])
@pytest.mark.parametrize("action", ["drop_reply", "drop_request", "unavailable_after", "delay"])
def test_lost_replies_and_requests_lose_nothing_and_double_nothing(
    site: Site, match: str, action: str
) -> None:
    rule = {"match": match, "action": action, "times": 5, "seconds": 3.0 * (action == "delay")}
    with site.up("loader"):
        made = produce(site, 300)
        loaded(site, made, HEAL_SECONDS)
        site.faults(rule)
        for _ in range(4):
            made += produce(site, 300)
            time.sleep(1)
        time.sleep(2)
        loaded(site, made, 40)
        site.faults()
        check(site, made)


def test_a_lost_reply_to_commit_is_settled_by_what_the_warehouse_says(site: Site) -> None:
    with site.up("loader") as members:
        loaded(site, produce(site, 10), HEAL_SECONDS)
        before = site.log_of("loader").count("load_failed")
        # as often as the connector asks again by itself, and once more
        site.faults({"match": "^COMMIT", "action": "drop_reply", "times": 5})
        made = produce(site, 500)
        print(f"took {loaded(site, made, HEAL_SECONDS):.1f} s")
        until(lambda: site.log_of("loader").count("load_failed") > before, 30, "it was noticed")
        site.faults()
        more = produce(site, 10)
        loaded(site, more, 30)
        check(site, [*made, *more])
        assert members["loader"].process.restarts == 0


# Silence


def test_one_event_and_then_silence_is_loaded_when_its_batch_is_due(site: Site) -> None:
    with site.up("loader"):
        loaded(site, produce(site, 1), HEAL_SECONDS)
        for _ in range(3):
            time.sleep(1)
            took = loaded(site, produce(site, 1), AGE_SECONDS + 2)
            print(f"took {took:.2f} s")


def test_a_warehouse_that_restarted_while_nobody_asked_costs_no_more_than_that(site: Site) -> None:
    with site.up("loader"):
        loaded(site, produce(site, 1), HEAL_SECONDS)
        for _ in range(2):
            time.sleep(1)
            site.warehouse.kill()
            site.warehouse.start()
            site.sessions.clear()
            site.count("SHOP_ORDERS")  # our own session is new
            name = produce(site, 1)
            print(f"took {loaded(site, name, AGE_SECONDS + 2):.2f} s")
            check(site, name)


# The loader


def test_a_loader_that_is_stopped_under_load_ends_in_time_and_the_next_goes_on(site: Site) -> None:
    with producing(site, 1000) as ended:
        for _ in range(3):
            with site.up("loader") as members:
                time.sleep(4)
                process = members["loader"].process
                began = time.monotonic()
                process.stop()
                seconds = time.monotonic() - began
                print(f"stopped in {seconds:.1f} s")
                assert seconds < 25
                assert process.exit_code == 0
        made = ended()
    with site.up("loader"):
        loaded(site, made, 30)
        check(site, made)


def test_a_loader_is_stopped_in_time_even_if_the_warehouse_hangs(site: Site) -> None:
    with site.up("loader") as members:
        loaded(site, produce(site, 10), HEAL_SECONDS)
        site.faults({"match": "^COPY", "action": "delay", "times": 1, "seconds": 50})
        made = produce(site, 100)
        time.sleep(AGE_SECONDS + 1)
        process = members["loader"].process
        began = time.monotonic()
        process.stop()
        print(f"stopped in {time.monotonic() - began:.1f} s, exit code {process.exit_code}")
        assert process.exit_code == 0
        site.faults()
    with site.up("loader"):
        loaded(site, made, 60)
        check(site, made)


def test_two_loaders_share_the_partitions_while_they_load(site: Site) -> None:
    second = site.process("loader", free_ports(1)[0], "second")
    with producing(site, 500) as ended, site.up("loader") as members:
        time.sleep(4)
        try:
            second.start()
            time.sleep(8)
            before = site.log_of("loader").count('"committed"'), site.log_of("second").count(
                '"committed"'
            )
            time.sleep(4)
            after = site.log_of("loader").count('"committed"'), site.log_of("second").count(
                '"committed"'
            )
            members["loader"].process.stop()
            time.sleep(4)
            made = ended()
            loaded(site, made, 30)
        finally:
            second.stop()
        check(site, made)
        print(before, after)
        assert after[0] > before[0]
        assert after[1] > before[1]
