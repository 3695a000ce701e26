"""What a run's events say, as hashes: of their ids, their bodies and their fields."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import polars as pl

from consumers.reading.decode import Decoder, SchemaLookup
from consumers.reading.dedupe import dedupe_keys, key_hashes
from consumers.reading.judge import judge
from schemas import avro, exact_json
from schemas.columns import KEY, VALUE
from schemas.contract import Contract, Raw
from schemas.events import Partition, Run
from schemas.keys import Hashes, Integers
from schemas.pointers import NOTHING, Tree, tree_of, without
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
    """A contract, compiled for comparing its events by their fields and ``_extra``.

    What is ignored are fields, or JSON pointers into the records as they came.
    """

    def __init__(
        self, contract: Contract, lookup: SchemaLookup, ignored: frozenset[str] = frozenset()
    ) -> None:
        self._contract = contract
        self._decoder = Decoder(contract, lookup)
        self._rules = compile_rules(contract)
        left_out = _left_out(contract, tree_of(n for n in ignored if n.startswith("/")))
        self._kinds = {
            name: (kind, below)
            for name, kind in compared(contract).items()
            if name not in ignored and (below := left_out.get(name, NOTHING)) is not None
        }

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
            [canonical(frame[name], *kind).hash(SEED) for name, kind in self._kinds.items()]
        )


def _left_out(contract: Contract, tree: Tree) -> Tree:
    """What is left out of each column: a record came with the sources' names of its fields."""
    if contract.model is Raw:
        return {"payload": tree, avro.EXTRA: tree}
    return {f.name: tree.get(f.source, NOTHING) for f in contract.fields} | {avro.EXTRA: tree}


def compared(contract: Contract) -> dict[str, FieldType]:
    """What an event says: the contract's fields, and those that it does not know."""
    own: dict[str, FieldType] = {field.name: field.type for field in contract.fields}
    return own | {avro.EXTRA: Scalar.JSON}


def canonical(column: pl.Series, kind: FieldType, left_out: Tree = NOTHING) -> pl.Series:
    """The column in a form that is equal exactly where the rest of its values says the same.

    Only of JSON and maps can one value be written in several ways; what holds any of them costs
    some microseconds a value, everything else nothing.
    """
    if not _ambiguous(kind) and not left_out:
        return column
    said = [_said(kind, value, left_out) for value in column.to_list()]
    texts = [None if value is None else repr(value) for value in said]
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


def _said(kind: FieldType, value: Any, left_out: Tree) -> Any:  # noqa: ANN401 - of any column
    """The value with JSON's keys and maps' entries in order, without what is left out."""
    if value is None:
        return None
    match kind:
        case Scalar():
            return _sorted_json(value, left_out) if kind is Scalar.JSON else value
        case Decimal() | Enum():
            return value
        case Array(item, _, _):
            places = _kept((str(n) for n in range(len(value))), left_out)
            return [_said(item, value[int(place)], below) for place, below in places]
        case Map(inner, _, _):
            entries = {entry[KEY]: entry[VALUE] for entry in value}
            kept = _kept(sorted(entries), left_out)
            return [(key, _said(inner, entries[key], below)) for key, below in kept]
        case Record(_, fields):
            names = {field.source: field for field in fields}
            kept = _kept(names, left_out)
            return [_said(names[n].type, value[names[n].name], below) for n, below in kept]


def _kept(names: Iterable[str], tree: Tree) -> list[tuple[str, Tree]]:
    """The names that are not left out as a whole, with what is left out below."""
    return [(n, below) for n in names if (below := tree.get(n, NOTHING)) is not None]


def _sorted_json(text: str, left_out: Tree) -> str:
    try:
        value = without(exact_json.loads(text), left_out)
        return exact_json.dumps(value, orjson.OPT_SORT_KEYS).decode()
    except (ValueError, TypeError):  # no JSON, or too deep to be written again: as it is
        return text
