"""What sql and dead make of a warehouse's answers."""

import csv
import io
import json
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from producers.encode import StreamEncoder
from schemas.avro import wire_schema
from schemas.contract import Contract
from schemas.errors import RejectReason, SetupError
from schemas.events import Incoming
from services.adapters.registry import FileRegistry
from services.bootstrap import Project, read_project
from services.cli import dead, running, sql
from services.cli.app import declared
from services.cli.init import write_project
from services.cli.since import micros_of
from services.cli.sql import Wanted, answered
from services.exit_codes import ExitCode
from services.project import load_contract


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_project(tmp_path / "shop")
    return tmp_path / "shop"


@dataclass(frozen=True)
class Part:
    columns: tuple[str, ...]
    json: frozenset[int]
    rows: tuple[tuple[Any, ...], ...]


class Endless:
    """A warehouse with a result that never ends."""

    def __init__(self) -> None:
        self.parts_read = 0
        self.closed = False

    def parts(self, _sql: str) -> Iterator[Part]:
        while True:
            self.parts_read += 1
            yield Part(("n", "v"), frozenset({1}), ((Decimal("1.50"), '{"a": [1]}'),) * 10)

    def close(self) -> None:
        self.closed = True


class Refusing(Endless):
    def __init__(self, what: str) -> None:
        super().__init__()
        self.what = what

    def parts(self, _sql: str) -> Iterator[Part]:
        raise SetupError(self.what, where="snowflake", remedy="theirs")
        yield


@dataclass(frozen=True)
class OnWarehouse:
    """The part of a project that sql uses."""

    session: Endless

    def warehouse(self) -> Endless:
        return self.session


def ask(session: Endless, statement: str, wanted: Wanted) -> None:
    answered(OnWarehouse(session), statement, wanted)  # type: ignore[arg-type] # all that it uses


def test_an_endless_result_is_cut_with_a_notice_and_the_session_ends(
    capsys: pytest.CaptureFixture[str],
) -> None:
    session = Endless()
    ask(session, "select 1", Wanted(as_json=True, as_csv=False, limit=25))
    out, err = capsys.readouterr()
    assert len(json.loads(out)) == 25
    assert "only the first 25 rows" in err
    assert session.parts_read == 3
    assert session.closed


def test_json_columns_are_nested_and_decimals_exact(capsys: pytest.CaptureFixture[str]) -> None:
    ask(Endless(), "select 1", Wanted(as_json=True, as_csv=False, limit=1))
    assert json.loads(capsys.readouterr().out) == [{"n": "1.50", "v": {"a": [1]}}]


def test_csv_has_a_header_and_survives_a_reader(capsys: pytest.CaptureFixture[str]) -> None:
    ask(Endless(), "select 1", Wanted(as_json=False, as_csv=True, limit=2))
    rows = list(csv.reader(io.StringIO(capsys.readouterr().out)))
    assert rows == [["n", "v"], *[["1.50", '{"a": [1]}']] * 2]


def test_what_a_person_typed_is_theirs_to_mend_but_grants_are_not() -> None:
    with pytest.raises(SetupError) as caught:
        ask(Refusing("no such table"), "x", Wanted(as_json=False, as_csv=False, limit=1))
    assert "mend the statement" in caught.value.remedy
    refusing = Refusing("Insufficient privileges to operate on table")
    with pytest.raises(SetupError) as caught:
        ask(refusing, "x", Wanted(as_json=False, as_csv=False, limit=1))
    assert caught.value.remedy == "theirs"
    assert refusing.closed


def test_an_empty_statement_is_refused_before_a_session_is_opened() -> None:
    with pytest.raises(SetupError, match="empty"):
        ask(Endless(), " \n", Wanted(as_json=False, as_csv=False, limit=1))


def test_csv_cells_of_every_type_are_plain_text() -> None:
    assert [sql._plain(v) for v in (None, True, 1, "x", b"\x01", Decimal("1.0"))] == [
        None,
        "true",
        1,
        "x",
        "01",
        "1.0",
    ]


# dead letters


@pytest.fixture
def project(tmp_path: Path) -> Project:
    write_project(tmp_path / "p")
    return read_project(tmp_path / "p")


@pytest.fixture
def registry(tmp_path: Path) -> FileRegistry:
    return FileRegistry(tmp_path / "avro")


def encoded(contract: Contract, registry: FileRegistry) -> bytes:
    schema_id = registry.register(contract.stream, wire_schema(contract))
    raw = b'{"order_id": "A-1"}'
    incoming = Incoming({"order_id": "A-1"}, raw, None, "shop", 1)
    return StreamEncoder(contract, schema_id).encode([incoming]).records[0].value


def test_originals_are_shown_in_the_most_readable_form(
    project: Project, registry: FileRegistry
) -> None:
    contract = load_contract(project.settings.root / "contracts/orders.py")
    value = encoded(contract, registry)
    shown = dead.original(value, registry)
    assert (shown.form, shown.content["order_id"]) == ("avro", "A-1")
    assert dead.original(b'{"a": 1}', registry) == dead.Original("json", {"a": 1})
    assert dead.original(b"plain words", registry) == dead.Original("text", "plain words")
    assert dead.original(b"\xff\x00", registry) == dead.Original("hex", "ff00")
    assert dead.original(None, registry) == dead.Original("empty", "")


