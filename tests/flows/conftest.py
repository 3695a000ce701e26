"""Fixtures of the flow tests."""

from collections.abc import Iterator

import pytest

from tests.support.conservation import require_conserved
from tests.support.world import World


@pytest.fixture(autouse=True)
def conserved(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every world that a test makes ends with exact books, unless it says that it is damaged."""
    made: list[World] = []
    begin = World.__post_init__

    def noted(world: World) -> None:
        begin(world)
        made.append(world)

    monkeypatch.setattr(World, "__post_init__", noted)
    yield
    for world in made:
        if not world.damaged:
            require_conserved(world)
