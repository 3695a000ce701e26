"""Single faults on the embedded stack: what they may cost, and that they heal by themselves."""

import os
import signal
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, nullcontext

import pytest

from services.embedded.process import Process
from services.exit_codes import ExitCode
from tests.support.orders import check, loaded, produce, producing
from tests.support.project import SECRET, Site, kill_now, standing, until
from tests.support.senders import FORGER, Delivery, Fate, order, post_once

pytestmark = [
    pytest.mark.enable_socket,
    pytest.mark.embedded,
    pytest.mark.slow,
    pytest.mark.timeout(300),
]

Tell = Callable[[str], object]

AGE_SECONDS = 1.0  # of a batch that closes
HEAL_SECONDS = 15.0
STATEMENTS = ("^PUT", "^BEGIN", "^COPY", "^INSERT INTO SLUICE_LEDGER", "^UPDATE", "^COMMIT")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with standing(tmp_path_factory.mktemp("faults") / "project") as standing_site:
        yield standing_site


@pytest.fixture(autouse=True)
def no_faults_left(site: Site) -> Iterator[None]:
    """One test's faults are not the next one's."""
    yield
    site.kafka.start()
    site.warehouse.start()
    site.faults()


# The broker


def test_without_a_broker_the_gateway_says_503_in_time_and_all_heal_by_themselves(
    site: Site, tell: Tell
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
        time.sleep(20)  # long enough for waits to have grown
        site.kafka.revive()
        gateway = until(
            lambda: post_once(site.gateway_port, lost)[0] == 200, HEAL_SECONDS, "the gateway heals"
        )
        loader = loaded(site, ["during"], HEAL_SECONDS)
        tell(f"broker back: the gateway took {gateway:.1f} s, the loader {loader:.1f} s more")
        check(site, ["before", "during"])
        assert [member.process.restarts for member in members.values()] == [0, 0]


# The gateway


def test_a_rotated_secret_is_taken_up_by_a_gateway_that_runs(site: Site, tell: Tell) -> None:
    new = Delivery("rotated", ((Fate.ROW, order("rotated")),))
    file = site.root / "shop.secret"
    with site.up("gateway", "loader") as members:
        assert post_once(site.gateway_port, new, FORGER)[0] == 401
        file.write_text(FORGER)
        took = until(
            lambda: post_once(site.gateway_port, new, FORGER)[0] == 200, 45, "it is accepted", 1
        )
        tell(f"a rotated secret is accepted after {took:.1f} s")
        file.write_text(SECRET)
        loaded(site, ["rotated"], HEAL_SECONDS)
        check(site, ["rotated"])
        assert members["gateway"].process.restarts == 0


# The warehouse


def test_without_a_warehouse_events_wait_and_are_loaded_when_it_is_back(
    site: Site, tell: Tell
) -> None:
    with site.up("loader") as members, producing(site, 200) as ended:
        time.sleep(3)
        site.warehouse.kill()
        time.sleep(15)
        site.warehouse.start()
        made = ended()
        tell(f"warehouse back: the loader took {loaded(site, made, HEAL_SECONDS):.1f} s")
        check(site, made)
        assert members["loader"].process.restarts == 0


@pytest.mark.parametrize(
    ("action", "times"),
    [
        ("drop_reply", 2),  # an error at once
        ("drop_request", 2),
        ("unavailable_after", 5),  # the connector tries four times
        ("delay", 5),
        ("throttled", 5),
        ("token_expired", 2),
        ("session_gone", 2),
    ],
)
def test_lost_requests_and_replies_of_any_statement_lose_nothing_and_double_nothing(
    site: Site, tell: Tell, action: str, times: int
) -> None:
    made: list[str] = []
    with site.up("loader") as members:
        for match in STATEMENTS:
            rule = {"match": match, "action": action, "seconds": 2.0 * (action == "delay")}
            site.faults({**rule, "times": times})
            new = produce(site, 300)
            tell(f"{action} {match}: {loaded(site, new, 30):.1f} s")
            made += new
        site.faults()
        new = produce(site, 10)
        loaded(site, new, HEAL_SECONDS)
        check(site, [*made, *new])
        assert members["loader"].process.restarts == 0


@pytest.mark.parametrize(
    ("match", "taken_over"),
    [
        ("^INSERT INTO SLUICE_LEDGER", False),
        ("^UPDATE", False),
        ("^COPY", True),
        ("^UPDATE", True),
        ("^COMMIT", True),
    ],
)
def test_a_loader_that_was_frozen_in_a_transaction_commits_nothing_of_it(
    site: Site, tell: Tell, match: str, *, taken_over: bool
) -> None:
    """Longer than the warehouse keeps an idle transaction, and than the group keeps a member."""
    second = site.elsewhere("second")
    with site.up("loader") as members:
        made = produce(site, 10)
        loaded(site, made, HEAL_SECONDS)
        site.faults({"match": match, "action": "delay", "times": 1, "seconds": 4})
        made += produce(site, 100)
        time.sleep(AGE_SECONDS + 1.5)  # the statement is under way
        failures = site.log_of("loader").count("load_failed")
        with frozen(members["loader"].process), second if taken_over else nullcontext():
            if taken_over:
                loaded(site, made, 40)
            else:
                time.sleep(15)
        tell(f"frozen in {match}: loaded {loaded(site, made, 30):.1f} s later")
        time.sleep(3)  # what the frozen one may still do
        assert match == "^COMMIT" or site.log_of("loader").count("load_failed") > failures
        made += produce(site, 10)
        loaded(site, made, 30)
        check(site, made)


@contextmanager
def frozen(process: Process) -> Iterator[None]:
    """As by a suspended machine."""
    pid = process.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


# Silence


def test_one_event_and_then_silence_is_loaded_when_its_batch_is_due(site: Site, tell: Tell) -> None:
    with site.up("loader"):
        loaded(site, produce(site, 1), HEAL_SECONDS)
        for _ in range(3):
            time.sleep(1)
            seconds = loaded(site, produce(site, 1), AGE_SECONDS + 2)
            tell(f"one event, then silence: loaded after {seconds:.2f} s")


def test_a_warehouse_that_restarted_while_nobody_asked_costs_no_more_than_that(
    site: Site, tell: Tell
) -> None:
    with site.up("loader"):
        loaded(site, produce(site, 1), HEAL_SECONDS)
        for _ in range(2):
            time.sleep(1)
            site.warehouse.kill()
            site.warehouse.start()
            site.count("SHOP_ORDERS")  # our own session is new
            name = produce(site, 1)
            tell(f"after an idle restart: loaded after {loaded(site, name, AGE_SECONDS + 2):.2f} s")
            check(site, name)


# The loader


def test_a_loader_that_is_stopped_under_load_ends_in_time_and_the_next_goes_on(
    site: Site, tell: Tell
) -> None:
    with producing(site, 1000) as ended:
        for _ in range(3):
            with site.up("loader") as members:
                time.sleep(5)
                tell(f"stopped under load in {stopped(members['loader'].process):.1f} s")
        made = ended()
    with site.up("loader"):
        loaded(site, made, 30)
        check(site, made)


def test_a_loader_is_stopped_in_time_even_if_the_warehouse_hangs(site: Site, tell: Tell) -> None:
    with site.up("loader") as members:
        loaded(site, produce(site, 10), HEAL_SECONDS)
        site.faults({"match": "^COPY", "action": "delay", "times": 1, "seconds": 40})
        made = produce(site, 100)
        time.sleep(AGE_SECONDS + 1)
        tell(f"stopped in {stopped(members['loader'].process):.1f} s")
    with site.up("loader"):
        loaded(site, made, 60)
        time.sleep(20)  # until the statement of the one that was stopped comes to its end
        check(site, made)


def test_every_process_is_stopped_in_time_even_if_the_broker_is_away(
    site: Site, tell: Tell
) -> None:
    """With two loads under way, whose end is to be told: of orders, and of their dead letters."""
    with site.up() as members:
        loaded(site, produce(site, 10), HEAL_SECONDS)
        site.faults({"match": "^COPY", "action": "delay", "times": 2, "seconds": 4})
        made = produce(site, 100)
        site.produce(order("bad", Fate.JUDGE))
        time.sleep(2 * AGE_SECONDS + 1)
        site.kafka.kill()
        for role, member in members.items():
            seconds = stopped(member.process, {ExitCode.OK, ExitCode.UNREACHABLE})
            tell(f"{role} stopped in {seconds:.1f} s")
        site.kafka.revive()
    with site.up("loader"):
        loaded(site, made, 60)
        check(site, made)


def stopped(process: Process, codes: Collection[int] = (ExitCode.OK,)) -> float:
    """TERM; the seconds until it has ended by itself, in good order, before it would be killed."""
    began = time.monotonic()
    process.stop()
    assert process.exit_code in codes
    return time.monotonic() - began


def test_loaders_that_come_and_go_under_load_hand_over_exactly(site: Site, tell: Tell) -> None:
    second = site.elsewhere("second")
    with producing(site, 500) as ended:
        with site.up("loader"):
            time.sleep(6)
            second.start()
            time.sleep(10)
            shared = delivering(site, "second")
        time.sleep(8)
        with site.up("loader") as members:
            time.sleep(10)
            kill_now(members["loader"].process.pid)  # its supervisor starts it again
            time.sleep(15)
            second.stop()
            made = ended()
            tell(f"{len(made)} orders: {loaded(site, made, 30):.1f} s after the last one")
            check(site, made)
    assert shared
    assert site.log_of("second").count('"committed"') > 0


def delivering(site: Site, name: str) -> bool:
    """Whether a loader has got partitions."""
    return '"delivering"' in site.log_of(name)
