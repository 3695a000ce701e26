"""The columns that the warehouse's tables have, beside those that contracts ask for."""

from collections.abc import Iterator, Mapping
from typing import Any

from schemas.contract import Contract
from schemas.ports import Warehouse
from schemas.table import columns_of

TEXT_CHARS_MAX = 16_777_216  # of a VARCHAR without a length
CATALOGUE = {"VARCHAR": "TEXT"}  # how the catalogue calls a type, where it is not by its name
BY_HAND = (
    "give the contract another field or table name, or convert the column by hand "
    "while no loader runs"
)
Columns = Mapping[str, Mapping[str, Any]]
"""The catalogue's row of every column of a table, by its name."""


def columns_there(warehouse: Warehouse) -> dict[str, dict[str, dict[str, Any]]]:
    """Tables, their columns, and what the catalogue says of each."""
    rows = warehouse.rows(
        "SELECT TABLE_NAME, COLUMN_NAME, DATA_TYPE, NUMERIC_PRECISION, NUMERIC_SCALE, "
        "CHARACTER_MAXIMUM_LENGTH, IS_NULLABLE "
        "FROM INFORMATION_SCHEMA.COLUMNS WHERE TABLE_SCHEMA = CURRENT_SCHEMA() "
        "ORDER BY TABLE_NAME, ORDINAL_POSITION"
    )
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["table_name"], {})[str(row["column_name"]).upper()] = row
    return found


def missing(contract: Contract, there: Columns) -> Iterator[str]:
    """The columns that a contract asks for and its table lacks."""
    yield from (c.name.upper() for c in columns_of(contract) if c.name.upper() not in there)


def misfits(contract: Contract, there: Columns) -> Iterator[str]:
    """The columns that cannot hold what the contract allows, a sentence each."""
    nullable = {field.name for field in contract.fields if field.nullable}
    for column in columns_of(contract):
        found = there.get(column.name.upper())
        place = f"{contract.table_name}.{column.name.upper()}"
        if found is not None and not fits(column.type, found):
            yield f"{place} is {_called(found)}, the contract says {column.type}"
        elif found is not None and column.name in nullable and found.get("is_nullable") == "NO":
            yield f"{place} is NOT NULL, the contract allows null"


def fits(wanted: str, there: Mapping[str, Any]) -> bool:
    """Whether a column holds every value of the type ``wanted``; ``there`` is its catalogue row."""
    kind, _, digits = wanted.partition("(")
    if str(there["data_type"]).partition("(")[0].upper() not in {kind, CATALOGUE.get(kind, kind)}:
        return False
    if kind == "VARCHAR":
        return int(there.get("character_maximum_length") or TEXT_CHARS_MAX) >= TEXT_CHARS_MAX
    if kind != "NUMBER" or there["numeric_precision"] is None:
        return True
    precision, scale = (int(part) for part in digits.rstrip(")").split(","))
    has_precision, has_scale = int(there["numeric_precision"]), int(there["numeric_scale"])
    return has_scale >= scale and has_precision - has_scale >= precision - scale


def _called(there: Mapping[str, Any]) -> str:
    if there["data_type"] == "NUMBER" and there["numeric_precision"] is not None:
        return f"NUMBER({there['numeric_precision']},{there['numeric_scale']})"
    length = there.get("character_maximum_length")
    if length and int(length) < TEXT_CHARS_MAX:
        return f"VARCHAR({length})"
    return str(there["data_type"])
