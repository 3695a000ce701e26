"""The log's ports, in memory and on Kafka: one suite, so that neither promises more."""

import time
from collections.abc import Iterator

import numpy as np
import pytest

from schemas.errors import FencedError, OversizedError, SetupError, TransientError
from schemas.events import Partition, Record
from tests.support.logs import (
    Backend,
    KafkaBackend,
    Member,
    MemoryBackend,
    Relay,
    records,
    settle,
    until,
)

REAL = (pytest.mark.enable_socket,)


@pytest.fixture(
    params=[
        "memory",
        pytest.param("kafka_broker", marks=[*REAL, pytest.mark.embedded]),
        pytest.param("docker_broker", marks=[*REAL, pytest.mark.docker]),
    ]
)
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    found: Backend
    if request.param == "memory":
        found = MemoryBackend()
    else:
        found = KafkaBackend(request.getfixturevalue(request.param))
    yield found
    found.close()


def numbers(values: list[bytes]) -> list[int]:
    return [int(value) for value in values]


def test_a_key_stays_in_its_partition_and_its_order(backend: Backend) -> None:
    topic = backend.topic(3)
    backend.publisher().publish(records(topic, 300, keys=10))
    member = Member(backend.log(backend.group(), [topic]))
    until(lambda: member.count == 300, member)
    homes: dict[int, Partition] = {}
    for partition, values in member.values.items():
        assert numbers(values) == sorted(numbers(values))
        assert member.offsets[partition] == list(range(len(values)))
        for value in numbers(values):
            assert homes.setdefault(value % 10, partition) == partition
    assert len(member.values) > 1


def test_all_backends_put_a_key_into_the_same_partition(backend: Backend) -> None:
    topic = backend.topic(4)
    backend.publisher().publish([Record(topic, b"v%d" % n, b"key%d" % n) for n in range(12)])
    member = Member(backend.log(backend.group(), [topic]))
    until(lambda: member.count == 12, member)
    found = {p.number: sorted(v) for p, v in member.values.items()}
    reference = MemoryBackend()
    reference.topic(4)
    reference.publisher().publish([Record("t1", b"v%d" % n, b"key%d" % n) for n in range(12)])
    expected = Member(reference.log("g", ["t1"]))
    until(lambda: expected.count == 12, expected)
    assert found == {p.number: sorted(v) for p, v in expected.values.items()}


def test_messages_carry_key_headers_time_and_null_values(backend: Backend) -> None:
    topic = backend.topic()
    backend.publisher().publish([Record(topic, b"v", b"k", (("a", b"1"), ("a", b"2")))])
    reader = backend.reader()
    (run,) = reader.read(Partition(topic, 0), 0, 1)
    assert list(run.values) == [b"v"]
    assert run.messages[0].key() == b"k"
    assert tuple(run.messages[0].headers() or ()) == (("a", b"1"), ("a", b"2"))
    assert np.asarray(run.timestamps).dtype == np.int64
    assert int(run.timestamps[0]) == int(np.asarray(run.timestamps)[0]) > 1_700_000_000_000


def test_a_new_partition_delivers_nothing_before_the_seek(backend: Backend) -> None:
    topic = backend.topic(2)
    backend.publisher().publish(records(topic, 50, keys=20))
    log = backend.log(backend.group(), [topic])
    assigned: set[Partition] = set()
    for _ in range(200):
        polled = log.poll(100, 0.05)
        assert not polled.runs
        assert not assigned & polled.assigned, "told twice"
        assigned |= polled.assigned
        if len(assigned) == 2:
            break
    assert assigned == {Partition(topic, 0), Partition(topic, 1)}
    for _ in range(10):
        assert not log.poll(100, 0.05).runs


def test_several_topics_with_equal_partition_numbers_are_kept_apart(backend: Backend) -> None:
    topics = [backend.topic(2) for _ in range(3)]
    for start, topic in enumerate(topics):
        backend.publisher().publish(records(topic, 100, keys=7, start=1000 * start))
    member = Member(backend.log(backend.group(), topics))
    until(lambda: member.count == 300, member)
    for start, topic in enumerate(topics):
        found = [n for p, v in member.values.items() if p.topic == topic for n in numbers(v)]
        assert sorted(found) == list(range(1000 * start, 1000 * start + 100))


