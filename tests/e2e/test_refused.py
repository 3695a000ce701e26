"""Somebody alters a table under a running loader: what no longer fits becomes dead letters."""

import json
from collections.abc import Callable, Iterator

import pytest

from schemas.dead_letters import TABLE as DEAD_LETTERS
from tests.support.orders import ORDERS_TABLE, check, loaded, missing, produce
from tests.support.project import ORDERS, Site, kill_now, standing, until
from tests.support.senders import order

pytestmark = [pytest.mark.enable_socket, pytest.mark.embedded, pytest.mark.timeout(240)]

Tell = Callable[[str], object]

CHARS_MAX = 20
SECONDS = 20.0


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    root = tmp_path_factory.mktemp("refused") / "project"
    with standing(root, api=None) as standing_site:
        yield standing_site


def long_names(site: Site, count: int, name: str) -> list[str]:
    """Orders that keep the contract and are too long for the altered column."""
    names = [f"{name}-{n}-".ljust(CHARS_MAX + 1 + n, "x") for n in range(count)]
    site.produce(*map(order, names))
    return names


def altered(site: Site, kind: str) -> None:
    site.execute(f"ALTER TABLE {ORDERS_TABLE} ALTER COLUMN ORDER_ID SET DATA TYPE {kind}")


def dead_letters(site: Site, names: list[str]) -> None:
    """These are dead letters of the load, once each, with the bytes that are in the log."""
    listed = ", ".join(f"'{name}'" for name in names)
    rows = site.rows(
        "SELECT EVENT_ID, STAGE, REASON, DETAIL, VIOLATIONS, ORIGIN_PARTITION, ORIGIN_OFFSET, "
        f"ORIGINAL_VALUE, ORIGINAL_KEY FROM {DEAD_LETTERS} WHERE EVENT_ID IN ({listed})"
    )
    assert sorted(row["event_id"] for row in rows) == sorted(names)
    for row in rows:
        assert (row["stage"], row["reason"]) == ("load", "unloadable")
        assert "column ORDER_ID: User character length limit (20) exceeded" in row["detail"]
        assert "xxx" not in row["detail"] + json.dumps(row["violations"])
        reader = site.project.reader()
        (partition, *_) = [
            p for p in reader.partitions(ORDERS) if p.number == row["origin_partition"]
        ]
        offset = int(row["origin_offset"])
        (run,) = reader.read(partition, offset, offset + 1)
        reader.close()
        assert bytes(row["original_value"]) == run.values[0]
        assert bytes(row["original_key"]) == run.messages[0].key()


def left(site: Site) -> set[str]:
    """The staged files that are loaded."""
    loaded = {row["file"] for row in site.rows("SELECT FILE FROM SLUICE_LEDGER")}
    assert len(loaded) > 1
    return loaded & {row["name"].rpartition("/")[2] for row in site.rows("LIST @SLUICE_STAGE")}


def test_rows_that_an_altered_table_refuses_are_dead_letters_and_the_rest_is_loaded(
    site: Site, tell: Tell
) -> None:
    with site.up("loader") as members:
        loaded(site, produce(site, 50), SECONDS)
        altered(site, f"VARCHAR({CHARS_MAX})")
        made = produce(site, 100)
        long = long_names(site, 5, "running")
        made += produce(site, 100)
        tell(f"beside 5 rows that do not fit: loaded after {loaded(site, made, SECONDS):.1f} s")
        until(lambda: site.count(DEAD_LETTERS) == 5, SECONDS, "dead letters")
        dead_letters(site, long)
        check(site, made)
        assert site.audit().totals.dead == 5
        until(lambda: not left(site), SECONDS, "no file of a load that has committed")
        assert members["loader"].process.restarts == 0
        assert "xxx" not in site.log_of("loader")


def test_killed_between_the_dead_letters_and_the_rest_nothing_is_lost_or_doubled(
    site: Site,
) -> None:
    before = site.count(DEAD_LETTERS)
    with site.up("loader") as members:
        loaded(site, produce(site, 10), SECONDS)
        # the COPY of the rest waits, with its dead letters durable
        site.faults({"match": r"^COPY INTO SHOP_ORDERS .*-[0-9a-f]{32}-[0-9a-f]{32}", "action": "delay", "seconds": 8})  # fmt: skip
        long = long_names(site, 3, "killed")
        made = produce(site, 40)
        until(lambda: site.count(DEAD_LETTERS) == before + 3, SECONDS, "dead letters")
        assert missing(site, made) == len(made)
        assert kill_now(members["loader"].process.pid)
        site.faults()
        loaded(site, made, 2 * SECONDS)
        until(lambda: site.audit().totals.in_flight == 0, SECONDS, "nothing in flight")
        dead_letters(site, long)
        check(site, made)


def test_a_table_that_takes_no_row_stops_the_stream_until_it_is_mended(site: Site) -> None:
    before = site.count(DEAD_LETTERS)
    with site.up("loader"):
        loaded(site, produce(site, 10), SECONDS)
        altered(site, "VARCHAR(1)")
        made = produce(site, 400)
        until(lambda: "in a row do not fit" in site.log_of("loader"), SECONDS, "the setup error")
        assert site.count(ORDERS_TABLE, f"_ID = '{made[0]}'") == 0
        altered(site, "VARCHAR")
    with site.up("loader"):  # as a person would; it looks again every minute by itself
        loaded(site, made, SECONDS)
        check(site, made)
    assert site.count(DEAD_LETTERS) == before
