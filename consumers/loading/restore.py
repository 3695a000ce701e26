"""From an assigned partition to a delivering one: claim it, restore its keys, seek."""

from collections.abc import Iterator, Sequence

from consumers.loading.loader import LoadPorts, LoadState, give_up
from consumers.loading.ownership import Held, Phase
from consumers.reading.dedupe import PartitionKeys, restore_since
from schemas.errors import SetupError, TransientError, UnclaimableError
from schemas.events import Claimed, Partition, Run


def claim_due(ports: LoadPorts, state: LoadState) -> None:
    """Ask the warehouse for partitions that wait, once no batch under way holds them."""
    due = [p for p in state.ownership.due(ports.clock.monotonic()) if not state.batched(p)]
    starts = _described(ports, state, due)
    if not starts:
        return
    for partition in starts:
        state.ownership.held[partition].phase = Phase.CLAIMING
    ports.lanes.claim(starts)


def _described(
    ports: LoadPorts, state: LoadState, due: Sequence[Partition]
) -> dict[Partition, int]:
    """Where the log begins of each; those that it cannot tell of wait, and nobody waits for them.

    A failure takes the broker's patience, in which nothing is polled, so there is one a turn: what
    comes behind it is due again with the next.
    """
    starts: dict[Partition, int] = {}
    ids: dict[str, str | None] = {}
    for partition in due:
        try:
            if partition.topic not in ids:
                ids[partition.topic] = ports.reader.topic_id(partition.topic)
            starts[partition] = ports.reader.bounds(partition)[0]
        except (TransientError, SetupError) as error:
            ports.note("claim_failed", {"partition": _name(partition), "error": str(error)})
            topic = [p for p in due if p.topic == partition.topic]
            give_up(ports, state, [partition] if partition.topic in ids else topic, error)
            break
        state.ownership.held[partition].topic_id = ids[partition.topic]
    return starts


def take_claims(ports: LoadPorts, state: LoadState, answer: Claimed) -> None:
    """Begin to restore what the warehouse granted; ask again later for what it did not."""
    held = state.ownership.held
    mine = [p for p in answer.partitions if p in held and held[p].phase is Phase.CLAIMING]
    if answer.error is not None:
        _refused(ports, state, mine, answer.error)
        return
    for partition in mine:
        claim = answer.claims[partition]
        held[partition].claim, held[partition].committed = claim, claim.next_offset
        try:
            _require_same_topic(partition, held[partition])
            state.restoring[partition] = _restoring(ports, state, partition)
        except (TransientError, SetupError) as error:
            ports.note("restore_failed", {"error": str(error)})
            give_up(ports, state, [partition], error)
            continue
        held[partition].phase = Phase.RESTORING
        ports.metrics.count("load_claims", stream=partition.topic)


def _refused(
    ports: LoadPorts, state: LoadState, mine: Sequence[Partition], error: Exception
) -> None:
    """Later again; at once those that had to go without because of others."""
    if not isinstance(error, TransientError | SetupError):
        raise error
    ports.note("claim_failed", {"error": str(error)})
    if isinstance(error, UnclaimableError):
        for partition in [p for p in mine if p not in error.partitions]:
            state.ownership.held[partition].phase = Phase.WAITING
        mine = [p for p in mine if p in error.partitions]
    give_up(ports, state, mine, error)


def _require_same_topic(partition: Partition, here: Held) -> None:
    """Raises SetupError where the topic that was loaded is not the one that is there."""
    loaded = here.claim.topic_id if here.claim is not None else None
    if loaded is None or here.topic_id is None or loaded == here.topic_id:
        return
    raise other_topic(_name(partition), loaded, here.topic_id)


def other_topic(where: str, loaded: str, there: str) -> SetupError:
    """What to raise for a topic that is not the one that was read or loaded until now."""
    return SetupError(
        f"the topic was deleted and made again: what was loaded last is of topic id {loaded}, "
        f"the broker's topic has {there}, so its offsets are those of other events",
        where=where,
        remedy="bring the old topic back; or give the stream another name in its contract (its "
        "table may stay: `table=`) and its sources, and run `sluice apply`. The ids of batches "
        "and dead letters are made of topic and offset, so that one name cannot go on twice",
    )


def _restoring(ports: LoadPorts, state: LoadState, partition: Partition) -> Iterator[Run]:
    """Open the partition's keys; what the log still has to add to them."""
    here = state.ownership.held[partition]
    claim = here.claim
    stream = state.streams[partition.topic]
    if claim is None or not stream.window:
        return iter(())
    store = ports.stores.open(partition, claim.next_offset, stream.window)
    if store.lost and claim.next_offset > ports.reader.bounds(partition)[0]:
        ports.note("keys_lost", {"partition": _name(partition), "why": store.lost})
    here.keys = PartitionKeys(partition, store, claim.next_offset, stream.window)
    if here.keys.applied >= claim.next_offset:
        return iter(())
    first = max(
        here.keys.applied, _restored_from(ports, partition, claim.next_offset, stream.window)
    )
    return ports.reader.read(partition, first, claim.next_offset)


def _restored_from(ports: LoadPorts, partition: Partition, next_offset: int, window: int) -> int:
    """Where the keys begin that the first event to be judged may meet: by its time, not ours."""
    start, end = ports.reader.bounds(partition)
    ahead = ports.reader.read(partition, next_offset, end) if next_offset < end else iter(())
    first = next(ahead, None)
    stamp = int(first.timestamps[0]) * 1000 if first is not None else ports.clock.now()
    return max(start, ports.reader.offset_at(partition, restore_since(stamp, window) // 1000))


def restore_some(ports: LoadPorts, state: LoadState) -> None:
    """One more run for every partition that is being restored, so that polling goes on."""
    for partition, runs in list(state.restoring.items()):
        here = state.ownership.held[partition]
        try:
            run = next(runs, None)
            if run is not None and here.keys is not None:
                state.streams[partition.topic].restore(run, here.keys)
                here.keys.settle(run.next_offset, ports.clock.now())
                continue
            _deliver(ports, state, partition, here)
        except (TransientError, SetupError) as error:
            ports.note("restore_failed", {"partition": _name(partition), "error": str(error)})
            give_up(ports, state, [partition], error)


def _deliver(ports: LoadPorts, state: LoadState, partition: Partition, here: Held) -> None:
    """The keys are complete: read on from where the warehouse stands."""
    del state.restoring[partition]
    if here.claim is None:
        return
    if here.keys is not None:
        here.keys.settle(here.claim.next_offset, ports.clock.now())
    here.position = here.claim.next_offset
    here.phase = Phase.OWNED
    state.breaker.forget(partition)
    state.refusals.forget(partition)
    number = str(partition.number)
    ports.metrics.gauge("load_breaker_open", 0, stream=partition.topic, partition=number)
    ports.note("delivering", {"partition": _name(partition), "offset": here.position})
    ports.log.seek({partition: here.position})
    if partition.topic not in state.paused:
        ports.log.resume([partition])
    else:
        ports.log.pause([partition])


def _name(partition: Partition) -> str:
    return f"{partition.topic}/{partition.number}"