def test_a_seek_delivers_from_exactly_there_forward_and_backward(backend: Backend) -> None:
    topic = backend.topic()
    partition = Partition(topic, 0)
    backend.publisher().publish(records(topic, 5_000))
    member = Member(backend.log(backend.group(), [topic]), start=lambda _: 100)
    until(lambda: member.count, member)
    assert member.offsets[partition][0] == 100
    for position in (4_990, 3, 2_500, 0, 4_999, 1_234):
        member.poll(messages_max=7)
        member.log.seek({partition: position})
        member.offsets[partition].clear()
        until(lambda: member.offsets[partition], member)
        found = member.offsets[partition]
        assert found == list(range(position, position + len(found)))


def test_seeks_of_strangers_are_ignored(backend: Backend) -> None:
    topic = backend.topic()
    log = backend.log(backend.group(), [topic])
    log.seek({Partition(topic, 0): 5})
    log.pause([Partition(topic, 7)])
    log.resume([Partition(topic, 7)])
    log.commit({Partition(topic, 7): 5})


def test_paused_partitions_deliver_nothing_and_lose_nothing(backend: Backend) -> None:
    topic = backend.topic(2)
    backend.publisher().publish(records(topic, 2_000, keys=50))
    member = Member(backend.log(backend.group(), [topic]))
    until(lambda: len(member.values) == 2, member)
    first = min(member.values)
    for _ in range(20):
        member.log.pause([first])
        seen = len(member.values[first])
        member.poll(messages_max=20)
        assert len(member.values[first]) == seen
        member.log.resume([first])
        member.poll(messages_max=20)
    until(lambda: member.count == 2_000, member)
    for offsets in member.offsets.values():
        assert offsets == list(range(len(offsets)))


def test_a_seek_resumes_a_paused_partition(backend: Backend) -> None:
    topic = backend.topic()
    partition = Partition(topic, 0)
    backend.publisher().publish(records(topic, 10))
    member = Member(backend.log(backend.group(), [topic]))
    until(lambda: member.count == 10, member)
    member.log.pause([partition])
    member.log.seek({partition: 6})
    until(lambda: member.count == 14, member)
    assert member.offsets[partition][10:] == [6, 7, 8, 9]


def test_a_second_member_takes_half_and_the_rest_keeps_flowing(backend: Backend) -> None:
    topic, group = backend.topic(4), backend.group()
    publisher = backend.publisher()
    one = Member(backend.log(group, [topic]))
    until(lambda: len(one.owned) == 4, one)
    two = Member(backend.log(group, [topic]))
    until(lambda: len(one.owned) == len(two.owned) == 2, one, two)
    assert not one.owned & two.owned
    assert len(one.assigned) == 4, "kept partitions are not given back and handed out again"
    assert len(one.revoked) == 2
    publisher.publish(records(topic, 400, keys=40))
    until(lambda: one.count + two.count == 400, one, two)
    assert one.values.keys() <= one.owned
    assert two.values.keys() <= two.owned
    lost = next(iter(two.owned))
    one.log.seek({lost: 0})  # too late, and ignored
    settle(one, seconds=0.3)
    assert lost not in one.values
    two.log.close()
    until(lambda: len(one.owned) == 4, one)
    assert len(one.assigned) == 6


def test_a_rebalance_under_load_loses_and_doubles_nothing(backend: Backend) -> None:
    relay = Relay(backend)
    one = relay.member()
    while len(one.owned) < 4:
        relay.step(one)
    two = relay.member()
    while len(two.owned) < 2 or not two.count:
        relay.step(one, two)
    two.log.close()
    while len(one.owned) < 4:
        relay.step(one)
    deadline = time.monotonic() + 30
    while relay.read(one) < relay.sent:
        assert time.monotonic() < deadline, relay.done
    for offsets in relay.done.values():
        assert offsets == list(range(len(offsets)))


