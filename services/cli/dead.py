"""``sluice dead``: what was rejected, why, and the bytes as they came."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import fastavro
import orjson
from rich.text import Text

from producers.config_errors import meant
from schemas import avro, exact_json
from schemas.contract import DEAD_SUFFIX
from schemas.dead_letters import TABLE, headers_of
from schemas.errors import RejectReason, SetupError, SluiceError
from schemas.ports import Clock
from schemas.sql import Value, literal, timestamp
from services.adapters.registry import Registry
from services.bootstrap import Project
from services.cli.answers import json_text, notice, print_json, printable, screen, table
from services.cli.since import micros_of
from services.exit_codes import ExitCode

HEX_BYTES_A_LINE = 16
LEFT_OUT = (
    "  too large for a dead letter: the bytes are in the log, for as long as the topic keeps them\n"
    "  kafka-console-consumer.sh --topic {topic} --partition {partition} --offset {offset} "
    "--max-messages 1"
)
LISTED = ("id", "stream", "stage", "reason", "path", "detail", "received_at", "attempt")


@dataclass(frozen=True, slots=True)
class Asked:
    """Which dead letters a person asked for, as the options say it."""

    stream: str | None
    reason: RejectReason | None
    since: str | None

    def filter(self, clock: Clock) -> "Filter":
        """The same, of now. Raises SetupError for a time that is none."""
        return Filter(self.stream, self.reason, micros_of(self.since, clock))


@dataclass(frozen=True, slots=True)
class Filter:
    """Which dead letters; ``since`` in microseconds since the epoch, UTC."""

    stream: str | None = None
    reason: RejectReason | None = None
    since: int | None = None

    @property
    def where(self) -> str:
        """The SQL condition."""
        parts = [
            f"{name} = {literal(value)}"
            for name, value in (("STREAM", self.stream), ("REASON", _code(self.reason)))
            if value is not None
        ]
        if self.since is not None:
            parts.append(f"_RECEIVED_AT >= {timestamp(self.since)}")
        return f" WHERE {' AND '.join(parts)}" if parts else ""


def _code(reason: RejectReason | None) -> Value:
    return reason.value if reason is not None else None


def show_list(project: Project, asked: Asked, limit: int, *, as_json: bool) -> ExitCode:
    """Answer ``sluice dead list``. Raises SetupError and TransientError."""
    rows = listed(project, asked.filter(project.clock), limit + 1)
    require_stream(project, asked.stream, rows)
    if as_json:
        print_json(rows[:limit])
    else:
        screen().print(table(LISTED, ([row[n] for n in LISTED] for row in rows[:limit])))
        _end(rows, limit)
    return ExitCode.OK


def show_count(project: Project, asked: Asked, *, as_json: bool) -> ExitCode:
    """Answer ``sluice dead count``. Raises SetupError and TransientError."""
    rows = counted(project, asked.filter(project.clock))
    require_stream(project, asked.stream, rows)
    if as_json:
        print_json(rows)
    else:
        screen().print(table(tuple(COUNTED), ([row[n] for n in COUNTED] for row in rows)))
        if not rows:
            notice("no dead letters")
    return ExitCode.OK


def show_one(project: Project, id_: str, *, as_json: bool) -> ExitCode:
    """Answer ``sluice dead show``. Raises SetupError and TransientError."""
    row = found(project, id_)
    shown = original_of(row, project.registry)
    if as_json:
        print_json({**row, "original": {"form": shown.form, "content": shown.content}})
    else:
        _show(row, shown)
    return ExitCode.OK


def listed(project: Project, chosen: Filter, limit: int) -> list[dict[str, Any]]:
    """One row a dead letter, the newest first."""
    return _rows(
        project,
        "SELECT _ID AS ID, STREAM, STAGE, REASON, PATH, DETAIL, _RECEIVED_AT AS RECEIVED_AT, "
        f"ATTEMPT, EVENT_ID, FINGERPRINT FROM {TABLE}{chosen.where} "
        f"ORDER BY _RECEIVED_AT DESC, _ID LIMIT {literal(limit)}",
    )


def require_stream(project: Project, stream: str | None, rows: Sequence[object]) -> None:
    """Raises SetupError where nothing was found of a stream that there is not.

    Streams without a contract may have dead letters, so what was found is shown in any case.
    """
    if stream is None or rows or stream in project.streams:
        return
    there = [name for name in project.streams if not name.endswith(DEAD_SUFFIX)]
    raise SetupError(
        f"there is no stream {stream}, and no dead letter of one",
        where="--stream",
        remedy=meant(stream, there) if there else "`sluice init` shows how to declare one",
    )


COUNTED = {
    "stream": "STREAM",
    "stage": "STAGE",
    "reason": "REASON",
    "path": "MIN(PATH)",
    "letters": "COUNT(*)",
    "first_seen": "MIN(_RECEIVED_AT)",
    "last_seen": "MAX(_RECEIVED_AT)",
    "sample": "MIN(_ID)",
    "fingerprint": "FINGERPRINT",
}


def counted(project: Project, chosen: Filter) -> list[dict[str, Any]]:
    """One row a fault, the most frequent first."""
    columns = ", ".join(f"{sql} AS {name.upper()}" for name, sql in COUNTED.items())
    return _rows(
        project,
        f"SELECT {columns} FROM {TABLE}{chosen.where} "
        "GROUP BY STREAM, STAGE, REASON, FINGERPRINT ORDER BY LETTERS DESC, STREAM, FINGERPRINT",
    )


def found(project: Project, id_: str) -> dict[str, Any]:
    """One dead letter. Raises SetupError where there is none of this id."""
    rows = _rows(project, f"SELECT * FROM {TABLE} WHERE _ID = {literal(id_)} LIMIT 1")
    if not rows:
        raise SetupError(
            "there is no dead letter of this id",
            where=id_,
            remedy="`sluice dead list` shows the ids; one that is on its way comes in seconds",
        )
    row = rows[0]
    for name in ("violations", "original_headers"):
        if isinstance(row[name], str):
            row[name] = orjson.loads(row[name])
    return row


def _rows(project: Project, sql: str) -> list[dict[str, Any]]:
    warehouse = project.warehouse()
    try:
        there = warehouse.rows(
            "SELECT TABLE_NAME FROM INFORMATION_SCHEMA.TABLES "
            f"WHERE TABLE_SCHEMA = CURRENT_SCHEMA() AND TABLE_NAME = {literal(TABLE)}"
        )
        return warehouse.rows(sql) if there else []
    finally:
        warehouse.close()


@dataclass(frozen=True, slots=True)
class Original:
    """Original bytes in the most readable form they have."""

    form: str  # json, avro, text, hex, empty, or left_out: the content is its place in the log
    content: Any


def original_of(row: Mapping[str, Any], registry: Registry) -> Original:
    """The original of a dead letter, or where its bytes are: some are too many for a letter."""
    large = any(each["reason"] == RejectReason.OVERSIZED for each in row["violations"])
    if large and row["original_value"] is None and row["origin_offset"] is not None:
        place = {"topic": row["stream"]}  # a stream's topic has its name
        place |= {name: row[f"origin_{name}"] for name in ("partition", "offset")}
        return Original("left_out", place)
    return original(row["original_value"], registry)


def original(value: bytes | None, registry: Registry) -> Original:
    """JSON where it is JSON, the record where its schema can read it, text, or else hex."""
    if not value:
        return Original("empty", "")
    value = bytes(value)
    try:
        return Original("json", exact_json.loads(value))
    except orjson.JSONDecodeError:
        record = _decoded(value, registry)
    if record is not None:
        return Original("avro", record)
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return Original("hex", value.hex())
    return Original("text", text) if text.isprintable() else Original("hex", value.hex())


def _decoded(value: bytes, registry: Registry) -> dict[str, Any] | None:
    if len(value) < avro.HEADER.size or value[0] != avro.MAGIC:
        return None
    _, schema_id = avro.HEADER.unpack_from(value)
    stream = io.BytesIO(value[avro.HEADER.size :])
    try:
        schema = registry.schema(schema_id)
        if schema is None:
            return None
        record = fastavro.schemaless_reader(stream, fastavro.parse_schema(schema), None)
    except (SluiceError, ValueError, EOFError, IndexError, TypeError, KeyError, OverflowError):
        return None  # damaged, which may be why it is here
    return record if isinstance(record, dict) and not stream.read(1) else None


def _show(row: Mapping[str, Any], shown: Original) -> None:
    console = screen()
    rest = {"id": row["_id"]} | {
        name: row[name]
        for name in (
            *("stream", "stage", "reason", "fingerprint", "event_id", "source", "attempt"),
            *("origin_partition", "origin_offset", "schema_id"),
        )
        if row[name] is not None
    }
    for name, value in rest.items():
        text = value if isinstance(value, str | int) else json_text(value)
        console.print(Text(f"{name:<17} {printable(str(text))}"), soft_wrap=True)
    console.print(Text("violations", "bold"))
    for each in row["violations"]:
        line = f"  {each['path']}  {each['reason']}: {each['detail']}"
        console.print(Text(printable(line)), soft_wrap=True)
    if row["original_headers"]:
        console.print(Text("headers", "bold"))
    for name, value in headers_of(row["original_headers"]):
        console.print(Text(f"  {printable(name)}  {printable(_header(value))}"), soft_wrap=True)
    console.print(Text(f"original ({shown.form.replace('_', ' ')})", "bold"))
    if shown.form == "left_out":
        console.print(Text(printable(LEFT_OUT.format(**shown.content))), soft_wrap=True)
    elif shown.form == "hex":
        console.print("\n".join(_dump(bytes.fromhex(shown.content))), markup=False)
    elif shown.form == "text":
        console.print(Text(printable(shown.content)), soft_wrap=True)
    elif shown.form != "empty":
        console.print(Text(printable(json_text(shown.content, indent=True))), soft_wrap=True)


def _header(value: bytes | None) -> str:
    """Text, or hex in angle brackets."""
    if value is None:
        return "<null>"
    try:
        return value.decode()
    except UnicodeDecodeError:
        return f"<{value.hex(' ')}>"


def _dump(value: bytes) -> list[str]:
    """Offset, hex and ASCII, 16 bytes a line."""
    lines = []
    for at in range(0, len(value), HEX_BYTES_A_LINE):
        part = value[at : at + HEX_BYTES_A_LINE]
        text = "".join(chr(b) if 0x20 <= b < 0x7F else "." for b in part)  # noqa: PLR2004 - ASCII
        lines.append(f"{at:08x}  {part.hex(' '):<47}  {text}")
    return lines


def _end(rows: list[dict[str, Any]], limit: int) -> None:
    if not rows:
        notice("no dead letters")
    elif len(rows) > limit:
        notice(f"only the newest {limit}; --limit shows more, `sluice dead count` sums them up")
