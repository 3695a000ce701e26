"""The stand-in's server as a whole."""

import threading
from pathlib import Path

import pytest

from services.adapters.snowflake.connection import embedded_arguments
from services.adapters.snowflake.session import Session
from services.embedded.warehouse import EmbeddedWarehouse
from services.settings import Snowflake
from tests.support.warehouse import DATABASE, inject, shared_server

pytestmark = [pytest.mark.embedded, pytest.mark.enable_socket]


def opened(schema: str) -> Session:
    given = Snowflake(embedded=True, database=DATABASE, schema=schema)
    return Session(lambda: embedded_arguments(given, shared_server().connection))


def test_many_sessions_may_log_in_at_once() -> None:
    wrong: list[BaseException] = []

    def log_in(number: int) -> None:
        try:
            session = opened(f"MANY{number}")
            session.run("SELECT 1", "test")
            session.drop(roll_back=False)
        except BaseException as error:  # noqa: BLE001 - reported below
            wrong.append(error)

    threads = [threading.Thread(target=log_in, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_faults_are_off_unless_asked_for(tmp_path: Path) -> None:
    with EmbeddedWarehouse(tmp_path) as server, pytest.raises(AssertionError):
        inject(server.port, [])