def test_a_committed_transaction_is_seen_whole_and_leaves_a_gap(backend: Backend) -> None:
    topic = backend.topic()
    partition = Partition(topic, 0)
    writer = backend.transactions(backend.group())
    writer.publish_atomically(records(topic, 3))
    writer.publish_atomically(records(topic, 2, start=3))
    backend.publisher().publish(records(topic, 1, start=5))
    member = Member(backend.log(backend.group(), [topic]))
    until(lambda: member.count == 6, member)
    assert numbers(member.values[partition]) == [0, 1, 2, 3, 4, 5]
    assert member.offsets[partition] == [0, 1, 2, 4, 5, 7]
    (run,) = backend.reader().read(partition, 0, 8)
    assert run.offsets.tolist() == [0, 1, 2, 4, 5, 7]


def test_the_end_is_what_was_read_where_only_markers_follow_and_no_place_that_was_sought(
    backend: Backend,
) -> None:
    topic = backend.topic()
    partition = Partition(topic, 0)
    writer = backend.transactions(backend.group())
    for start in (0, 3):
        writer.publish_atomically(records(topic, 3, start=start))
    member = Member(backend.log(backend.group(), [topic]))

    def end() -> int | None:
        return member.log.ends([partition]).get(partition)

    until(lambda: end() == 7, member)
    for position in (4, 0, 5):
        member.offsets[partition].clear()
        member.log.seek({partition: position})
        assert end() == 8
        until(lambda: end() == 7, member)
        assert member.offsets[partition][-1] == 6
        member.log.pause([partition])
        member.poll()
        member.log.resume([partition])
        until(lambda: end() == 7, member)


def test_an_aborted_transaction_is_never_seen(backend: Backend) -> None:
    topic = backend.topic()
    partition = Partition(topic, 0)
    backend.publisher().publish(records(topic, 1))
    backend.write_aborted(records(topic, 5, start=100))
    backend.publisher().publish(records(topic, 1, start=1))
    member = Member(backend.log(backend.group(), [topic]))
    until(lambda: member.count == 2, member)
    settle(member, seconds=0.3)
    assert numbers(member.values[partition]) == [0, 1]
    assert member.offsets[partition] == [0, 7]
    reader = backend.reader()
    assert reader.bounds(partition) == (0, 8)
    assert [n for run in reader.read(partition, 1, 7) for n in run.offsets.tolist()] == []


def test_a_twin_is_fenced(backend: Backend) -> None:
    topic, name = backend.topic(), backend.group()
    old, new = backend.transactions(name), backend.transactions(name)
    old.publish_atomically(records(topic, 1))
    new.publish_atomically(records(topic, 1, start=1))
    with pytest.raises(FencedError):
        old.publish_atomically(records(topic, 1, start=2))
    new.publish_atomically(records(topic, 1, start=3))
    (run, *_) = backend.reader().read(Partition(topic, 0), 0, 6)
    assert numbers([value or b"" for value in run.values]) == [0, 1, 3]


def test_a_transaction_spans_topics(backend: Backend) -> None:
    one, two = backend.topic(), backend.topic()
    backend.transactions(backend.group()).publish_atomically(
        [*records(one, 2), *records(two, 2, start=2)]
    )
    member = Member(backend.log(backend.group(), [one, two]))
    until(lambda: member.count == 4, member)


def test_a_position_that_was_deleted_is_reported_and_waits_for_a_seek(backend: Backend) -> None:
    topic = backend.topic()
    partition = Partition(topic, 0)
    backend.publisher().publish(records(topic, 100))
    backend.delete_records({partition: 60})
    member = Member(backend.log(backend.group(), [topic]), start=lambda _: 10)
    until(lambda: member.gone, member)
    assert "10" in member.gone[partition]
    assert "[60, 100)" in member.gone[partition]
    settle(member, seconds=0.3)
    assert not member.count
    member.log.seek({partition: 60})
    until(lambda: member.count == 40, member)
    assert member.offsets[partition] == list(range(60, 100))


