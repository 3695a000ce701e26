"""Lanes: whatever ends a piece of work, its end is told and the lane works on."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
from polars.exceptions import PanicException

from schemas.errors import TransientError
from schemas.events import Claim, Claimed, LoadPlan, Partition, Receipt
from services.adapters.lanes import ThreadLanes, discards
from tests.support.warehouse import plan, span

P0 = Partition("t", 0)
PATIENCE = 10.0


class Failing:
    """A session whose work fails as a test says: what is last in the list strikes first."""

    def __init__(self, failures: list[BaseException | None]) -> None:
        self._failures = failures
        self.discarded: list[str] = []

    def claim(self, starts: Mapping[Partition, int]) -> Mapping[Partition, Claim]:
        self._fail()
        return {partition: Claim(1, start) for partition, start in starts.items()}

    def load(self, work: LoadPlan) -> Receipt:
        self._fail()
        return Receipt(work.batch, work.topic)

    def discard(self, work: LoadPlan) -> None:
        self.discarded.append(work.file)
        self._fail()

    def _fail(self) -> None:
        error = self._failures.pop() if self._failures else None
        if error is not None:
            raise error

    def close(self) -> None:
        pass


@contextmanager
def lanes(*failures: BaseException) -> Iterator[ThreadLanes]:
    session: Any = Failing(list(failures))
    opened = ThreadLanes(lambda: session, 1)
    try:
        yield opened
    finally:
        opened.close(PATIENCE)


def answer(opened: ThreadLanes) -> Receipt | Claimed:
    found: list[Receipt | Claimed] = []
    tick = threading.Event()
    for _ in range(round(PATIENCE / 0.01)):
        found += opened.finished()
        if found:
            return found[0]
        tick.wait(0.01)
    raise AssertionError("no answer: the lane has died")


WORK: list[Callable[[ThreadLanes], None]] = [
    lambda opened: opened.claim({P0: 5}),
    lambda opened: opened.load(plan(span(0, 0, 3, epoch=1))),
]


@pytest.mark.parametrize("begin", WORK, ids=["claim", "load"])
def test_a_panic_of_native_code_is_handed_over_as_a_bug_and_the_lane_works_on(
    begin: Callable[[ThreadLanes], None],
) -> None:
    panic = PanicException("index out of bounds")
    assert not isinstance(panic, Exception)
    with lanes(panic) as opened:
        begin(opened)
        error = answer(opened).error
        assert isinstance(error, RuntimeError)
        assert str(error) == "PanicException in a lane: index out of bounds"
        assert error.__cause__ is panic
        begin(opened)
        assert answer(opened).error is None


@pytest.mark.parametrize("begin", WORK, ids=["claim", "load"])
def test_an_error_is_handed_over_as_it_is(begin: Callable[[ThreadLanes], None]) -> None:
    error = TransientError("the line is cut")
    with lanes(error) as opened:
        begin(opened)
        assert answer(opened).error is error


def test_a_file_is_discarded_once_its_load_has_committed() -> None:
    session: Any = Failing([None, None, TransientError("the line is cut")])
    work = plan(span(0, 0, 3, epoch=1))
    opened = ThreadLanes(lambda: session, 1, discards(lambda *_: None))
    try:
        opened.load(work)
        assert answer(opened).error is not None
        assert session.discarded == []
        opened.load(work)
        assert answer(opened).error is None
    finally:
        opened.close(PATIENCE)
    assert session.discarded == [work.file]


def test_a_file_that_cannot_be_discarded_is_noted_and_the_lane_works_on() -> None:
    session: Any = Failing([None, TransientError("the line is cut"), None])
    noted: list[tuple[str, object]] = []
    work = plan(span(0, 0, 3, epoch=1))
    opened = ThreadLanes(
        lambda: session, 1, discards(lambda event, fields: noted.append((event, fields["file"])))
    )
    try:
        for _ in range(2):
            opened.load(work)
            assert answer(opened).error is None
    finally:
        opened.close(PATIENCE)
    assert noted == [("file_left", work.file)]
    assert session.discarded == [work.file] * 2
