"""Offsets that a poll left out: markers of transactions, or messages that somebody lost."""

from collections.abc import Mapping

import numpy as np

from consumers.loading.batching import Batch
from consumers.loading.loader import LoadPorts, LoadState, give_up
from consumers.loading.restore import other_topic
from schemas.errors import SetupError, TransientError
from schemas.events import Partition, Run

MARKER = 1  # offsets that the end of a transaction takes
HOLE = (
    "find out how long loading stood still and for how long the topic keeps its events; what is "
    "not in the log any more is lost here, so ask the source for it again"
)
QUIET_SECONDS = 60.0  # after a gap that was explained: a compacted topic is full of them


def wide_gap(run: Run, position: int) -> tuple[int, int] | None:
    """The first ``[first, after)`` that is left out and more than a transaction's marker."""
    offsets = run.offsets
    if int(offsets[-1]) - position + 1 - len(run) <= MARKER:  # most often nothing is missing
        return None
    before = np.concatenate([[position - 1], offsets[:-1]])
    wide = np.flatnonzero(offsets - before > MARKER + 1)
    if not len(wide):
        return None
    return int(before[wide[0]]) + 1, int(offsets[wide[0]])


def without_gaps(ports: LoadPorts, state: LoadState, run: Run) -> Run | None:
    """The run; None if it left out a message that the log still shows.

    Its partition is then read again from where the warehouse stands. What a second reader does
    not see either is explained: markers, aborted transactions, compaction. One look a minute and
    partition.
    """
    now = ports.clock.monotonic()
    if now < state.explained.get(run.partition, float("-inf")) + QUIET_SECONDS:
        return run
    gap = wide_gap(run, state.ownership.held[run.partition].position)
    if gap is None:
        return run
    name = f"{run.partition.topic}/{run.partition.number}"
    try:
        seen = sum(len(found) for found in ports.reader.read(run.partition, *gap))
    except (TransientError, SetupError) as error:
        ports.note("read_failed", {"partition": name, "error": str(error)})
        give_up(ports, state, [run.partition], error)
        return None
    if not seen:
        state.explained[run.partition] = now
        return run
    why = f"offsets [{gap[0]}, {gap[1]}) were left out, but the log has {seen} messages there"
    ports.note("offset_gap", {"partition": name, "error": why})
    ports.metrics.count(
        "load_offset_gaps", stream=run.partition.topic, partition=str(run.partition.number)
    )
    give_up(ports, state, [run.partition], TransientError(why, where=name))
    return None


def still_the_topic(ports: LoadPorts, state: LoadState, batch: Batch) -> bool:
    """Whether the topic is still the one that was claimed; if not, the batch is dissolved.

    A topic that is deleted and made again at once takes nobody's partitions away, and where it
    is long enough, reading goes on in the middle of other events. Asked when a batch closes, so
    that none of them is loaded. A broker that does not answer has made no other topic.
    """
    known = {span.topic_id for span in batch.spans.values()} - {None}
    if not known:
        return True
    try:
        there = ports.reader.topic_id(batch.topic)
    except (TransientError, SetupError):
        return True
    if there is None or known == {there}:
        return True
    error = other_topic(batch.topic, ", ".join(sorted(filter(None, known))), there)
    ports.note("topic_made_again", {"topic": batch.topic, "error": str(error)})
    del state.open[batch.topic]
    give_up(ports, state, state.ownership.of_topic(batch.topic), error)
    return False


def tell_holes(ports: LoadPorts, state: LoadState, gone: Mapping[Partition, str]) -> None:
    """Positions that the log does not have: deleted before they were read, or never written."""
    for partition, why in gone.items():
        name = f"{partition.topic}/{partition.number}"
        ports.note("log_hole", {"partition": name, "why": why})
        _count_hole(ports, state, partition)
        give_up(ports, state, [partition], SetupError(why, where=name, remedy=HOLE))


def _count_hole(ports: LoadPorts, state: LoadState, partition: Partition) -> None:
    held = state.ownership.held.get(partition)
    if held is None:
        return
    try:
        first, end = ports.reader.bounds(partition)
    except (TransientError, SetupError):
        return  # it is told again with the next try
    stream, number = partition.topic, str(partition.number)
    if held.position > end:
        ports.metrics.count("load_offset_rewinds", stream=stream, partition=number)
    elif held.position < first:
        ports.metrics.count("load_offset_gaps", stream=stream, partition=number)
