"""The connector's errors, classed by what one does about them: the only place that looks."""

import re
from typing import Final

from snowflake.connector import errors

from schemas.errors import SetupError, TransientError

PLACE = "snowflake"
LINES_MAX = 4
CHARS_MAX = 500
_TWICE: Final = re.compile(r"^(\d{6} \(\w{5}\): )\1")  # the number, by server and connector

_OF_A_VALUE: Final = re.compile(r"conver|not recognized|out of range|too long", re.IGNORECASE)
# what is an event's, and not for logs: from the first quote to the last, and what has none
_QUOTED: Final = re.compile(r"'.*'|'.*\Z", re.DOTALL)
_BARE: Final = re.compile(r"(?<=value )(?!'\.\.\.')(?:.*(?= to )|(?!is\b)\S+)", re.DOTALL)

# errno: what to do. Numbers as in Snowflake's error messages, without leading zeros.
_SETUP: Final = {
    8: "send one statement at a time",
    904: "a column is missing: run `sluice apply`, or compare table and contract",
    1003: "report this statement: it is not valid on this warehouse",
    2003: "create the object (`sluice apply`), or grant the role access to it",
    2043: "create the object (`sluice apply`), or grant the role access to it",
    3001: "grant the role the privilege that the message names",
    606: "grant the role USAGE on the warehouse and name it in snowflake.warehouse",
    2141: "grant the role USAGE on the warehouse and name it in snowflake.warehouse",
    90073: "the resource monitor's quota is used up: raise it or wait for its next period",
    90105: "create the database, or grant the role USAGE on it",
    90106: "create the schema, or grant the role USAGE on it",
    390100: "check snowflake.user and its secret",
    390101: "check snowflake.user and its secret",
    390102: "the user is disabled: enable it",
    390144: "register this key's public half: ALTER USER ... SET RSA_PUBLIC_KEY",
    390186: "grant the role to the user",
    390189: "check snowflake.role",
    390303: "the OAuth token is not valid: renew it",
    390318: "the OAuth token has expired: renew it",
    390422: "allow this address in the account's network policy",
    390432: "allow this address in the account's network policy",
}
_TRANSIENT: Final = frozenset(
    {
        603,  # internal error
        604,  # cancelled
        608,  # the warehouse is being suspended or resumed
        609,
        610,  # deadlock; the stand-in: another transaction changed the same rows
        625,  # locked for longer than LOCK_TIMEOUT; or a statement after a failed one
        630,  # statement time-out
        707,  # a result or table changed under the statement
        90001,
        253003,  # a staged file could not be uploaded
        390110,
        390111,
        390112,  # session gone
        390114,  # token expired
        390195,  # id token invalid
        390201,
    }
)
_CONNECTION: Final = frozenset({250001, 250002, 250003, 250005, 250006, 290401, 390103, 390104})
_TRANSIENT_STATES: Final = ("08", "40", "53", "57", "58", "XX")  # classes of SQLSTATE
_DATA: Final = range(100_000, 101_000)


class MisfitError(SetupError):
    """A value does not fit its column."""


def translated(error: errors.Error, doing: str) -> TransientError | SetupError:
    """What to raise from a connector's error. ``doing`` is a phrase such as ``COPY``."""
    number = error.errno
    text = f"{doing}: {_message(error)}"
    if number in _SETUP:
        return SetupError(text, where=PLACE, remedy=_SETUP[number])
    if number in _TRANSIENT or lost_connection(error):
        return TransientError(text, where=PLACE)
    if number in _DATA:
        return MisfitError(
            text,
            where=PLACE,
            remedy="a value does not fit its column: compare the contract with the table",
        )
    if (error.sqlstate or "").startswith(_TRANSIENT_STATES):
        return TransientError(text, where=PLACE)
    return _by_class(error, text)


def lost_connection(error: errors.Error) -> bool:
    """Whether the session is gone, or was never there, so that a ROLLBACK would hang or fail."""
    state = error.sqlstate or ""
    return error.errno in _CONNECTION or state.startswith("08") or _by_io(error)


def _by_io(error: errors.Error) -> bool:
    return isinstance(error, errors.OperationalError | errors.InterfaceError)


_OURS: Final = (errors.ProgrammingError, errors.NotSupportedError, errors.IntegrityError)


def _by_class(error: errors.Error, text: str) -> TransientError | SetupError:
    if isinstance(error, _OURS):
        return SetupError(
            text, where=PLACE, remedy="look the number up in Snowflake's documentation"
        )
    return TransientError(text, where=PLACE)


def without_values(text: str) -> str:
    """The text of an error of a value, without the value: it may be quoted, or stand bare."""
    return _BARE.sub("'...'", _QUOTED.sub("'...'", text))


def _message(error: errors.Error) -> str:
    text = str(error.msg or error)
    if error.errno in _DATA or _OF_A_VALUE.search(text):
        text = without_values(text)  # before it is cut, which may part a quote from its end
    lines = text.splitlines()
    text = " ".join(line.strip() for line in lines[:LINES_MAX])[:CHARS_MAX]
    return _TWICE.sub(r"\1", text)
