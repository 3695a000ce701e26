"""One Avro record by fastavro, whatever somebody wrote: values, or an error that can be caught."""

import io
from decimal import Context, Decimal
from typing import Any

import fastavro
from fastavro import _read_py  # there is no other name for it
from fastavro.read import LOGICAL_READERS
from fastavro.schema import SchemaParseException

from schemas import avro
from schemas.foreign import (
    DECIMAL,
    DECIMAL_BYTES_MAX,
    DIGITS_MAX,
    for_records,
    holds_itself,
    takes_bytes,
)

POISON = (ValueError, TypeError, EOFError, LookupError, ArithmeticError, RecursionError)
"""What reading or converting somebody's record raises, if the record is to blame."""

_EXACT = Context(prec=DIGITS_MAX)


class RecordReader:
    """Reads messages of one writer schema. Raises ValueError for what is no schema.

    Schemas that hold themselves are read by Python: their messages nest as deep as somebody likes,
    and fastavro's native reader would overflow the stack, which ends the process.
    """

    def __init__(self, schema: avro.Schema) -> None:
        try:
            self._schema: Any = fastavro.parse_schema(for_records(schema))
        except SchemaParseException as error:
            raise ValueError(str(error)) from error
        takes_bytes(self._schema, {})
        native = not holds_itself(self._schema)
        self._read = fastavro.schemaless_reader if native else _read_py.schemaless_reader

    def read(self, value: bytes) -> dict[str, Any]:
        """The record behind a message's header. Raises POISON, ValueError for bytes left over."""
        stream = io.BytesIO(value)
        stream.seek(avro.HEADER.size)
        record: Any = self._read(stream, self._schema, None)
        if stream.tell() != len(value):
            raise ValueError(f"{len(value) - stream.tell()} bytes left over after the record")
        return record  # type: ignore[no-any-return] # a record schema gives a dict


def _decimal(data: bytes, schema: Any, _: object = None) -> Decimal:  # noqa: ANN401 - JSON
    """Every digit. Raises ValueError for absurdly many: the conversion takes their square."""
    if len(data) > DECIMAL_BYTES_MAX:
        raise ValueError(f"a decimal of {len(data)} bytes, more than {DECIMAL_BYTES_MAX}")
    number = Decimal(int.from_bytes(data, "big", signed=True))
    return number.scaleb(-schema.get("scale", 0), _EXACT)


for _base in ("bytes", "fixed"):  # fastavro's own rounds, and takes minutes for a megabyte
    LOGICAL_READERS[f"{_base}-{DECIMAL}"] = _decimal
