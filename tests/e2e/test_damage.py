"""Every kind of damage to log, ledger, offsets and tables: the audit names exactly that range."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from typing_extensions import override

from consumers import ledger
from consumers.books.audit import AuditPorts, audit_once
from schemas.dead_letters import TABLE as DEAD_LETTERS
from schemas.events import Partition, Run
from services.adapters.kafka import KafkaLogReader
from services.auditing import audit_project
from tests.support.damage import DEAD, Range, Row, damaged, extent, kept_site, row_at, rows_of
from tests.support.orders import ORDERS_TABLE
from tests.support.project import Site

mark = pytest.mark
pytestmark = [mark.enable_socket, mark.embedded, mark.timeout(300)]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with kept_site(tmp_path_factory.mktemp("damage")) as site:
        yield site


def named(site: Site) -> set[Range]:
    """What the audit names, by counts."""
    books = audit_project(site.project)
    assert books.balanced is not bool(books.findings)
    return {(*f.partition, f.first, f.after) for f in books.findings}


def named_by_command(site: Site) -> set[Range]:
    """What the command names, with exit code 1 if it is anything."""
    code, answer = site.audit_command()
    found = {(f["topic"], f["partition"], f["first"], f["after"]) for f in answer["findings"]}
    assert (code, answer["balanced"]) == ((1, False) if found else (0, True)), answer
    return found


Damage = Callable[[Site, Row], tuple[list[str], list[Range]]]
"""From a ledger row in the middle: statements, and the ranges that must be named."""

DAMAGES: dict[str, Damage] = {}


def damage(function: Damage) -> Damage:
    DAMAGES[function.__name__] = function
    return function


@damage
def a_row_is_deleted(site: Site, row: Row) -> tuple[list[str], list[Range]]:
    return [f"DELETE FROM {ORDERS_TABLE} WHERE {row_at(site, row)}"], [row.range]


@damage
def a_row_is_doubled(site: Site, row: Row) -> tuple[list[str], list[Range]]:
    copy = f"SELECT * FROM {ORDERS_TABLE} WHERE {row_at(site, row)}"
    return [f"INSERT INTO {ORDERS_TABLE} {copy}"], [row.range]


@damage
def a_row_is_replaced_by_a_copy_of_another(site: Site, row: Row) -> tuple[list[str], list[Range]]:
    last = f"{row.rows} AND _OFFSET = {extent(site, row)[3] - 1}"
    return [
        f"DELETE FROM {ORDERS_TABLE} WHERE {row_at(site, row)}",
        f"INSERT INTO {ORDERS_TABLE} SELECT * FROM {ORDERS_TABLE} WHERE {last}",
    ], [row.range]


@damage
def a_batch_is_deleted(site: Site, row: Row) -> tuple[list[str], list[Range]]:
    del site
    return [f"DELETE FROM {ORDERS_TABLE} WHERE {row.rows}"], [row.range]


@damage
def the_ledger_moves_its_first_offset(site: Site, row: Row) -> tuple[list[str], list[Range]]:
    del site
    sql = f"UPDATE {ledger.LEDGER} SET FIRST_OFFSET = FIRST_OFFSET + 1 WHERE {row.where}"
    gap, rest = row.part_of(row.first, row.first + 1), row.part_of(row.first + 1, row.after)
    return [sql], [gap, rest]


@damage
def the_ledger_moves_its_next_offset(site: Site, row: Row) -> tuple[list[str], list[Range]]:
    del site
    sql = f"UPDATE {ledger.LEDGER} SET NEXT_OFFSET = NEXT_OFFSET - 1 WHERE {row.where}"
    gap, rest = row.part_of(row.after - 1, row.after), row.part_of(row.first, row.after - 1)
    return [sql], [gap, rest]


@damage
def the_ledger_names_another_batch(site: Site, row: Row) -> tuple[list[str], list[Range]]:
    sql = f"UPDATE {ledger.LEDGER} SET BATCH = 'another' WHERE {row.where}"
    return [sql], [row.range, extent(site, row)]


@damage
def a_ledger_row_is_deleted(site: Site, row: Row) -> tuple[list[str], list[Range]]:
    return [f"DELETE FROM {ledger.LEDGER} WHERE {row.where}"], [row.range, extent(site, row)]


@damage
def a_ledger_row_is_doubled(site: Site, row: Row) -> tuple[list[str], list[Range]]:
    del site
    copy = f"SELECT * FROM {ledger.LEDGER} WHERE {row.where}"
    return [f"INSERT INTO {ledger.LEDGER} {copy}"], [row.range]


@damage
def the_first_ledger_row_is_deleted(site: Site, row: Row) -> tuple[list[str], list[Range]]:
    """It holds dead letters only: no row of the table misses it."""
    del row
    first = rows_of(site)[0]
    return [f"DELETE FROM {ledger.LEDGER} WHERE {first.where}"], [first.range]


@damage
def the_last_ledger_row_is_deleted(site: Site, row: Row) -> tuple[list[str], list[Range]]:
    del row
    last = rows_of(site)[-1]
    found = {last.range}
    if site.count(ORDERS_TABLE, last.rows):
        found.add(extent(site, last))
    return [f"DELETE FROM {ledger.LEDGER} WHERE {last.where}"], list(found)


@damage
def all_ledger_rows_of_a_partition_are_deleted(
    site: Site, row: Row
) -> tuple[list[str], list[Range]]:
    known = rows_of(site)
    where = f"TOPIC = '{row.topic}' AND PART = {row.part}"
    strangers = [extent(site, r) for r in known if site.count(ORDERS_TABLE, r.rows)]
    sql = f"DELETE FROM {ledger.LEDGER} WHERE {where}"
    return [sql], [row.part_of(0, known[-1].after), *strangers]


def _offsets(change: str) -> str:
    return f"UPDATE {ledger.OFFSETS} SET NEXT_OFFSET = NEXT_OFFSET {change}"


@damage
def the_offsets_go_back(site: Site, row: Row) -> tuple[list[str], list[Range]]:
    end = rows_of(site)[-1].after
    sql = f"{_offsets('- 3')} WHERE TOPIC = '{row.topic}' AND PART = {row.part}"
    return [sql], [row.part_of(end - 3, end)]


@damage
def the_offsets_run_ahead(site: Site, row: Row) -> tuple[list[str], list[Range]]:
    end = rows_of(site)[-1].after
    sql = f"{_offsets('+ 3')} WHERE TOPIC = '{row.topic}' AND PART = {row.part}"
    return [sql], [row.part_of(end, end + 3)]


@damage
def an_offsets_row_is_deleted(site: Site, row: Row) -> tuple[list[str], list[Range]]:
    end = rows_of(site)[-1].after
    sql = f"DELETE FROM {ledger.OFFSETS} WHERE TOPIC = '{row.topic}' AND PART = {row.part}"
    return [sql], [row.part_of(end, end)]


@damage
def an_offsets_row_is_doubled(site: Site, row: Row) -> tuple[list[str], list[Range]]:
    end = rows_of(site)[-1].after
    copy = f"SELECT * FROM {ledger.OFFSETS} WHERE TOPIC = '{row.topic}' AND PART = {row.part}"
    return [f"INSERT INTO {ledger.OFFSETS} {copy}"], [row.part_of(end, end)]


@damage
def a_dead_letter_of_the_loader_is_deleted(site: Site, row: Row) -> tuple[list[str], list[Range]]:
    where = f"ORIGIN_PARTITION = {row.part} AND ORIGIN_OFFSET >= {row.first} AND STAGE = 'judge'"
    found = site.rows(
        f"SELECT ORIGIN_OFFSET, _BATCH FROM {DEAD_LETTERS} WHERE {where} ORDER BY ORIGIN_OFFSET"
    )[0]
    offset = int(found["origin_offset"])
    origin = next(r for r in rows_of(site) if r.first <= offset < r.after)
    there = next(r for r in rows_of(site, DEAD) if r.batch == found["_batch"])
    where = f"ORIGIN_PARTITION = {row.part} AND ORIGIN_OFFSET = {offset}"
    return [f"DELETE FROM {DEAD_LETTERS} WHERE {where}"], [origin.range, there.range]


@damage
def a_dead_letter_of_the_gateway_is_deleted(site: Site, row: Row) -> tuple[list[str], list[Range]]:
    del row
    batch = site.rows(f"SELECT _BATCH FROM {DEAD_LETTERS} WHERE EVENT_ID = 'refused-2'")[0]
    there = next(r for r in rows_of(site, DEAD) if r.batch == batch["_batch"])
    return [f"DELETE FROM {DEAD_LETTERS} WHERE EVENT_ID = 'refused-2'"], [there.range]


def _stranger(site: Site, row: Row, **changed: str) -> str:
    """A copy of one row with other lineage."""
    names = [c["column_name"] for c in site.rows(
        "SELECT COLUMN_NAME FROM INFORMATION_SCHEMA.COLUMNS "
        f"WHERE TABLE_NAME = '{ORDERS_TABLE}' AND TABLE_SCHEMA = CURRENT_SCHEMA()"
    )]  # fmt: skip
    values = ", ".join(changed.get(name, name) for name in names)
    source = f"SELECT {values} FROM {ORDERS_TABLE} WHERE {row_at(site, row)}"
    return f"INSERT INTO {ORDERS_TABLE} ({', '.join(names)}) {source}"


@damage
def a_stranger_of_an_unknown_batch(site: Site, row: Row) -> tuple[list[str], list[Range]]:
    offset = extent(site, row)[2]
    return [_stranger(site, row, _BATCH="'mine'")], [row.part_of(offset, offset + 1)]


@damage
def a_stranger_in_a_known_batch(site: Site, row: Row) -> tuple[list[str], list[Range]]:
    return [_stranger(site, row, _OFFSET="1000000")], [row.range]


@damage
def a_stranger_of_a_partition_that_is_not_there(
    site: Site, row: Row
) -> tuple[list[str], list[Range]]:
    offset = extent(site, row)[2]
    return [_stranger(site, row, _PARTITION="77")], [(row.topic, 77, offset, offset + 1)]


@damage
def a_stranger_of_another_topic(site: Site, row: Row) -> tuple[list[str], list[Range]]:
    offset = extent(site, row)[2]
    sql = _stranger(site, row, _TOPIC="'some.where'", _BATCH="'theirs'")
    return [sql], [("some.where", row.part, offset, offset + 1)]


@damage
def a_stranger_without_lineage(site: Site, row: Row) -> tuple[list[str], list[Range]]:
    sql = _stranger(site, row, _TOPIC="NULL", _PARTITION="NULL", _OFFSET="NULL", _BATCH="NULL")
    return [sql], [("?", -1, 0, 0)]


@pytest.mark.parametrize("name", DAMAGES)
def test_the_audit_names_exactly_the_range_that_was_damaged(site: Site, name: str) -> None:
    row = rows_of(site)[2]
    statements, expected = DAMAGES[name](site, row)
    with damaged(site, *statements):
        assert named(site) == set(expected)


def test_the_command_names_what_the_audit_found_and_fails(site: Site) -> None:
    row = rows_of(site)[2]
    assert named_by_command(site) == set()
    statements, expected = a_row_is_deleted(site, row)
    with damaged(site, *statements):
        assert named_by_command(site) == set(expected)


@pytest.mark.parametrize("change", ["EVENTS + 1", "LOADED + 1", "DUPLICATES + 1", "DEAD + 1",
                                    "EVENTS - 1", "LOADED - 1"])  # fmt: skip
def test_the_audit_names_the_ledger_row_whose_count_was_changed(site: Site, change: str) -> None:
    row = rows_of(site)[2]
    column = change.split(maxsplit=1)[0]
    with damaged(site, f"UPDATE {ledger.LEDGER} SET {column} = {change} WHERE {row.where}"):
        assert named(site) == {row.range}


@pytest.mark.parametrize(
    ("more", "less"),
    [("DUPLICATES", "LOADED"), ("DEAD", "LOADED"), ("DEAD", "DUPLICATES"), ("EVENTS", "")],
)
def test_counts_that_were_changed_so_that_they_still_add_up_are_found(
    site: Site, more: str, less: str
) -> None:
    row = rows_of(site)[2]
    other = f"{less} = {less} - 1" if less else "DUPLICATES = DUPLICATES + 1"
    sql = f"UPDATE {ledger.LEDGER} SET {more} = {more} + 1, {other} WHERE {row.where}"
    with damaged(site, sql):
        assert named(site) == {row.range}


class Forgetful(KafkaLogReader):
    """A log that has lost one message."""

    lost: tuple[Partition, int]

    @override
    def read(self, partition: Partition, first: int, after: int) -> Iterator[Run]:
        for run in super().read(partition, first, after):
            keep = np.flatnonzero(run.offsets != self.lost[1])
            if partition != self.lost[0] or len(keep) == len(run):
                yield run
                continue
            yield Run(
                partition,
                run.offsets[keep],
                np.asarray(run.timestamps)[keep],
                [run.values[place] for place in keep],
                [run.messages[place] for place in keep],
            )


def test_the_audit_names_the_range_of_a_message_that_the_log_has_lost(site: Site) -> None:
    row = rows_of(site)[2]
    reader = Forgetful(site.project.kafka_options)
    reader.lost = Partition(row.topic, row.part), row.first + 5
    site.count(ORDERS_TABLE)
    found = audit_once(AuditPorts(reader, site.sessions[0]), site.project.streams)
    reader.close()
    assert not found.balanced
    assert [(*f.partition, f.first, f.after) for f in found.findings] == [row.range]


def test_an_event_that_was_taken_for_a_duplicate_is_named_by_ids_only(site: Site) -> None:
    row = rows_of(site)[2]
    place = extent(site, row)[2]
    moved = "LOADED = LOADED - 1, DUPLICATES = DUPLICATES + 1"
    with damaged(
        site,
        f"DELETE FROM {ORDERS_TABLE} WHERE {row_at(site, row)}",
        f"UPDATE {ledger.LEDGER} SET {moved} WHERE {row.where}",
    ):
        assert named(site) == set()
        code, answer = site.audit_command("--ids")
        (found,) = answer["findings"]
        assert (code, found["topic"], found["partition"]) == (1, row.topic, row.part)
        # and its copy, which was sent with the round's first events once more
        assert found["what"].startswith("2 events neither loaded nor dead")
        assert (found["first"], found["after"] - 1 in range(place + 1, row.after)) == (place, True)
    code, answer = site.audit_command("--ids")
    assert (code, answer["findings"]) == (0, [])


def test_a_row_that_was_given_the_id_of_another_is_named_by_ids_only(site: Site) -> None:
    row = rows_of(site)[2]
    place = extent(site, row)[2]
    twin = f"(SELECT MAX(_ID) FROM {ORDERS_TABLE} WHERE {row.rows} AND _OFFSET > {place})"
    with damaged(site, f"UPDATE {ORDERS_TABLE} SET _ID = {twin} WHERE {row_at(site, row)}"):
        assert named(site) == set()
        code, answer = site.audit_command("--ids")
        (found,) = answer["findings"]
        assert (code, found["topic"], found["partition"]) == (1, row.topic, row.part)
        assert (found["first"], found["after"]) == (place, place + 1)
        assert found["what"] == "1 event whose row in the table has the id of another one"


def test_what_retention_has_deleted_is_a_note_and_no_finding(site: Site) -> None:
    """Irreversible, hence last: the log forgets two ranges and a part of the third."""
    row = rows_of(site)[2]
    site.project.admin().delete_records({Partition(row.topic, row.part): row.first + 7})
    code, answer = site.audit_command()
    assert (code, answer["findings"]) == (0, [])
    assert answer["notes"] == [f"{row.topic}/{row.part}: 3 ranges are past the log's retention"]
    assert site.audit().balanced  # first copies that the log has forgotten are in the table
    statement = f"DELETE FROM {ORDERS_TABLE} WHERE {row_at(site, rows_of(site)[1])}"
    with damaged(site, statement):  # the table is held against the ledger all the same
        assert named(site) == {rows_of(site)[1].range}
