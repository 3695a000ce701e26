"""A first contract from samples: types by the values seen, for a person to review."""

import datetime as dt
import decimal
import json
import keyword
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from schemas.errors import SetupError
from schemas.types import DECIMAL_DIGITS_MAX

INT64 = range(-(2**63), 2**63)
PLACES_MAX = 6  # floats with more places than this are measurements, not amounts
DIGITS_USUAL = 18
MEMBERS_MAX = 8
MEMBER_RECORDS_MIN = 20  # fewer records say nothing about an enumeration
MEMBER_REPEATS_MIN = 5  # each member is seen this often on average
MEMBER = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,39}")
RECORD_FIELDS_MAX = 200
MAP_KEYS_MIN = 20  # an object whose many keys are rarely shared is a map
MAP_SHARE_MAX = 0.5
DEPTH_MAX = 6
DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
TIMESTAMP = re.compile(
    r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}([.,]\d{1,6})?)?(Z|[+-]\d{2}:?\d{2})?"
)
UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
JSON_VALUE = "JsonValue"
_TAKEN = frozenset(
    {
        *("dt", "Decimal", "UUID", "Literal", "Annotated", "Field", "BaseModel", "JsonValue"),
        *("str", "int", "float", "bool", "list", "Contract", "CONTRACT"),
    }
)
_TEXTS: tuple[tuple[str, re.Pattern[str], TypeAdapter[Any]], ...] = (
    ("UUID", UUID, TypeAdapter(uuid.UUID)),
    ("dt.date", DATE, TypeAdapter(dt.date)),
    ("dt.datetime", TIMESTAMP, TypeAdapter(dt.datetime)),
)


class Kind(StrEnum):
    """What JSON knows."""

    NULL = "null"
    BOOLEAN = "boolean"
    INTEGER = "integer"
    NUMBER = "number"
    TEXT = "text"
    LIST = "list"
    OBJECT = "object"


@dataclass(frozen=True, slots=True)
class Guess:
    """A field's type as Python text, with what a reviewer should know."""

    type: str
    note: str = ""
    constraint: str = ""  # arguments of Field(...)


@dataclass(frozen=True, slots=True)
class Member:
    """A field of a model."""

    name: str
    source: str  # its key in JSON
    guess: Guess
    optional: bool
    unique: bool  # no two records share its value

    @property
    def line(self) -> str:
        """The field in the model's body."""
        nullable = self.optional and self.guess.type != JSON_VALUE
        annotation = self.guess.type + (" | None" if nullable else "")
        parts = ["default=None"] if self.optional else []
        parts += [f"alias={_text(self.source)}"] if self.source != self.name else []
        parts += [self.guess.constraint] if self.guess.constraint else []
        value = f" = Field({', '.join(parts)})" if parts else ""
        if parts == ["default=None"]:
            value = " = None"
        return f"    {self.name}: {annotation}{value}" + (
            f"  # {self.guess.note}" if self.guess.note else ""
        )


@dataclass(slots=True)
class _Module:
    """The models of the file, innermost first."""

    names: set[str]  # taken, by models and by keys: a field may not hide a model
    models: list[str] = field(default_factory=list)

    def add(self, wanted: str, members: Sequence[Member]) -> str:
        """Another model; its name."""
        name, number = wanted, 1
        while name in self.names or name in _TAKEN:
            number += 1
            name = f"{wanted}Record{number if number > 2 else ''}"  # noqa: PLR2004 - the second has none
        self.names.add(name)
        body = "\n".join(member.line for member in members)
        self.models.append(f"class {name}(BaseModel):\n{body}")
        return name


def contract_text(stream: str, records: Sequence[Mapping[str, Any]], origin: str) -> str:
    """The source of a contract that every record fulfils. ``origin`` says where they are from.

    Numbers with a point must be Decimal, as :func:`services.samples.read_samples` gives them.
    Raises SetupError where no record has a field.
    """
    module = _Module(set(_keys(records)))
    members = _members(records, module, 0)
    if not members:
        raise SetupError(
            "no record has a field", where=origin, remedy="give samples with something in them"
        )
    model = module.add(_class_name(stream.rpartition(".")[2]), members)
    body = "\n\n\n".join(module.models)
    keys = [m.name for m in members if m.unique and not m.optional and _may_be_key(m)]
    keys.sort(key=lambda name: not re.search(r"(?i)(^|_)(id|uuid|number|no|key|code)$", name))
    dates = [m.name for m in members if m.guess.type in {"dt.date", "dt.datetime"}]
    lines = [
        f"CONTRACT = Contract(\n    stream={_text(stream)},\n    model={model},",
        *(
            f"    # key=({_text(name)},),  # unique in all {len(records)} records"
            for name in keys[:3]
        ),
        *(f"    # business_date={_text(name)},  # if it says when it happened" for name in dates),
        '    # owner="",  # whom to ask about this stream\n)\n',
    ]
    origin = re.sub(r"[^\w ./-]", "_", origin)
    head = f'"""{stream}, inferred from {len(records)} records of {origin}. Review before use."""\n'
    return f"{head}\n{_imports(body)}\n\n\n{body}\n\n\n" + "\n".join(lines)


