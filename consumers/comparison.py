"""What a run's events say, as hashes: of their ids, their bodies and their fields."""

from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import polars as pl

from consumers.decode import Decoder, SchemaLookup
from consumers.dedupe import dedupe_keys, key_hashes
from consumers.judge import judge
from schemas import avro, exact_json
from schemas.columns import KEY, VALUE
from schemas.contract import Contract
from schemas.events import Partition, Run
from schemas.keys import Hashes, Integers
from schemas.rules import compile_rules
from schemas.types import Array, Decimal, Enum, FieldType, Map, Record, Scalar

SEED = 0x2545F4914F6CDD1D


@dataclass(frozen=True, slots=True)
class Copies:
    """Hashes of events' ids (128 bits) and bodies, parallel columns: 24 bytes an event."""

    h1: Hashes
    h2: Hashes
    body: Hashes

    def __len__(self) -> int:
        return int(self.h1.size)


@dataclass(frozen=True, slots=True)
class Events:
    """The events of a run that the loader would load or drop as duplicates, with their ids."""

    partition: Partition
    frame: pl.DataFrame  # the contract's columns and ours, as the next three
    offsets: Integers
    ids: pl.Series
    copies: Copies
    dead: int  # messages that are no event, or break the contract
    without_id: int  # events that are never duplicates


class Comparison:
    """A contract, compiled for comparing its events by their fields and ``_extra``."""

    def __init__(
        self, contract: Contract, lookup: SchemaLookup, ignored: frozenset[str] = frozenset()
    ) -> None:
        self._contract = contract
        self._decoder = Decoder(contract, lookup)
        self._rules = compile_rules(contract)
        self._kinds = {n: k for n, k in compared(contract).items() if n not in ignored}

    @property
    def names(self) -> tuple[str, ...]:
        """The fields that are compared."""
        return tuple(self._kinds)

    def events(self, run: Run) -> Events:
        """The events of a run. Raises TransientError when a schema cannot be looked up now."""
        decoded = self._decoder.decode(run.values)
        frame = decoded.frame
        rows = decoded.rows if decoded.rows is not None else np.arange(len(run))
        keep = np.ones(frame.height, dtype=np.bool_)
        keep[[broken.row for broken in judge(frame, self._rules)]] = False
        ids = dedupe_keys(self._contract, frame)
        without_id = int((ids.is_null().to_numpy() & keep).sum())
        keep &= ids.is_not_null().to_numpy()
        if not keep.all():
            frame, rows, ids = frame.filter(pl.Series(keep)), rows[keep], ids.filter(keep)
        keys = key_hashes(ids)
        return Events(
            partition=run.partition,
            frame=frame,
            offsets=run.offsets[rows],
            ids=ids,
            copies=Copies(keys.h1, keys.h2, self._hashed(frame).hash_rows(SEED).to_numpy()),
            dead=len(run) - frame.height - without_id,
            without_id=without_id,
        )

    def hashes(self, frame: pl.DataFrame) -> npt.NDArray[np.uint64]:
        """One column a name of :attr:`names`: equal where the field says the same."""
        return self._hashed(frame).to_numpy()

    def _hashed(self, frame: pl.DataFrame) -> pl.DataFrame:
        return pl.DataFrame(
            [canonical(frame[name], kind).hash(SEED) for name, kind in self._kinds.items()]
        )


def compared(contract: Contract) -> dict[str, FieldType]:
    """What an event says: the contract's fields, and those that it does not know."""
    own: dict[str, FieldType] = {field.name: field.type for field in contract.fields}
    return own | {avro.EXTRA: Scalar.JSON}


def canonical(column: pl.Series, kind: FieldType) -> pl.Series:
    """The column in a form that is equal exactly where its values say the same.

    Only of JSON and maps can one value be written in several ways; what holds any of them costs
    some microseconds a value, everything else nothing.
    """
    if not _ambiguous(kind):
        return column
    texts = [None if value is None else repr(_said(kind, value)) for value in column.to_list()]
    return pl.Series(column.name, texts, dtype=pl.String)


def _ambiguous(kind: FieldType) -> bool:
    match kind:
        case Scalar():
            return kind is Scalar.JSON
        case Decimal() | Enum():
            return False
        case Array(item, _, _):
            return _ambiguous(item)
        case Map():
            return True
        case Record():
            return any(_ambiguous(field.type) for field in kind.fields)


def _said(kind: FieldType, value: Any) -> Any:  # noqa: ANN401 - a value of any column
    """The value with JSON's keys and maps' entries in order."""
    if value is None:
        return None
    match kind:
        case Scalar():
            return _sorted_json(value) if kind is Scalar.JSON else value
        case Decimal() | Enum():
            return value
        case Array(item, _, _):
            return [_said(item, part) for part in value]
        case Map(inner, _, _):
            entries = ((entry[KEY], _said(inner, entry[VALUE])) for entry in value)
            return sorted(entries, key=itemgetter(0))
        case Record(_, fields):
            return [_said(field.type, value[field.name]) for field in fields]


def _sorted_json(text: str) -> str:
    try:
        return exact_json.dumps(exact_json.loads(text), orjson.OPT_SORT_KEYS).decode()
    except (ValueError, TypeError):  # no JSON, or too deep to be written again: as it is
        return text