LETTER = {
    "_id": "shop.orders/2/41/decode",
    "stream": "shop.orders",
    "stage": "decode",
    "reason": "bad_frame",
    "fingerprint": "f",
    "event_id": None,
    "source": None,
    "attempt": 1,
    "schema_id": None,
    "origin_partition": 2,
    "origin_offset": 41,
    "original_value": None,
    "violations": [{"path": "$", "reason": "null_value", "detail": "no value"}],
    "original_headers": [["ce_id", "o1"], ["odd", {"base64": "/wA="}], ["none", None]],
}
LARGE = [
    {"path": "$", "reason": "bad_frame", "detail": "no magic byte"},
    {"path": "$", "reason": "oversized", "detail": "9000000 bytes"},
]


def shown(
    letter: dict[str, Any], arguments: list[str], monkeypatch: pytest.MonkeyPatch, folder: Path
) -> str:
    monkeypatch.setattr(dead, "found", lambda *_: letter)
    monkeypatch.setattr(running, "open_project", lambda root: nullcontext(read_project(root)))
    command = ["dead", "show", str(letter["_id"]), "-C", str(folder), *arguments]
    done = CliRunner().invoke(declared(), command)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_show_tells_where_the_bytes_are_that_no_letter_can_hold(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    letter = {**LETTER, "violations": LARGE, "original_headers": None}
    place = {"topic": "shop.orders", "partition": 2, "offset": 41}
    found = json.loads(shown(letter, ["--json"], monkeypatch, folder))
    assert found["original"] == {"form": "left_out", "content": place}
    text = shown(letter, [], monkeypatch, folder)
    assert "oversized: 9000000 bytes" in text
    assert "original (left out)" in text
    assert "--topic shop.orders --partition 2 --offset 41 --max-messages 1" in text


@pytest.mark.parametrize(
    "other",
    [
        {},  # there never was a value
        {"violations": LARGE, "origin_partition": None, "origin_offset": None},
        {"violations": LARGE, "original_value": b"whole"},  # larger than an event may be, no more
    ],
)
def test_show_says_of_nothing_else_that_it_was_left_out(
    other: dict[str, Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = shown({**LETTER, **other}, [], monkeypatch, folder)
    assert f"original ({'text' if 'original_value' in other else 'empty'})" in text


def test_show_tells_headers_as_text_or_hex(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = shown(LETTER, [], monkeypatch, folder).splitlines()
    at = lines.index("headers")
    assert lines[at + 1 : at + 4] == ["  ce_id  o1", "  odd  <ff 00>", "  none  <null>"]


def test_damaged_bytes_are_hex_whatever_is_wrong_with_them(
    project: Project, registry: FileRegistry
) -> None:
    contract = load_contract(project.settings.root / "contracts/orders.py")
    value = encoded(contract, registry)
    for damaged in (
        *(value[:length] for length in range(1, len(value))),
        value + b"\x00",
        b"\x00\x00\x00\x00\x63" + value[5:],
        value[:5] + b"\xff" * 40,
    ):
        assert dead.original(damaged, registry).form == "hex"


def test_a_dump_has_offset_hex_and_text() -> None:
    assert dead._dump(bytes(range(60, 78))) == [
        "00000000  3c 3d 3e 3f 40 41 42 43 44 45 46 47 48 49 4a 4b  <=>?@ABCDEFGHIJK",
        "00000010  4c 4d" + " " * 42 + "  LM",
    ]


def test_filters_become_conditions_that_data_cannot_leave() -> None:
    assert dead.Filter().where == ""
    chosen = dead.Filter("it's", RejectReason.PATTERN, 1_000_000)
    assert chosen.where == (
        " WHERE STREAM = 'it''s' AND REASON = 'pattern' "
        "AND _RECEIVED_AT >= '1970-01-01 00:00:01.000000'::TIMESTAMP_NTZ"
    )


def test_since_takes_spans_and_times() -> None:
    at = Fixed()
    assert micros_of(None, at) is None
    assert micros_of("2h", at) == (10_000 - 7_200) * 1_000_000
    assert micros_of("1970-01-01", at) == 0
    assert micros_of("1970-01-01T02:00:00+02:00", at) == 0
    with pytest.raises(SetupError, match="neither a span nor a time"):
        micros_of("yesterday", at)


class Fixed:
    """A clock at 10,000 seconds."""

    def now(self) -> int:
        return 10_000_000_000

    def monotonic(self) -> float:
        return 10_000

    def sleep(self, seconds: float) -> None:
        raise NotImplementedError


def test_a_stream_that_there_is_not_is_told_with_the_nearest_unless_it_has_dead_letters(
    folder: Path,
) -> None:
    project = read_project(folder)
    for rows, stream in (([], None), ([], "shop.orders"), ([{}], "shop.strange")):
        dead.require_stream(project, stream, rows)
    with pytest.raises(SetupError) as caught:
        dead.require_stream(project, "shop.ordres", [])
    assert caught.value.what.startswith("there is no stream shop.ordres")
    assert (caught.value.where, caught.value.remedy) == ("--stream", "did you mean shop.orders?")


@pytest.mark.parametrize("command", ["list", "count"])
def test_dead_refuses_an_unknown_stream_with_the_exit_code_of_the_others(
    command: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("listed", "counted"):
        monkeypatch.setattr(dead, name, lambda *_: [])
    monkeypatch.setattr(running, "open_project", lambda root: nullcontext(read_project(root)))
    arguments = ["dead", command, "--stream", "shop.ordres", "-C", str(folder)]
    done = CliRunner().invoke(declared(), arguments)
    assert done.exit_code == ExitCode.SETUP
    assert "did you mean shop.orders?" in done.stderr
