"""What ``sluice duplicates`` makes of a project's streams, and how it tells it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from consumers.repeats.conflicts import Example, Place
from consumers.repeats.duplicates import Duplicates, Wanted
from schemas import avro
from schemas.contract import Contract
from schemas.dead_letters import dead_contract
from schemas.errors import SetupError
from services.adapters.memory.log import MemoryLogReader
from services.cli.answers import print_json
from services.cli.duplicates import REMEDY, as_data, show
from services.conflicts import duplicates_of
from tests.support.world import CONTRACT, SCHEMAS, STREAM, World

OTHER = CONTRACT.model_copy(update={"stream": "shop.users"})


class Reader(MemoryLogReader):
    """The broker's, which knows whether it was closed."""

    closed = False

    def close(self) -> None:
        self.closed = True


class Schemas:
    """The part of a registry that is used."""

    def schema(self, schema_id: int) -> avro.Schema | None:
        return SCHEMAS.get(schema_id)


@dataclass
class OnLog:
    """The part of a project that is used."""

    world: World = field(default_factory=World)
    registry: Schemas = field(default_factory=Schemas)
    opened: list[Reader] = field(default_factory=list)

    @property
    def streams(self) -> Mapping[str, Contract]:
        contracts = (CONTRACT, OTHER, dead_contract(STREAM), dead_contract("shop.users"))
        return {contract.stream: contract for contract in contracts}

    def reader(self) -> Reader:
        self.opened.append(Reader(self.world.broker))
        return self.opened[-1]

    def report(self, *names: str, **wanted: Any) -> list[Duplicates]:
        return duplicates_of(self, names, Wanted(**wanted))  # type: ignore[arg-type] # see above


def order(name: str, amount: float = 1.0) -> dict[str, Any]:
    return {"order_id": name, "amount": amount}


CONFLICT = Duplicates(
    stream=STREAM,
    events=5,
    ids=1,
    duplicates=2,
    without_id=0,
    dead=2,
    conflicts=1,
    examples=[
        Example("[red]\x1b", 3, 2, Place(STREAM, 1, 7), Place(STREAM, 1, 9), ("amount", "_extra"))
    ],
)
QUIET = Duplicates("shop.users", 3, 2, 1, 0, 0, 0)


def test_without_a_name_all_streams_are_read_but_dead_letters() -> None:
    project = OnLog()
    project.world.produce(order("a"), order("a", 2.0))
    found = project.report()
    assert [(each.stream, each.events, each.conflicts) for each in found] == [
        (STREAM, 2, 1),
        ("shop.users", 0, 0),
    ]
    assert [reader.closed for reader in project.opened] == [True]


def test_streams_are_read_as_named_and_once() -> None:
    found = OnLog().report("shop.users", STREAM, "shop.users")
    assert [each.stream for each in found] == ["shop.users", STREAM]
    assert [each.stream for each in OnLog().report(f"{STREAM}.dead")] == [f"{STREAM}.dead"]


def test_a_stream_that_there_is_not_is_told_with_those_that_there_are() -> None:
    project = OnLog()
    with pytest.raises(SetupError) as caught:
        project.report(STREAM, "shop.order")
    assert (caught.value.what, caught.value.where) == ("there is no stream shop.order", "STREAM")
    assert caught.value.remedy == "name one of shop.orders, shop.users"
    assert project.opened == []


def test_a_field_to_ignore_must_be_one_of_the_streams() -> None:
    project = OnLog()
    project.world.produce(order("a"), order("a", 2.0))
    assert project.report(ignored=frozenset({"amount", "_extra"}))[0].conflicts == 0
    with pytest.raises(SetupError) as caught:
        project.report(ignored=frozenset({"amuont"}))
    assert (caught.value.what, caught.value.where) == ("no field is called amuont", "--ignore")
    assert caught.value.remedy == (
        "name one of _extra, amount, order_id, placed_at, or point into the record, as /sent_at"
    )
    pointers = frozenset({"/amount", "/meta/sent_at"})
    assert project.report(ignored=pointers)[0].conflicts == 0
    with pytest.raises(SetupError, match=r"nothing of shop\.orders is left"):
        project.report(ignored=frozenset({"_extra", "amount", "order_id", "placed_at"}))


def test_the_reader_is_closed_when_the_log_fails() -> None:
    project = OnLog()
    project.world.broker.fail_next("read", SetupError("gone"))
    with pytest.raises(SetupError, match="gone"):
        project.report()
    assert [reader.closed for reader in project.opened] == [True]


def test_json_has_every_count_and_example_and_what_to_do(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_json(as_data([QUIET, CONFLICT]))
    body = json.loads(capsys.readouterr().out)
    assert body["conflicts"] == 1
    assert body["remedy"] == REMEDY
    assert body["streams"][1] == {
        "stream": STREAM,
        "events": 5,
        "ids": 1,
        "duplicates": 2,
        "without_id": 0,
        "dead": 2,
        "conflicts": 1,
        "examples": [
            {
                "id": "[red]\x1b",
                "copies": 3,
                "bodies": 2,
                "first": {"topic": STREAM, "partition": 1, "offset": 7},
                "last": {"topic": STREAM, "partition": 1, "offset": 9},
                "fields": ["amount", "_extra"],
            }
        ],
    }
    assert as_data([QUIET]).keys() == {"conflicts", "streams"}


def test_a_person_is_shown_the_conflicts_and_what_to_do(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show([QUIET, CONFLICT])
    out, err = capsys.readouterr()
    (line,) = (line for line in out.splitlines() if "shop.orders/1/7" in line)
    for part in ("[red]\\x1b", " 3 ", " 2 ", "shop.orders/1/9", "amount, _extra"):
        assert part in line
    assert "Conflicts of shop.users" not in out
    assert "ids with copies that differ: 1" in out
    assert REMEDY in out
    assert err == ""


def test_that_there_are_more_conflicts_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    show([Duplicates(STREAM, 30, 11, 19, 0, 0, 11, CONFLICT.examples * 10)])
    assert "only the first 10 conflicts of shop.orders" in capsys.readouterr().err


def test_repeats_need_nothing_done(capsys: pytest.CaptureFixture[str]) -> None:
    show([QUIET])
    out = capsys.readouterr().out
    assert "duplicates are repeats" in out
    assert "next" not in out