def _keys(value: object) -> Iterator[str]:
    """Every key in a JSON value, at any depth."""
    if isinstance(value, Mapping):
        yield from value
        value = list(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            yield from _keys(item)


def _may_be_key(member: Member) -> bool:
    return member.guess.type in {"str", "int", "UUID"}


def _imports(body: str) -> str:
    standard = [
        text
        for word, text in (
            ("dt.", "import datetime as dt"),
            ("Decimal", "from decimal import Decimal"),
            ("Literal", "from typing import Literal"),
            ("UUID", "from uuid import UUID"),
        )
        if re.search(rf"\b{re.escape(word)}", body)
    ]
    names = [n for n in ("BaseModel", "Field", "JsonValue") if re.search(rf"\b{n}\b", body)]
    third = [f"from pydantic import {', '.join(names)}"]
    own = ["from schemas.contract import Contract"]
    return "\n\n".join("\n".join(block) for block in (standard, third, own) if block)


def _members(records: Sequence[Mapping[str, Any]], module: _Module, depth: int) -> list[Member]:
    columns: dict[str, list[Any]] = {}
    for record in records:
        for key, value in record.items():
            if not key:  # no field can stand for it; it stays in _extra
                continue
            columns.setdefault(key, []).append(value)
    names = _names(columns)
    return [_member(key, names[key], values, (len(records), module, depth))
            for key, values in columns.items()]  # fmt: skip


def _member(key: str, name: str, values: Sequence[Any], among: tuple[int, _Module, int]) -> Member:
    records, module, depth = among
    there = [value for value in values if value is not None]
    guess = _guess(key, there, module, depth)
    scalar = all(isinstance(value, str | int) for value in there)
    return Member(
        name=name,
        source=key,
        guess=guess,
        optional=len(there) < records,
        unique=scalar and len(set(there)) == records,
    )


def _guess(key: str, values: Sequence[Any], module: _Module, depth: int) -> Guess:
    kinds = {kind_of(value) for value in values}
    match sorted(kinds):
        case []:
            return Guess(JSON_VALUE, "always null in the samples")
        case [Kind.BOOLEAN]:
            return Guess("bool")
        case [Kind.INTEGER]:
            return _integers(values)
        case [Kind.NUMBER] | [Kind.INTEGER, Kind.NUMBER]:
            return _numbers(values)
        case [Kind.TEXT]:
            return _texts(values)
        case [Kind.LIST]:
            return _lists(key, values, module, depth)
        case [Kind.OBJECT]:
            return _objects(key, values, module, depth)
        case several:
            return Guess(JSON_VALUE, f"{' and '.join(several)} in the samples")


def kind_of(value: object) -> Kind:
    """The kind of a value of JSON."""
    match value:
        case None:
            return Kind.NULL
        case bool():
            return Kind.BOOLEAN
        case int():
            return Kind.INTEGER
        case float() | decimal.Decimal():
            return Kind.NUMBER
        case str():
            return Kind.TEXT
        case list():
            return Kind.LIST
        case _:
            return Kind.OBJECT


def _integers(values: Sequence[int]) -> Guess:
    if all(value in INT64 for value in values):
        return Guess("int")
    digits = max(len(str(abs(value))) for value in values)
    if digits > DECIMAL_DIGITS_MAX:
        return Guess(JSON_VALUE, f"integers of up to {digits} digits fit no column")
    return Guess("Decimal", constraint=f"max_digits={DECIMAL_DIGITS_MAX}, decimal_places=0")


def _numbers(values: Sequence[Any]) -> Guess:
    """Decimals where the places are few, as in amounts; floats otherwise."""
    exact = [decimal.Decimal(str(value)) for value in values]
    places = max(max(-int(value.as_tuple().exponent), 0) for value in exact)
    whole = max(len(str(int(abs(value)))) for value in exact)
    if places > PLACES_MAX or whole + places > DIGITS_USUAL:
        return Guess("float")
    digits = DIGITS_USUAL if whole + places <= DIGITS_USUAL - 4 else DECIMAL_DIGITS_MAX
    return Guess(
        "Decimal",
        f"at most {places} places seen; float, if it is no amount",
        f"max_digits={digits}, decimal_places={places}",
    )


def _texts(values: Sequence[str]) -> Guess:
    for name, pattern, adapter in _TEXTS:
        if all(pattern.fullmatch(value) for value in values) and _all_valid(adapter, values):
            return Guess(name)
    members = sorted(set(values))
    if (
        len(values) >= MEMBER_RECORDS_MIN
        and 2 <= len(members) <= MEMBERS_MAX  # noqa: PLR2004 - one value is a constant
        and len(members) * MEMBER_REPEATS_MIN <= len(values)
        and all(MEMBER.fullmatch(member) for member in members)
    ):
        listed = ", ".join(_text(member) for member in members)
        return Guess(f"Literal[{listed}]", "all that was seen; str, if there may be more")
    return Guess("str")


def _all_valid(adapter: TypeAdapter[Any], values: Sequence[str]) -> bool:
    try:
        for value in values:
            adapter.validate_python(value)
    except ValidationError:
        return False
    return True


def _lists(key: str, values: Sequence[list[Any]], module: _Module, depth: int) -> Guess:
    items = [item for value in values for item in value]
    if not items:
        return Guess(JSON_VALUE, "always an empty list in the samples")
    there = [item for item in items if item is not None]
    if not there or any(isinstance(item, list) for item in there):
        return Guess(JSON_VALUE, "lists of lists or nulls")
    inner = _guess(_singular(key), there, module, depth + 1)
    if inner.type == JSON_VALUE:
        return Guess(JSON_VALUE, f"lists: {inner.note}")
    if inner.constraint:  # a limit on items needs Annotated; without it the type still holds
        inner = Guess("float", "amounts? see Decimal")
    nullable = " | None" if len(there) < len(items) else ""
    return Guess(f"list[{inner.type}{nullable}]", inner.note)


def _objects(key: str, values: Sequence[dict[str, Any]], module: _Module, depth: int) -> Guess:
    keys = {name for value in values for name in value}
    share = sum(len(value) for value in values) / (len(keys) * len(values)) if keys else 0
    if not keys:
        return Guess(JSON_VALUE, "always an empty object in the samples")
    if depth >= DEPTH_MAX or len(keys) > RECORD_FIELDS_MAX:
        return Guess(JSON_VALUE, "too deep or too wide for a model")
    if len(keys) >= MAP_KEYS_MIN and share <= MAP_SHARE_MAX:
        return Guess(JSON_VALUE, f"a map of {len(keys)} keys rather than a model")
    members = _members(values, module, depth + 1)
    return Guess(module.add(_class_name(key), members) if members else JSON_VALUE)


def _names(keys: Iterable[str]) -> dict[str, str]:
    """A field name for every key: an identifier, free of what would be in the way."""
    found: dict[str, str] = {}
    used: set[str] = set()
    for key in keys:
        name = next(name for name in _candidates(key) if name.casefold() not in used)
        used.add(name.casefold())  # columns do not know upper from lower case
        found[key] = name
    return found


def _candidates(key: str) -> Iterator[str]:
    name = key if key.isascii() and key.isidentifier() else _snake(key)
    name = name.lstrip("_") or "field"
    if name[0].isdigit():
        name = f"field_{name}"
    if keyword.iskeyword(name) or name in _TAKEN or hasattr(BaseModel, name):
        name += "_"
    if name.startswith("model_"):
        name = f"the_{name}"
    yield name
    for number in range(2, RECORD_FIELDS_MAX * RECORD_FIELDS_MAX):
        yield f"{name.rstrip('_')}_{number}"


def _snake(key: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "_", key).strip("_").lower()


def _class_name(key: str) -> str:
    words = re.sub(r"[^A-Za-z0-9]+", " ", re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", key)).split()
    name = "".join(word[:1].upper() + word[1:] for word in words) or "Record"
    return f"Record{name}" if name[0].isdigit() else name


def _singular(key: str) -> str:
    return key[:-1] if len(key) > 3 and key.endswith("s") and not key.endswith("ss") else key  # noqa: PLR2004 - "ids" stays


def _text(value: str) -> str:
    """A string literal: JSON's are Python's too, as long as nothing beyond ASCII is escaped."""
    return json.dumps(value, ensure_ascii=False)
