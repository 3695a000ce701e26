"""Fixtures of the contract tests."""

from collections.abc import Iterator

import pytest

from tests.support.real_snowflake import ACCOUNT, EMBEDDED, AnyPlace, opened
from tests.support.warehouse import Place, shared_server


@pytest.fixture
def place() -> Iterator[Place]:
    """A schema of its own on the shared embedded warehouse."""
    place = Place(shared_server())
    yield place
    place.faults()
    place.close()


@pytest.fixture(params=[EMBEDDED, ACCOUNT])
def any_place(request: pytest.FixtureRequest) -> Iterator[AnyPlace]:
    """The same on the stand-in, and on a real account where there is one."""
    with opened(request.param) as place:
        yield place
