"""The stand-in killed with -9 at the worst moments: nothing is lost, nothing is doubled."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.errors import TransientError
from schemas.events import Claim, Partition
from services.embedded.warehouse import EmbeddedWarehouse
from tests.support.warehouse import TABLE, TOPIC, Place, plan, span

pytestmark = [pytest.mark.embedded, pytest.mark.enable_socket]

P0 = Partition(TOPIC, 0)
COUNT = f"SELECT COUNT(*) AS N, COUNT(DISTINCT ID) AS D FROM {TABLE}"  # noqa: S608 - constants


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedWarehouse]:
    with EmbeddedWarehouse(tmp_path / "warehouse", faults=True) as running:
        yield running


def test_kill_9_between_put_and_commit_and_after_commit(server: EmbeddedWarehouse) -> None:
    place = Place(server, "CRASH")
    session = place.ready()
    port = server.port
    assert session.claim({P0: 0}) == {P0: Claim(1, 0)}
    work = plan(span(0, 0, 50, epoch=1))

    place.faults({"match": "^COMMIT", "action": "delay", "seconds": 60})
    errors: list[BaseException] = []
    loading = threading.Thread(target=lambda: errors.append(raised_by(lambda: session.load(work))))
    loading.start()
    until(lambda: "COMMIT" in place.statements[-1])
    time.sleep(0.2)  # the fence has been answered, COMMIT is held up
    server.kill()
    loading.join()
    assert [type(error) for error in errors] == [TransientError]

    server.start()
    assert server.port == port
    assert session.claim({P0: 0}) == {P0: Claim(2, 0)}
    assert session.rows(COUNT) == [{"n": 0, "d": 0}]
    session.load(plan(span(0, 0, 50, epoch=2)))

    server.kill()
    server.start()
    with pytest.raises(TransientError):  # the session died with the server
        session.claim({P0: 0})
    assert session.claim({P0: 0}) == {P0: Claim(3, 50)}
    assert session.rows(COUNT) == [{"n": 50, "d": 50}]
    assert len(session.rows("LIST @SLUICE_STAGE")) == 1
    session.load(plan(span(0, 50, 60, epoch=3)))
    assert session.rows(COUNT) == [{"n": 60, "d": 60}]
    place.close()


def raised_by(action: object) -> BaseException:
    try:
        action()  # type: ignore[operator]  # a callable
    except TransientError as error:
        return error
    return AssertionError("nothing was raised")


def until(condition: object, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]  # a callable
        assert time.monotonic() < deadline
        time.sleep(0.01)
