"""QUERY_TAG of a load's statements: which, when it is set, and on which connection."""

import json

import pytest

from schemas.events import Partition
from services.adapters.snowflake.tags import TAG_CHARS_MAX, tag_of
from tests.support.warehouse import TABLE, TOPIC, Place, plan, span, table_ddl

pytestmark = [pytest.mark.embedded, pytest.mark.enable_socket]

P0 = Partition(TOPIC, 0)
OTHER = "SHOP_USERS"
ALTER = "ALTER SESSION SET QUERY_TAG = "


def tagged(table: str) -> str:
    own = {"tag": "sluice", "app": "sluice", "topic": TOPIC, "table": table}
    return f"{ALTER}'{json.dumps(own)}'"


def words(statements: list[str]) -> list[str]:
    """The tags whole, of others the first word."""
    return [s if s.startswith(ALTER) else s.split()[0] for s in statements]


LOAD = ["PUT", "BEGIN", "COPY", "INSERT", "UPDATE", "COMMIT"]


def test_every_statement_of_a_load_is_tagged_and_a_tag_is_set_only_where_it_changes(
    place: Place,
) -> None:
    session = place.ready()
    session.execute(table_ddl(OTHER))
    session.claim({P0: 0})
    place.statements.clear()
    session.load(plan(span(0, 0, 2, 1)))
    session.load(plan(span(0, 2, 4, 1)))
    session.load(plan(span(0, 4, 6, 1), table=OTHER))
    assert words(place.statements) == [tagged(TABLE), *LOAD, *LOAD, tagged(OTHER), *LOAD]
    place.statements.clear()
    session.claim({P0: 0})
    claim = ["SELECT", "BEGIN", "UPDATE", "SELECT", "COMMIT"]
    assert words(place.statements) == [f"{ALTER}'sluice'", *claim]


def test_a_load_on_a_new_connection_is_tagged_again(place: Place) -> None:
    session = place.ready()
    session.claim({P0: 0})
    session.load(plan(span(0, 0, 2, 1)))
    session.close()
    place.statements.clear()
    session.load(plan(span(0, 2, 4, 1)))
    assert words(place.statements) == [tagged(TABLE), *LOAD]


def test_a_load_without_rows_is_tagged_too(place: Place) -> None:
    session = place.ready()
    session.claim({P0: 0})
    place.statements.clear()
    session.load(plan(span(0, 0, 2, 1, loaded=0)))
    assert words(place.statements) == [tagged(TABLE), "BEGIN", "INSERT", "UPDATE", "COMMIT"]


@pytest.mark.parametrize(
    ("configured", "members"),
    [
        ("sluice", {"tag": "sluice", "app": "sluice", "table": "T"}),
        ("", {"app": "sluice", "table": "T"}),
        ("[1]", {"tag": "[1]", "app": "sluice", "table": "T"}),
        ('{"team": "data", "app": "mine"}', {"team": "data", "app": "sluice", "table": "T"}),
        ("x" * TAG_CHARS_MAX, {"app": "sluice", "table": "T"}),
    ],
)
def test_the_configured_tag_is_kept(configured: str, members: dict[str, str]) -> None:
    assert json.loads(tag_of(configured, {"table": "T"})) == members
    assert tag_of(configured, {}) == configured
