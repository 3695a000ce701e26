"""Which rows of a batch its target refuses: told by a COPY that goes on and is rolled back."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from schemas import table
from schemas.errors import RefusedError, SetupError, TransientError
from schemas.events import LoadPlan
from services.adapters.snowflake.errors import CHARS_MAX, without_values

_ROWS_LOADED, _FIRST_ERROR, _FIRST_COLUMN = 3, 6, 9  # positions in a result row
_COLUMN: Final = re.compile(r'\["?([^":\]]+)"?:\d+\]')  # of "SHOP_ORDERS"["AMOUNT":2]
_PLACE = (table.PARTITION, table.OFFSET)


@dataclass(frozen=True, slots=True)
class Told:
    """What COPY with ON_ERROR=CONTINUE answers of its one file."""

    loaded: int
    column: str = ""  # of the first error
    error: str = ""  # the first, without values of events

    @classmethod
    def of(cls, rows: Sequence[Sequence[Any]]) -> "Told":
        """Read the answer; one without a file has loaded nothing."""
        files = [row for row in rows if len(row) > _FIRST_COLUMN]
        if len(files) != 1:
            return cls(0)
        (row,) = files
        place = str(row[_FIRST_COLUMN] or "")
        named = _COLUMN.search(place)
        return cls(
            int(row[_ROWS_LOADED]),
            named.group(1) if named else place,
            without_values(str(row[_FIRST_ERROR] or ""))[:CHARS_MAX],
        )


def refusal(
    plan: LoadPlan, told: Told, there: Sequence[Sequence[Any]], error: SetupError
) -> SetupError | TransientError:
    """What to raise for a COPY that failed with ``error``.

    ``there``: partition and offset of the batch's rows that the COPY which goes on has loaded.
    The two must agree, and every row of the file is either there or refused.
    """
    loaded = {(int(row[0]), int(row[1])) for row in there}
    places = plan.frame.select(_PLACE).iter_rows()
    refused = tuple(row for row, place in enumerate(places) if place not in loaded)
    if len(there) != told.loaded or len(refused) + len(there) != plan.rows:
        return SetupError(
            f"{error.what}; of its {plan.rows} rows COPY would load {told.loaded}, and "
            f"{len(there)} are there: the refused ones cannot be told",
            where=error.where,
            remedy=error.remedy,
        )
    if not refused:
        return TransientError(f"{error.what}; but now every row fits", where=error.where)
    return RefusedError(error, refused, told.column, told.error)