def test_a_position_beyond_the_end_is_reported(backend: Backend) -> None:
    topic = backend.topic()
    partition = Partition(topic, 0)
    backend.publisher().publish(records(topic, 10))
    member = Member(backend.log(backend.group(), [topic]), start=lambda _: 500)
    until(lambda: member.gone, member)
    assert "500" in member.gone[partition]
    member.log.seek({partition: 9})
    until(lambda: member.count == 1, member)


def test_a_commit_can_be_read_as_lag(backend: Backend) -> None:
    topic, group = backend.topic(), backend.group()
    partition = Partition(topic, 0)
    backend.publisher().publish(records(topic, 10))
    member = Member(backend.log(group, [topic]))
    until(lambda: member.count == 10, member)
    assert backend.lag(group) == {}
    member.log.commit({partition: 7})
    until(lambda: backend.lag(group), member)
    assert backend.lag(group) == {partition: 3}
    member.log.close()
    again = Member(backend.log(group, [topic]))
    until(lambda: again.count == 10, again)
    assert again.offsets[partition][0] == 0, "a committed offset decides nothing"


def test_an_oversized_record_is_named_and_nothing_is_sent(backend: Backend) -> None:
    topic = backend.topic()
    partition = Partition(topic, 0)
    some = records(topic, 3)
    some[1] = Record(topic, b"x" * 2_000_000)
    for publish in (
        backend.publisher().publish,
        backend.transactions(backend.group()).publish_atomically,
    ):
        with pytest.raises(OversizedError) as caught:
            publish(some)
        assert caught.value.index == 1
    assert backend.reader().bounds(partition) == (0, 0)


def test_a_topic_that_does_not_exist_is_a_setup_error(backend: Backend) -> None:
    with pytest.raises(SetupError, match="nowhere"):
        backend.publisher().publish([Record("nowhere", b"")])
    assert backend.reader().partitions("nowhere") == ()


def test_the_reader_reads_ranges_and_finds_times(backend: Backend) -> None:
    topic = backend.topic()
    partition = Partition(topic, 0)
    backend.publisher().publish(records(topic, 100))
    reader = backend.reader()
    assert reader.partitions(topic) == (partition,)
    assert reader.bounds(partition) == (0, 100)
    found = [n for run in reader.read(partition, 20, 30) for n in run.offsets.tolist()]
    assert found == list(range(20, 30))
    assert list(reader.read(partition, 30, 30)) == []
    (run, *_) = reader.read(partition, 0, 100)
    assert reader.offset_at(partition, 0) == 0
    assert reader.offset_at(partition, int(run.timestamps[0])) == 0
    assert reader.offset_at(partition, int(run.timestamps[0]) + 60_000_000) == 100


def test_reading_what_was_deleted_is_an_error(backend: Backend) -> None:
    topic = backend.topic()
    partition = Partition(topic, 0)
    backend.publisher().publish(records(topic, 10))
    backend.delete_records({partition: 5})
    reader = backend.reader()
    assert reader.bounds(partition) == (5, 10)
    with pytest.raises(SetupError, match="no longer holds"):
        list(reader.read(partition, 0, 10))


def test_a_topic_that_is_made_again_has_another_id(backend: Backend) -> None:
    one, other = backend.topic(), backend.topic()
    reader = backend.reader()
    first = reader.topic_id(one)
    assert first is not None
    assert first == reader.topic_id(one)
    assert first != reader.topic_id(other)
    with pytest.raises(TransientError, match="nowhere"):
        reader.topic_id("nowhere")
    backend.make_again(one)
    assert reader.topic_id(one) not in {None, first, reader.topic_id(other)}


def test_the_last_value_of_each_key_is_read(backend: Backend) -> None:
    topic = backend.topic(2)
    backend.publisher().publish(records(topic, 20, keys=3))
    assert backend.read_compacted(topic) == {b"key0": b"18", b"key1": b"19", b"key2": b"17"}
    with pytest.raises(TransientError, match="nowhere"):  # "nothing" would begin anew
        backend.read_compacted("nowhere")
