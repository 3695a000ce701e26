"""The poll loop: a generator of effects, which a shell performs one after the other."""

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from producers.answer_errors import Cause, refused, told
from producers.content import content_id
from producers.cursors import CursorValue, Run, State, is_time, kind_of, later, parse
from producers.exchange import Request, Response, at
from producers.keys import long_key
from producers.limits import http_date
from producers.pagers import Page, Span, Step, Turn
from producers.pages import Body, Found, UnreadableError, read_body
from producers.rest import RestSource, RestStream, request_at
from schemas.errors import RejectReason, SetupError, SluiceError, Stage, TransientError
from schemas.events import Incoming, Rejection, Violation
from schemas.identity import bounded, digest, event_id_of_body

PAGE_KEPT_BYTES_MAX = 500_000  # of an unreadable page; a dead letter is one message of the log
DEPTH_MAX = 128  # of one record; JSON writers downstream end at 254
_NO_CONTENT, _NOT_MODIFIED = 204, 304
_STALE = frozenset({400, 404, 410, 422})  # what sources answer to a page token that has expired


@dataclass(frozen=True, slots=True)
class Fetch:
    """Ask, and send the answer back in. Time-outs, retries and 429 are the shell's."""

    request: Request


@dataclass(frozen=True, slots=True)
class Publish:
    """Make events, dead letters and state durable together, or none of them."""

    incoming: tuple[Incoming, ...]
    rejections: tuple[Rejection, ...]
    state: State


