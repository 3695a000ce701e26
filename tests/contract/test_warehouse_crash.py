"""The stand-in killed with -9 at the worst moments: nothing is lost, nothing is doubled."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from schemas.errors import TransientError
from schemas.events import Claim, LoadPlan, Partition
from services.adapters.snowflake import SnowflakeWarehouse
from services.embedded.warehouse import EmbeddedWarehouse
from tests.support.warehouse import TABLE, TOPIC, Place, plan, span

pytestmark = [pytest.mark.embedded, pytest.mark.enable_socket]

ROWS = 1000
KILLS = 6
P0 = Partition(TOPIC, 0)
COUNT = f"SELECT COUNT(*) AS N, COUNT(DISTINCT ID) AS D FROM {TABLE}"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedWarehouse]:
    with EmbeddedWarehouse(tmp_path / "warehouse", faults=True) as running:
        yield running


def test_kill_9_between_put_and_commit_loads_nothing(server: EmbeddedWarehouse) -> None:
    place = Place(server, "CRASH")
    session, port = place.ready(), server.port
    session.claim({P0: 0})
    place.faults({"match": "^COMMIT", "action": "delay", "seconds": 60})
    errors: list[BaseException] = []
    work = plan(span(0, 0, 50, epoch=1))
    loading = threading.Thread(target=lambda: errors.append(error_of(session, work)))
    loading.start()
    until(lambda: place.statements[-1] == "COMMIT" and len(place.statements) > 10)
    time.sleep(0.2)  # the fence has been answered, COMMIT is held up
    server.kill()
    loading.join()
    assert [type(error) for error in errors] == [TransientError]

    server.start()
    assert server.port == port
    assert session.claim({P0: 0}) == {P0: Claim(2, 0)}
    assert session.rows(COUNT) == [{"n": 0, "d": 0}]
    session.load(plan(span(0, 0, 50, epoch=2)))
    assert session.rows(COUNT) == [{"n": 50, "d": 50}]
    place.close()


def test_kill_9_after_commit_keeps_everything(server: EmbeddedWarehouse) -> None:
    place = Place(server, "CRASH")
    session = place.ready()
    session.claim({P0: 0})
    session.load(plan(span(0, 0, 50, epoch=1)))
    server.kill()
    server.start()
    assert session.claim({P0: 0}) == {P0: Claim(2, 50)}  # on a new connection
    assert session.rows(COUNT) == [{"n": 50, "d": 50}]
    assert len(session.rows("LIST @SLUICE_STAGE")) == 1
    session.load(plan(span(0, 50, 60, epoch=2)))
    assert session.rows(COUNT) == [{"n": 60, "d": 60}]
    place.close()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_loader_survives_kill_after_kill(server: EmbeddedWarehouse) -> None:
    place = Place(server, "CHAOS")
    place.ready()
    done = threading.Event()
    loading = threading.Thread(target=load_until, args=(place.session(), ROWS, done), daemon=True)
    loading.start()
    kills = 0
    while kills < KILLS and not done.wait(0.5 + kills % 3):
        server.kill()
        server.start()
        kills += 1
    assert kills == KILLS
    assert done.wait(120)
    session = place.session()
    assert session.rows(COUNT) == [{"n": ROWS, "d": ROWS}]
    ledger = "SELECT FIRST_OFFSET AS F, NEXT_OFFSET AS A FROM SLUICE_LEDGER ORDER BY FIRST_OFFSET"
    ranges = [(row["f"], row["a"]) for row in session.rows(ledger)]
    assert ranges == [(first, first + 10) for first in range(0, ROWS, 10)]
    place.statements.clear()  # two threads': not a transaction's order
    place.close()


def load_until(session: SnowflakeWarehouse, end: int, done: threading.Event) -> None:
    """Claim and load ten rows at a time, as a loader does; claim again after every error."""
    claim = None
    while claim is None or claim.next_offset < end:
        try:
            claim = claim or session.claim({P0: 0})[P0]
            after = claim.next_offset + 10
            session.load(plan(span(0, claim.next_offset, after, epoch=claim.epoch)))
            claim = Claim(claim.epoch, after)
        except TransientError:
            claim = None
    done.set()


def error_of(session: SnowflakeWarehouse, work: LoadPlan) -> BaseException:
    try:
        session.load(work)
    except TransientError as error:
        return error
    return AssertionError("nothing was raised")


def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
