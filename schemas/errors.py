"""Why an event is rejected, and the two kinds of failure that are not a bug.

Errors are classed by what one does about them (``services.run`` acts on the class, nobody else):

* data: never an exception, but a verdict with a :class:`RejectReason`;
* setup: :class:`SetupError`, somebody has to change something;
* transient: :class:`TransientError`, time heals it;
* anything else is a bug: the process stops without committing.
"""

from enum import StrEnum

from typing_extensions import override

REMEDY = "\n  What to do: "  # between an error's text and its remedy


class Stage(StrEnum):
    """The step at which an event left the path."""

    ENCODE = "encode"  # at the gateway or the poller, before the log
    DECODE = "decode"  # at the loader: the bytes could not be read
    JUDGE = "judge"  # at the loader: the contract was broken
    LOAD = "load"  # at the loader: its table does not take the row


class RejectReason(StrEnum):
    """A low-cardinality code: metric label, dead letter field and filter at once."""

    NOT_JSON = "not_json"  # the body or the line is not JSON
    NOT_AN_OBJECT = "not_an_object"  # JSON, but not an object
    TOO_DEEP = "too_deep"  # nested deeper than the gateway's limit
    TOO_MANY_KEYS = "too_many_keys"  # more keys than the gateway's limit
    WRONG_TYPE = "wrong_type"  # a value that cannot become its field's type
    OVERSIZED = "oversized"  # larger than the log, the column or a limit on one key takes
    NO_STREAM = "no_stream"  # the source names a stream that does not exist
    PLUGIN_FAILED = "plugin_failed"  # a source plug-in raised on this payload
    NULL_VALUE = "null_value"  # a message without a value
    BAD_FRAME = "bad_frame"  # no magic byte, or shorter than its header
    UNKNOWN_SCHEMA = "unknown_schema"  # a schema id that nobody knows
    UNDECODABLE = "undecodable"  # the bytes do not fit the schema
    MISSING = "missing"  # a required field is absent or null
    OUT_OF_RANGE = "out_of_range"  # a number, date or length beyond its bounds
    PATTERN = "pattern"  # a string that its pattern refuses
    NOT_A_MEMBER = "not_a_member"  # a value outside its enumeration
    INVALID = "invalid"  # any other rule of the contract
    UNLOADABLE = "unloadable"  # keeps the contract, but the table is narrower: by type or NOT NULL


class SluiceError(Exception):
    """Any failure that says what, where and what to do next."""

    def __init__(self, what: str, *, where: str = "", remedy: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.remedy = remedy

    @override
    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        remedy = f"{REMEDY}{self.remedy}" if self.remedy else ""
        return f"{place}{self.what}{remedy}"


class SetupError(SluiceError):
    """Somebody has to change a setting, a grant or a contract; retrying alone will not help."""


class TransientError(SluiceError):
    """It may work in a moment; ``retry_after`` is the other side's own wish, in seconds."""

    def __init__(
        self, what: str, *, where: str = "", remedy: str = "", retry_after: float | None = None
    ) -> None:
        super().__init__(what, where=where, remedy=remedy)
        self.retry_after = retry_after


class FencedError(TransientError):
    """Another loader owns the partition, or the ledger stands elsewhere: claim again."""


class RefusedError(SetupError):
    """The target takes some rows of a batch and refuses others; nothing of it was loaded.

    ``rows``: the places of the refused ones in the plan's frame, ascending; at least one.
    ``column``: of the first of them, in the target's spelling. ``told``: what the warehouse says
    of it, without values of events.
    """

    def __init__(self, cause: SetupError, rows: tuple[int, ...], column: str, told: str) -> None:
        super().__init__(cause.what, where=cause.where, remedy=cause.remedy)
        self.rows = rows
        self.column = column
        self.told = told


class UnclaimableError(SetupError):
    """Nothing was claimed, for what the warehouse says of these ``partitions``, topic and number.

    The others can be claimed without them.
    """

    def __init__(
        self, what: str, partitions: frozenset[tuple[str, int]], *, where: str, remedy: str
    ) -> None:
        super().__init__(what, where=where, remedy=remedy)
        self.partitions = partitions


class OversizedError(SluiceError):
    """A record that the log will not take, ever: a data matter, so make it a dead letter.

    ``index`` is its place among the records given. None of them counts as published: publish
    the others again without it.
    """

    def __init__(self, what: str, *, index: int, where: str = "", remedy: str = "") -> None:
        super().__init__(what, where=where, remedy=remedy)
        self.index = index


class ContractError(SetupError):
    """A contract that cannot be compiled; ``where`` names stream and field."""