Effect = Fetch | Publish
Polling = Generator[Effect, Response | None, State]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run is about."""

    name: str  # of the source
    source: RestSource
    stream: RestStream

    @property
    def where(self) -> str:
        """For messages."""
        return f"{self.name}/{self.stream.stream}"


def poll(plan: Plan, state: State, now: int) -> Polling:
    """One run over a stream's pages, from where ``state`` stands. ``now``: microseconds, UTC.

    The effects happen in this order, so that a crash between any two of them repeats a page and
    never leaves one out:

    1. ``Fetch`` the page at the position.
    2. ``Publish`` its records, its dead letters and the state after it: one transaction. The
       state holds the next position; the cursor moves to the run's maximum with the last page
       (with every page where records are sorted; with every window where the pager says so).
    3. From 1 until the pager says that the run is complete.

    The cursor never passes the instant at which the run began, by the earlier of our clock and
    the source's: what changes behind the reader's back is found by the next run.

    An unreadable page is a dead letter, published with the state before it, and ends the run: with
    a TransientError where it is not JSON, with a SetupError where it holds no array of records.
    Raises SetupError for whatever else somebody has to change. Returns the state after the run.
    """
    state = _fitting(plan, state)
    resumed = state.run is not None
    run = state.run or _begin(plan, state, now)
    while run is not None:
        request = _request(plan, run)
        response = yield from _fetched(request)
        if resumed and _stale(plan, response):
            state, resumed = replace(state, run=None), False
            run = _begin(plan, state, now)
            continue
        resumed = False
        run = _by_their_clock(run, response)
        try:
            body = _body(plan, response)
        except UnreadableError as error:
            yield from _unreadable(plan, state, response, error)
            raise _unreadable_error(plan, error) from None
        run, step = _advance(plan, run, request, response, body)
        state = _settled(plan, state, run, step)
        yield _publish(plan, state, response, body)
        _check_cursor(plan, run, state)
        run = state.run
    return state


def _fitting(plan: Plan, state: State) -> State:
    """The state without a run that other settings began. Raises SetupError for another cursor."""
    cursor = plan.stream.cursor
    if cursor is not None and state.cursor is not None and state.kind != kind_of(cursor.format):
        raise SetupError(
            f"the stored cursor is of kind {state.kind}, the settings say {cursor.format}",
            where=plan.where,
            remedy="give cursor.format back, or reset the stream's cursor",
        )
    if state.run is not None and state.run.plan != _fingerprint(plan):
        return replace(state, run=None)
    return state


def _fingerprint(plan: Plan) -> str:
    stream = plan.stream.model_dump_json(
        exclude={"every", "pages_max", "event_id", "event_id_without"}
    )
    return digest(plan.source.base_url, stream)


def _fetched(request: Request) -> Generator[Effect, Response | None, Response]:
    response = yield Fetch(request)
    if response is None:  # pragma: no cover - a shell that does not keep to the protocol
        raise AssertionError("a Fetch is answered with a Response")
    return response


def _begin(plan: Plan, state: State, now: int) -> Run | None:
    cursor = plan.stream.cursor
    span = Span(cursor.since(state.cursor) if cursor is not None else None, now)
    pager = plan.stream.pages
    position = {} if pager is None else pager.first(span)
    return None if position is None else Run(position, span, _fingerprint(plan))


def _request(plan: Plan, run: Run) -> Request:
    if run.pages >= plan.stream.pages_max:
        raise SetupError(
            f"the run has more than {plan.stream.pages_max} pages",
            where=plan.where,
            remedy="raise pages_max, or check that the pager comes to an end",
        )
    pager = plan.stream.pages
    turn = Turn() if pager is None else pager.turn(run.position)
    return request_at(plan.source, plan.stream, turn, run.span.since)


def _stale(plan: Plan, response: Response) -> bool:
    """Whether the source may have forgotten where the run stood."""
    said = told(response, plan.stream.answer_errors)
    return response.status in _STALE if said is None else said.cause is Cause.SETUP


def _by_their_clock(run: Run, response: Response) -> Run:
    """The run, begun when the source says, where its clock is behind ours."""
    dated = http_date(response.headers.get("date", "")) if run.pages == 0 else None
    if dated is None:
        return run
    # they dated the answer when it was ready, which may be long after they looked
    theirs = dated - max(0, response.received_at - run.span.until)
    return replace(run, span=replace(run.span, until=min(run.span.until, theirs)))


def _body(plan: Plan, response: Response) -> Body:
    if response.status in {_NO_CONTENT, _NOT_MODIFIED}:
        return Body(None, ())
    stream = plan.stream
    error = refused(response, stream.answer_errors, plan.source.rate_headers, plan.where)
    if error is not None:
        raise error
    return read_body(response.body, stream.records, null_is_empty=stream.null_is_empty)


def _advance(
    plan: Plan, run: Run, request: Request, response: Response, body: Body
) -> tuple[Run, Step]:
    """The run with this page counted, and where its pager goes on."""
    records = tuple(found.value for found in body.records)
    seen = run.seen
    for record in records:
        seen = later(seen, _cursor_of(plan.stream, record))
    objects = sum(isinstance(record, dict) for record in records)
    run = replace(run, seen=seen, pages=run.pages + 1, records=run.records + objects)
    pager = plan.stream.pages
    if pager is None:
        return run, Step(None)
    page = Page(
        url=request.full_url,
        value=body.value,
        records=records,
        headers=response.headers,
        digest=digest(response.body),
        secret_params=plan.source.secret_params,
    )
    try:
        return run, pager.after(run.position, page)
    except SetupError as error:
        raise SetupError(error.what, where=plan.where, remedy=error.remedy) from None


def _cursor_of(stream: RestStream, record: object) -> CursorValue | None:
    if stream.cursor is None or stream.cursor.field is None:
        return None
    return parse(at(record, stream.cursor.field), stream.cursor.format)


def _settled(plan: Plan, state: State, run: Run, step: Step) -> State:
    """The state to store with a page."""
    complete = step.position is None
    cursor = state.cursor
    if step.reached is not None:
        cursor = later(cursor, _capped(plan, step.reached, run))
    elif complete or plan.stream.sorted:
        cursor = later(cursor, _capped(plan, run.seen, run))
    kind = None if plan.stream.cursor is None else kind_of(plan.stream.cursor.format)
    if step.position is None:
        return State(cursor, kind=kind)
    return State(cursor, replace(run, position=step.position), kind=kind)


def _check_cursor(plan: Plan, run: Run, state: State) -> None:
    """Raises SetupError where records came and none moved the cursor."""
    cursor = plan.stream.cursor
    if cursor is None or cursor.field is None or state.run is not None:
        return
    if run.records and run.seen is None:
        raise SetupError(
            f"none of {run.records} records has {cursor.field!r} as {cursor.format}",
            where=plan.where,
            remedy="correct cursor.field or cursor.format; the records themselves are published",
        )


def _capped(plan: Plan, value: CursorValue | None, run: Run) -> CursorValue | None:
    cursor = plan.stream.cursor
    if isinstance(value, int) and cursor is not None and is_time(cursor.format):
        return min(value, run.span.until)
    return value


def _publish(plan: Plan, state: State, response: Response, body: Body) -> Publish:
    incoming, rejections = [], []
    event_id = _naming(plan)
    for found in body.records:
        why = _unfit(found)
        if why is None:
            incoming.append(
                Incoming(
                    value=found.value,
                    raw=found.raw,
                    event_id=event_id(found.value),
                    source=plan.name,
                    received_at=response.received_at,
                )
            )
        else:
            rejections.append(_rejection(plan, why, found.raw, response.received_at))
    return Publish(tuple(incoming), tuple(rejections), state)


def _unfit(found: Found) -> tuple[RejectReason, str] | None:
    if not isinstance(found.value, dict):
        what = f"a record is an object, this is {type(found.value).__name__}"
        return RejectReason.NOT_AN_OBJECT, what
    if found.depth > DEPTH_MAX:
        return RejectReason.TOO_DEEP, f"{found.depth} levels, {DEPTH_MAX} is the most"
    key = long_key(found.value, found.raw)
    return None if key is None else (RejectReason.OVERSIZED, key)


def _naming(plan: Plan) -> Callable[[Mapping[str, Any]], str | None]:
    """What gives a record the id that the settings say; None: the encoder derives it."""
    if plan.stream.event_id_without is not None:
        return content_id(plan.name, plan.stream.event_id_without)
    pointer = plan.stream.event_id
    if pointer is None:
        return lambda _value: None
    return lambda value: _id_at(value, pointer)


def _id_at(value: Mapping[str, Any], pointer: str) -> str | None:
    found = at(value, pointer)
    if isinstance(found, bool) or not isinstance(found, str | int | float | Decimal):
        return None
    return bounded(str(found)) or None


def _unreadable(plan: Plan, state: State, response: Response, error: UnreadableError) -> Polling:
    """The page as a dead letter, once however often the source repeats it."""
    mark = digest(response.body)
    if state.bad == mark:
        return state
    kept = response.body[:PAGE_KEPT_BYTES_MAX]
    cut = f"; the first {len(kept)} of {len(response.body)} bytes"
    detail = str(error) + (cut if len(kept) < len(response.body) else "")
    rejection = _rejection(plan, (error.reason, detail), kept, response.received_at)
    state = replace(state, bad=mark)
    yield Publish((), (rejection,), state)
    return state


def _unreadable_error(plan: Plan, error: UnreadableError) -> SluiceError:
    if error.reason is RejectReason.NOT_JSON:
        return TransientError(str(error), where=plan.where)
    return SetupError(
        str(error), where=plan.where, remedy="point `records` at the array of records"
    )


def _rejection(plan: Plan, why: tuple[RejectReason, str], raw: bytes, seen_at: int) -> Rejection:
    return Rejection(
        stream=plan.stream.stream,
        stage=Stage.ENCODE,
        violations=(Violation("$", *why),),
        value=raw,
        event_id=event_id_of_body(plan.name, raw),
        source=plan.name,
        seen_at=seen_at,
    )
