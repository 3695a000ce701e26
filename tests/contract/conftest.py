"""Fixtures of the contract tests."""

from collections.abc import Iterator

import pytest

from tests.support.warehouse import Place, shared_server


@pytest.fixture
def place() -> Iterator[Place]:
    """A schema of its own on the shared embedded warehouse."""
    place = Place(shared_server())
    yield place
    place.faults()
    place.close()
