"""One record at a time, through fastavro: for what comes singly, and for maps."""

import io
from typing import Any

import fastavro

from schemas import avro


class RecordWriter:
    """Writes single records as messages of one wire schema."""

    def __init__(self, schema: avro.Schema, schema_id: int) -> None:
        self._schema = fastavro.parse_schema(schema)
        self._header = avro.wire_header(schema_id)

    def write(self, value: dict[str, Any]) -> bytes:
        """Header and record. Raises ValueError, TypeError or OverflowError on a misfit."""
        out = io.BytesIO(self._header)
        out.seek(len(self._header))
        fastavro.schemaless_writer(out, self._schema, value)
        return out.getvalue()
