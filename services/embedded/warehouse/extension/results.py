"""Result sets: NULL timestamps stay NULL, and old results are forgotten."""

from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]  # ships no types
from fakesnow.arrow import timestamp_to_sf_struct as without_nulls
from typing_extensions import override

RESULTS_MAX = 16


class BoundedResults(dict[str, tuple[Any, ...]]):
    """The results by query id; the oldest goes when there are more than ``RESULTS_MAX``."""

    @override
    def __setitem__(self, query_id: str, result: tuple[Any, ...]) -> None:
        super().__setitem__(query_id, result)
        while len(self) > RESULTS_MAX:
            del self[next(iter(self))]


def timestamps_with_nulls(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Snowflake's struct form of a timestamp column; fakesnow alone sends NULL as 1970-01-01."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if not array.null_count:
        return without_nulls(array)
    struct = without_nulls(array.fill_null(0))
    return pa.StructArray.from_arrays(
        struct.flatten(), fields=list(struct.type), mask=array.is_null()
    )
