"""A contract as a Snowflake table: its columns, its DDL, and the projection that COPY loads by."""

from collections.abc import Iterable
from dataclasses import dataclass

from schemas import avro
from schemas.contract import Contract
from schemas.sql import identifier, literal, quoted
from schemas.types import Array, Decimal, Enum, FieldType, Map, Record, Scalar

PARTITION, OFFSET, TOPIC, BATCH, LOADED_AT = (
    "_partition",
    "_offset",
    "_topic",
    "_batch",
    "_loaded_at",
)

VARIANT = "VARIANT"
TIME = "TIME(6)"
_TYPES: dict[Scalar, str] = {
    Scalar.BOOLEAN: "BOOLEAN",
    Scalar.INTEGER: "NUMBER(38,0)",
    Scalar.FLOAT: "FLOAT",
    Scalar.STRING: "VARCHAR",
    Scalar.BYTES: "BINARY",
    Scalar.DATE: "DATE",
    Scalar.TIME: TIME,
    Scalar.TIMESTAMP: "TIMESTAMP_NTZ(6)",
    Scalar.UUID: "VARCHAR",
    Scalar.JSON: VARIANT,
}


@dataclass(frozen=True, slots=True)
class Column:
    """One column: ``name`` as the field is called, ``type`` in Snowflake's words."""

    name: str
    type: str
    in_file: bool = True  # False: the same for a whole batch, a constant of the COPY
    comment: str = ""

    @property
    def sql_name(self) -> str:
        """The quoted name."""
        return identifier(self.name)


LINEAGE = (
    Column(TOPIC, "VARCHAR", in_file=False, comment="The topic that it was on."),
    Column(PARTITION, "NUMBER(38,0)", comment="Its partition there."),
    Column(OFFSET, "NUMBER(38,0)", comment="Its offset there."),
    Column(BATCH, "VARCHAR", in_file=False, comment="The batch that loaded it; see SLUICE_LEDGER."),
    Column(
        LOADED_AT,
        "TIMESTAMP_NTZ(6)",
        in_file=False,
        comment="LOADEDON: when it was loaded, UTC. Not when it happened.",
    ),
)
"""What the loader adds to every row."""


def column_type(kind: FieldType) -> str:
    """Snowflake's type of a field."""
    match kind:
        case Scalar():
            return _TYPES[kind]
        case Decimal(precision, scale):
            return f"NUMBER({precision},{scale})"
        case Enum():
            return "VARCHAR"
        case Array() | Map() | Record():
            return VARIANT


def columns_of(contract: Contract) -> tuple[Column, ...]:
    """All columns of a stream's table, in order."""
    own = tuple(
        Column(f.name, column_type(f.type), comment=f.info.description or "")
        for f in contract.fields
    )
    system = tuple(
        Column(name, column_type(kind), comment=avro.ABOUT[name])
        for name, kind in avro.system_fields(contract).items()
        if name != avro.RAW or contract.load_raw
    )
    return (*own, *system, *LINEAGE)


def create_table(contract: Contract) -> str:
    """The DDL. No constraints: Snowflake would not enforce them, the judge has."""
    lines = ",\n  ".join(f"{c.sql_name} {c.type}{_comment(c)}" for c in columns_of(contract))
    return f"CREATE TABLE IF NOT EXISTS {identifier(contract.table_name)} (\n  {lines}\n)"


def _comment(column: Column) -> str:
    return f" COMMENT {literal(column.comment)}" if column.comment else ""


def add_columns(contract: Contract, present: Iterable[str]) -> list[str]:
    """The ALTERs that bring a table with these columns up to date; it never drops one."""
    there = {name.upper() for name in present}
    return [
        f"ALTER TABLE {identifier(contract.table_name)} ADD COLUMN {c.sql_name} {c.type}"
        for c in columns_of(contract)
        if c.name.upper() not in there
    ]


_ALL_OR_NOTHING = "ON_ERROR=ABORT_STATEMENT"


def copy_into(contract: Contract, staged: str, constants: dict[str, str]) -> str:
    """The COPY of one staged Parquet file. ``constants`` are SQL texts, such as of ``_batch``."""
    columns = columns_of(contract)
    names = ", ".join(c.sql_name for c in columns)
    projection = ", ".join(
        _projected(c) if c.in_file else f"{constants[c.name]}::{c.type}" for c in columns
    )
    return (
        f"COPY INTO {identifier(contract.table_name)} ({names}) "
        f"FROM (SELECT {projection} FROM {staged}) "
        "FILE_FORMAT=(TYPE=PARQUET USE_LOGICAL_TYPE=TRUE BINARY_AS_TEXT=FALSE) "
        f"{_ALL_OR_NOTHING}"
    )


def going_on(copy_sql: str) -> str:
    """The same COPY, which loads what fits, whatever COPY's metadata says: for a look only."""
    return f"{copy_sql.replace(_ALL_OR_NOTHING, 'ON_ERROR=CONTINUE')} FORCE=TRUE"


def _projected(column: Column) -> str:
    element = f"$1:{quoted(column.name)}"
    if column.type == VARIANT:
        return f"PARSE_JSON({element}::VARCHAR)"
    if column.type == TIME:
        return f"{element}::VARCHAR::{TIME}"  # text in the file: Parquet's times differ in unit
    return f"{element}::{column.type}"
