"""What the log in memory can be told to do, for tests of others."""

import pytest

from schemas.errors import TransientError
from tests.support.logs import Member, MemoryBackend, records, until


def test_a_failure_in_memory_is_raised_once() -> None:
    backend = MemoryBackend()
    topic = backend.topic()
    backend.broker.fail_next("publish", TransientError("planned"))
    with pytest.raises(TransientError):
        backend.publisher().publish(records(topic, 1))
    backend.publisher().publish(records(topic, 1))
    assert [effect[0] for effect in backend.broker.journal] == ["publish"]


def test_a_member_in_memory_that_is_late_loses_everything_and_comes_back() -> None:
    backend = MemoryBackend()
    topic = backend.topic(2)
    backend.publisher().publish(records(topic, 10, keys=4))
    log = backend.log("g", [topic])
    late = Member(log)
    until(lambda: len(late.owned) == 2, late)
    log.lose_partitions()  # type: ignore[attr-defined] # a MemoryLog
    polled = late.poll()
    assert len(polled.revoked) == 2
    assert not polled.runs
    until(lambda: len(late.owned) == 2, late)
