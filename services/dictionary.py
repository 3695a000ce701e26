"""A contract in words: its fields with types and rules, for people and the data dictionary."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import annotated_types as at
from pydantic import Strict
from pydantic_core import PydanticUndefined

from schemas.contract import Contract
from schemas.rules import compile_rules
from schemas.table import column_type, columns_of
from schemas.types import Array, Decimal, Enum, Field, FieldType, Map, Record, Scalar

BOUNDS: tuple[tuple[type, str, str], ...] = (
    (at.Ge, "ge", ">= {}"),
    (at.Gt, "gt", "> {}"),
    (at.Le, "le", "<= {}"),
    (at.Lt, "lt", "< {}"),
    (at.MinLen, "min_length", "length >= {}"),
    (at.MaxLen, "max_length", "length <= {}"),
    (at.MultipleOf, "multiple_of", "a multiple of {}"),
)
ITS_TYPE = {"max_digits", "decimal_places"}  # the type says it already


@dataclass(frozen=True, slots=True)
class FieldFacts:
    """One field, in words."""

    name: str
    source: str  # its name in incoming JSON
    type: str
    column: str  # Snowflake's type
    required: bool
    nullable: bool
    rules: tuple[str, ...]
    roles: tuple[str, ...]  # key, version, business date
    description: str


def facts_of(contract: Contract) -> list[FieldFacts]:
    """Every field of the contract, in order."""
    return [
        FieldFacts(
            name=field.name,
            source=field.source,
            type=type_text(field.type),
            column=column_type(field.type),
            required=field.required,
            nullable=field.nullable,
            rules=tuple(_rules(field)),
            roles=tuple(_roles(contract, field.name)),
            description=field.info.description or "",
        )
        for field in contract.fields
    ]


def type_text(kind: FieldType) -> str:
    """A field's type in a few words."""
    match kind:
        case Scalar():
            return kind.value
        case Decimal(precision, scale):
            return f"decimal({precision}, {scale})"
        case Enum(_, symbols):
            return f"one of {', '.join(symbols)}"
        case Array(item, nullable, _):
            return f"list of {type_text(item)}{' or null' if nullable else ''}"
        case Map(value, nullable, _):
            return f"map to {type_text(value)}{' or null' if nullable else ''}"
        case Record(name, fields):
            return f"{name} {{{', '.join(f'{f.name}: {type_text(f.type)}' for f in fields)}}}"


def judging(contract: Contract) -> str:
    """How events are judged, and why row by row where they are."""
    reason = compile_rules(contract).by_row
    return f"row by row, which is slower: {reason}" if reason else "vectorised"


def summary(contract: Contract) -> dict[str, str]:
    """What the contract says about the stream as a whole; only what it says."""
    found = {
        "topic": contract.topic,
        "table": contract.table_name,
        "key": ", ".join(contract.key),
        "version": ", ".join(contract.version),
        "business date": contract.business_date or "",
        "mode": contract.mode.value,
        "dedupe window": duration(contract.dedupe_window) or "off",
        "owner": contract.owner,
        "SLA": duration(contract.sla) if contract.sla is not None else "",
        "judged": judging(contract),
    }
    return {name: text for name, text in found.items() if text}


def duration(span: timedelta) -> str:
    """``1 d``, ``36 h``, ``90 s``; empty for nothing."""
    seconds = span.total_seconds()
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds and seconds % size == 0:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:g} s" if seconds else ""


def dictionary_page(contract: Contract) -> str:
    """A Markdown page: the stream, its columns, and Sluice's own columns."""
    lines = [f"# {contract.stream}", ""]
    if contract.description:
        lines += [contract.description, ""]
    lines += [f"- {name}: {_code(name, text)}" for name, text in summary(contract).items()]
    lines += ["", "## Columns", "", *_row("column", "type", "null", "what", "rules")]
    lines.append("| --- | --- | --- | --- | --- |")
    for fact in facts_of(contract):
        what = " ".join(filter(None, (fact.description, _named(fact))))
        null = "yes" if fact.nullable or not fact.required else "no"
        rules = "; ".join(fact.rules)
        lines += _row(f"`{fact.name.upper()}`", f"`{fact.column}` {fact.type}", null, what, rules)
    lines += ["", "## Sluice's own columns", "", *_row("column", "type", "what")]
    lines.append("| --- | --- | --- |")
    own = {field.name for field in contract.fields}
    for column in columns_of(contract):
        if column.name not in own:
            lines += _row(f"`{column.name.upper()}`", f"`{column.type}`", column.comment)
    return "\n".join(lines) + "\n"


def _code(name: str, text: str) -> str:
    return f"`{text}`" if name in {"topic", "table", "key", "version", "business date"} else text


def _named(fact: FieldFacts) -> str:
    parts = [f"({role})" for role in fact.roles]
    if fact.source != fact.name:
        parts.append(f"(`{fact.source}` in JSON)")
    return " ".join(parts)


def _row(*cells: str) -> list[str]:
    return ["| " + " | ".join(c.replace("|", "\\|").replace("\n", " ") for c in cells) + " |"]


def _roles(contract: Contract, name: str) -> Iterator[str]:
    if name in contract.key:
        yield "key"
    if name in contract.version:
        yield "version"
    if name == contract.business_date:
        yield "business date"


def _rules(field: Field) -> Iterator[str]:
    if not field.required:
        default = field.info.get_default(call_default_factory=True, validated_data={})
        if default is not PydanticUndefined and default is not None:
            yield f"default {default!r}"
    for limit in field.info.metadata:
        yield from _limit(limit)


def _limit(limit: Any) -> Iterator[str]:  # noqa: ANN401 - any constraint
    for kind, attribute, text in BOUNDS:
        if isinstance(limit, kind):
            yield text.format(getattr(limit, attribute))
            return
    if isinstance(limit, Strict):
        return
    known = getattr(limit, "__dict__", {})
    for name, value in known.items():
        if value is None or name in ITS_TYPE:
            continue
        yield f"matches {value}" if name == "pattern" else f"{name.replace('_', ' ')} {value}"
    if not known:
        yield type(limit).__name__
