"""What an answer's body says of failure: GraphQL reports its errors with status 200."""

from enum import Enum, auto
from typing import Any, NamedTuple

import orjson
from pydantic import BaseModel, ConfigDict, Field

from producers.content import FieldPointer
from producers.exchange import Response, at
from producers.limits import RateHeaders, failure, wish
from schemas.errors import SetupError, SluiceError, TransientError

_CODE_CHARS_MAX = 64


class Cause(Enum):
    """What one does about it; of several errors the first of these counts."""

    SETUP = auto()  # somebody has to change the query, its variables or a grant
    UNAUTHENTICATED = auto()  # another token may do
    RATE_LIMITED = auto()  # the allowance is used up
    TRANSIENT = auto()  # time heals it


_USUAL = {
    Cause.RATE_LIMITED: (
        *("THROTTLED", "RATE_LIMITED", "RATELIMITED", "RATE_LIMIT_EXCEEDED", "TOO_MANY_REQUESTS"),
    ),
    Cause.TRANSIENT: (
        *("INTERNAL_SERVER_ERROR", "INTERNAL_ERROR", "SERVICE_UNAVAILABLE", "TIMEOUT"),
    ),
    Cause.UNAUTHENTICATED: ("UNAUTHENTICATED", "AUTHENTICATION_ERROR"),
    Cause.SETUP: (
        *("FORBIDDEN", "ACCESS_DENIED", "BAD_USER_INPUT", "MAX_COST_EXCEEDED"),
        *("GRAPHQL_PARSE_FAILED", "GRAPHQL_VALIDATION_FAILED"),
    ),
}


def _besides(cause: Cause) -> str:
    return "besides " + ", ".join(_USUAL[cause])


class AnswerErrors(BaseModel):
    """What in an answer says that the request failed, whatever its status.

    Nothing of such an answer is published, partial data neither. An error without a known code
    is transient where it has a ``path`` (GraphQL ran the query and that field failed); without
    one the request itself was refused, and somebody has to change it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    at: FieldPointer = Field(
        default="/errors",
        description="JSON pointer to the errors: a list, one error, or a code; absent, null, "
        "false and empty mean that there are none.",
    )
    code: FieldPointer = Field(
        default="/extensions/code", description="JSON pointer in an error to its code."
    )
    rate_limited: tuple[str, ...] = Field(
        default=(),
        description=f"Codes of a used up allowance, {_besides(Cause.RATE_LIMITED)}.",
    )
    transient: tuple[str, ...] = Field(
        default=(), description=f"Codes that time heals, {_besides(Cause.TRANSIENT)}."
    )
    unauthenticated: tuple[str, ...] = Field(
        default=(),
        description="Codes for which secret or token are fetched again, once, as after a 401, "
        f"{_besides(Cause.UNAUTHENTICATED)}.",
    )
    setup: tuple[str, ...] = Field(
        default=(),
        description=f"Codes for which somebody has to act, {_besides(Cause.SETUP)}.",
    )

    def cause_of(self, code: str) -> Cause | None:
        """What a code says, in any case of letters; None: it is not known."""
        own = {
            Cause.SETUP: self.setup,
            Cause.UNAUTHENTICATED: self.unauthenticated,
            Cause.RATE_LIMITED: self.rate_limited,
            Cause.TRANSIENT: self.transient,
        }
        for codes in (own, _USUAL):  # the settings know better
            for cause in Cause:
                if code.casefold() in {known.casefold() for known in codes[cause]}:
                    return cause
        return None


class Told(NamedTuple):
    """What a body says of its request; ``what`` repeats codes and places in the query only."""

    cause: Cause
    what: str


def told(response: Response, errors: AnswerErrors | None) -> Told | None:
    """What the body says, or None where it tells of no error. Never raises."""
    if errors is None:
        return None
    try:
        value = orjson.loads(response.body)
    except orjson.JSONDecodeError:
        return None  # the status says enough, or the reader of the page will
    found = at(value, errors.at)
    if not found:
        return None
    several = found if isinstance(found, list) else [found]
    cause, what = min((_one(error, errors) for error in several), key=lambda one: one[0].value)
    more = f" and {len(several) - 1} more" if len(several) > 1 else ""
    return Told(cause, f"an error{what}{more}")


def refused(
    response: Response, errors: AnswerErrors | None, names: RateHeaders, where: str
) -> SluiceError | None:
    """The error of an answer that is no success by its status or by its body, or None.

    No value of the body is repeated.
    """
    by_status = failure(response, names, where)
    if isinstance(by_status, TransientError):
        return by_status
    said = told(response, errors)
    if said is None:
        return by_status
    what = f"the source answered {response.status} with {said.what}"
    if said.cause in _REMEDIES:
        return SetupError(what, where=where, remedy=_REMEDIES[said.cause])
    return TransientError(what, where=where, retry_after=wish(response, names))


_REMEDIES = {
    Cause.SETUP: "compare the request's body with the source's schema and with what it grants",
    Cause.UNAUTHENTICATED: "check the source's auth and that the secret it names is current",
}


def _one(error: object, errors: AnswerErrors) -> tuple[Cause, str]:
    code = error if isinstance(error, str) else at(error, errors.code)
    # GraphQL, 7.1.6: errors of a field have its path; many servers give a null `data` to others
    otherwise = Cause.SETUP if at(error, "/path") is None else Cause.TRANSIENT
    known = errors.cause_of(code) if isinstance(code, str) else None
    parts = [str(code)] if _plain(code) else []
    line, column = at(error, "/locations/0/line"), at(error, "/locations/0/column")
    if isinstance(line, int) and isinstance(column, int):
        parts.append(f"at line {line}, column {column} of the query")
    return known or otherwise, f" ({' '.join(parts)})" if parts else ""


def _plain(code: Any) -> bool:  # noqa: ANN401 - whatever the source sends
    """Whether it is a code, fit for a message, and not a sentence with who knows what in it."""
    if not isinstance(code, str) or len(code) > _CODE_CHARS_MAX or not code.isascii():
        return False
    return all(char.isalnum() or char in "_-." for char in code)
