"""Messages as runs: the cuts, whatever the mixture."""

from collections import defaultdict

import numpy as np
from confluent_kafka import Message
from hypothesis import given
from hypothesis import strategies as st

from schemas.events import Partition
from services.adapters.kafka.runs import runs

steps = st.lists(
    st.tuples(st.sampled_from("ab"), st.sampled_from([0, 1, 300]), st.integers(1, 3)), min_size=1
)


def message(topic: str, number: int, offset: int) -> Message:
    text = f"{topic}{number}@{offset}".encode()
    return Message(topic=topic, partition=number, offset=offset, value=text, timestamp=(1, offset))


@given(steps)
def test_every_message_is_in_its_partitions_run_in_order(
    mixture: list[tuple[str, int, int]],
) -> None:
    """Gaps of one or two offsets and equal numbers in two topics included."""
    after: dict[Partition, int] = defaultdict(int)
    messages, expected = [], defaultdict(list)
    for topic, number, gap in mixture:
        partition = Partition(topic, number)
        after[partition] += gap
        messages.append(message(topic, number, after[partition]))
        expected[partition].append(after[partition])
    found = runs(messages, one_topic=False)
    assert {run.partition: run.offsets.tolist() for run in found} == expected
    for run in found:
        topic, number = run.partition
        assert run.values == [f"{topic}{number}@{offset}".encode() for offset in run.offsets]
        assert [one.key() for one in run.messages] == [None] * len(run)
        assert np.asarray(run.timestamps).tolist() == run.offsets.tolist()
        assert int(run.timestamps[-1]) == run.offsets[-1]
        assert run.next_offset == run.offsets[-1] + 1


def test_one_topic_needs_no_look_at_topics() -> None:
    found = runs([message("a", n, 5 + i) for i, n in enumerate([0, 0, 1, 1, 0])], one_topic=True)
    assert {run.partition.number: run.offsets.tolist() for run in found} == {
        0: [5, 6, 9],
        1: [7, 8],
    }


def test_times_become_an_array_by_numpys_own_means() -> None:
    (run,) = runs([message("a", 0, offset) for offset in range(3)], one_topic=True)
    assert np.concatenate([run.timestamps, run.timestamps]).tolist() == [0, 1, 2, 0, 1, 2]
    assert np.asarray(run.timestamps, dtype=np.float64).dtype == np.float64
    assert len(run.timestamps) == 3


def test_the_rest_of_a_run_keeps_its_columns_together() -> None:
    (run,) = runs([message("a", 0, offset) for offset in (1, 2, 5, 6)], one_topic=True)
    rest = run.since(3)
    assert rest.offsets.tolist() == [5, 6]
    assert np.asarray(rest.timestamps).tolist() == [5, 6]
    assert rest.values == [b"a0@5", b"a0@6"]
    assert len(rest.messages) == 2
    assert not run.since(7)
