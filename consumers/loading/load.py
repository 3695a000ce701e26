"""The loader's loop: from the log to the warehouse, exactly once."""

from collections.abc import Sequence

import orjson

from consumers.loading.batching import Batch, FlushPolicy, Span, latest_date
from consumers.loading.breaker import BreakerOpenError
from consumers.loading.diversion import count_dead, publish_dead
from consumers.loading.gaps import still_the_topic, tell_holes, without_gaps
from consumers.loading.load_plan import plan_load
from consumers.loading.loader import LoadPolicy, LoadPorts, LoadState, give_up
from consumers.loading.measure import count_committed, forget_gauges, tell_state
from consumers.loading.refusals import load_the_rest
from consumers.loading.restore import claim_due, restore_some, take_claims
from consumers.reading.stream import Judged
from schemas.errors import (
    FencedError,
    SetupError,
    TransientError,
)
from schemas.events import (
    REPORTS,
    Claimed,
    LoadPlan,
    Partition,
    Polled,
    Receipt,
    Record,
    Run,
)


def load_once(ports: LoadPorts, state: LoadState, policy: LoadPolicy) -> None:
    """Move every stream forward by one poll.

    The effects happen in this order, so that a crash between any two of them repeats work and
    never loses or doubles an event:

    1. Poll. Give up what was revoked, and what was left out on the way.
    2. Publish the dead letters of what was read. Durable on return.
    3. Hand closed batches to the lanes, if their topic is still the one that was claimed: PUT,
       then COPY, ledger and fence in one transaction.
    4. For the loads that have committed: remember their keys, commit the positions, report.
       For those of which the table refuses some rows: publish these as dead letters, durable on
       return, then hand the rest to the lanes, as in 3.
    5. Claim what is newly assigned or was given up, restore its keys from the log, and seek to
       where the warehouse stands.
    """
    polled = ports.log.poll(policy.poll_messages_max, policy.poll_seconds)
    ports.metrics.count("load_polls")
    _change_owners(ports, state, polled)
    for topic, runs in _by_topic(ports, state, polled.runs).items():
        _read_stream(ports, state, topic, runs)
    close_due(ports, state, policy.flush)
    for answer in ports.lanes.finished():
        if isinstance(answer, Claimed):
            take_claims(ports, state, answer)
        else:
            _settle(ports, state, answer)
    claim_due(ports, state)
    restore_some(ports, state)
    tell_state(ports, state)


def drain_once(ports: LoadPorts, state: LoadState) -> None:
    """Towards a stop: close every batch, whatever its age, and take the receipts.

    Polls nothing: 3. and 4. of :func:`load_once` only. Waits for one report in vain, not for more.
    """
    state.draining = True
    close_due(ports, state, FlushPolicy(rows_max=0, bytes_max=0, age_max=0))
    for answer in ports.lanes.finished():
        if not isinstance(answer, Claimed):
            _settle(ports, state, answer)
    if not state.idle:
        ports.clock.sleep(0.01)


def _change_owners(ports: LoadPorts, state: LoadState, polled: Polled) -> None:
    """Dissolve what was revoked, take up what was assigned, stop where the log has a hole."""
    if polled.revoked:
        state.ownership.revoke(polled.revoked)
        for partition in polled.revoked:
            state.restoring.pop(partition, None)
            forget_gauges(ports, partition)
        for topic, batch in list(state.open.items()):
            _replace_open(state, topic, batch.without(polled.revoked))
    state.ownership.assign(polled.assigned)
    tell_holes(ports, state, polled.gone)


def _replace_open(state: LoadState, topic: str, batch: Batch | None) -> None:
    if batch is None:
        state.open.pop(topic, None)
    else:
        state.open[topic] = batch


def _by_topic(ports: LoadPorts, state: LoadState, runs: Sequence[Run]) -> dict[str, list[Run]]:
    """The runs that count: of owned partitions, from their position on, nothing left out."""
    found: dict[str, list[Run]] = {}
    for run in runs:
        if state.ownership.owned(run.partition):
            fresh = run.since(state.ownership.held[run.partition].position)
            if fresh is not run:
                topic, number = run.partition.topic, str(run.partition.number)
                ports.metrics.count("load_offset_overlaps", stream=topic, partition=number)
            whole = without_gaps(ports, state, fresh) if len(fresh) else None
            if whole is not None:
                found.setdefault(run.partition.topic, []).append(whole)
    return found


def _read_stream(ports: LoadPorts, state: LoadState, topic: str, runs: list[Run]) -> None:
    """Judge a stream's runs, publish the dead letters, grow its batch."""
    stream, held = state.streams[topic], state.ownership.held
    while runs:
        keys = {run.partition: held[run.partition].keys for run in runs}
        try:
            judged = stream.judge(runs, keys, None if stream.is_dead else state.breaker.check)
            if judged.rejections:
                publish_dead(ports, judged.rejections)
        except BreakerOpenError as error:
            ports.note("breaker_open", {"topic": topic, "error": str(error)})
            for partition, why in error.tripped.items():
                number = str(partition.number)
                ports.metrics.gauge("load_breaker_open", 1, stream=topic, partition=number)
                give_up(ports, state, [partition], BreakerOpenError({partition: why}))
            runs = [run for run in runs if run.partition not in error.tripped]
        except (TransientError, SetupError) as error:
            ports.note("read_failed", {"topic": topic, "error": str(error)})
            give_up(ports, state, [run.partition for run in runs], error)
            return
        else:
            _grow(ports, state, runs, judged)
            return


def _grow(ports: LoadPorts, state: LoadState, runs: Sequence[Run], judged: Judged) -> None:
    """The runs are part of the open batch now, and their positions move on."""
    topic = runs[0].partition.topic
    spans = {}
    for run in runs:
        held = state.ownership.held[run.partition]
        epoch = held.claim.epoch if held.claim is not None else 0
        size = sum(map(len, filter(None, run.values)))
        first, last = (int(run.timestamps[at]) * 1000 for at in (0, -1))
        if not state.batched(run.partition):
            held.oldest = first
        spans[run.partition] = Span(
            *(held.position, run.next_offset, epoch, size),
            topic_id=held.topic_id,
            first_logged=first,
            last_logged=last,
        )
        held.position = run.next_offset
    if topic not in state.open:
        state.open[topic] = Batch(topic, ports.clock.now())
    state.open[topic].grow(judged, spans, ports.clock.now())
    _move_on(state, topic, judged, ports.clock.now())
    ports.metrics.count("load_events_read", sum(len(run) for run in runs), stream=topic)
    count_dead(ports, topic, judged.rejections)


def _move_on(state: LoadState, topic: str, judged: Judged, now: int) -> None:
    """A later business date than ever before closes the batch: what went before is over."""
    before = state.watermarks.get(topic)
    seen = latest_date(before, judged, now)
    if seen is not None:
        state.watermarks[topic] = seen
    if before is not None and before != seen:
        state.open[topic].date_over = True


def close_due(ports: LoadPorts, state: LoadState, policy: FlushPolicy) -> None:
    """Hand due batches to the lanes, one a stream at a time; a full stream waits unread."""
    now = ports.clock.now()
    for topic, batch in list(state.open.items()):
        held, contract = state.ownership.held, state.streams[topic].contract
        given_up = any(not state.ownership.owned(p) for p in batch.spans if p in held)
        if not (given_up or batch.due(policy.within(contract.sla), now)):
            continue
        if topic in state.loading:
            if topic not in state.paused and batch.full(policy):
                ports.log.pause(state.ownership.of_topic(topic))
                state.paused.add(topic)
            continue
        if not still_the_topic(ports, state, batch):
            continue
        plan = plan_load(batch, contract, now)
        del state.open[topic]
        batch.frames.clear()  # the plan has them, as one
        state.loading[topic] = plan, batch
        ports.lanes.load(plan)


def _settle(ports: LoadPorts, state: LoadState, answer: Receipt) -> None:
    """Take a load's end into account; after a failure, read again from the warehouse's word."""
    receipt = load_the_rest(ports, state, answer)
    if receipt is None:
        return
    plan, batch = state.loading.pop(receipt.topic)
    if receipt.topic in state.paused:
        state.paused.discard(receipt.topic)
        owned = [p for p in state.ownership.of_topic(receipt.topic) if state.ownership.owned(p)]
        ports.log.resume(owned)
    if receipt.error is not None:
        _dissolve(ports, state, plan, receipt.error)
        return
    if not plan.refused:
        state.refusals.passed({span.partition: span.loaded for span in plan.ranges})
    positions = _remember(ports, state, plan, batch)
    ports.log.commit(positions)
    ports.note(
        "committed",
        {
            "topic": plan.topic,
            "rows": plan.rows,
            "positions": {str(p.number): offset for p, offset in positions.items()},
            "batch": plan.batch,
        },
    )
    if not state.mute:
        told = _report(ports, plan, receipt)
        state.mute = state.draining and not told
    count_committed(ports, batch, plan, receipt)


def _remember(
    ports: LoadPorts, state: LoadState, plan: LoadPlan, batch: Batch
) -> dict[Partition, int]:
    """The keys of a committed batch are durable now; how far each partition is that is ours."""
    growing = state.open[plan.topic].spans if plan.topic in state.open else {}
    positions: dict[Partition, int] = {}
    for span in plan.ranges:
        held = state.ownership.held.get(span.partition)
        if held is None:
            continue  # whoever has it now restores the keys from the log
        held.committed, held.advanced_at = span.after, ports.clock.now()
        if not state.ownership.owned(span.partition):
            continue  # what stopped it came later than this; its keys are restored with the claim
        positions[span.partition] = span.after
        held.failures, held.error = 0, None
        grown = growing.get(span.partition)  # if none, what comes is no older than what went
        last = batch.spans[span.partition].last_logged
        held.oldest = grown.first_logged if grown is not None else last
        try:
            if held.keys is not None:
                held.keys.settle(span.after, ports.clock.now())
        except TransientError as error:
            ports.note("remember_failed", {"error": str(error)})
            give_up(ports, state, [span.partition], error)
    return positions


def _dissolve(ports: LoadPorts, state: LoadState, plan: LoadPlan, error: Exception) -> None:
    """A load has failed, or nobody knows: claim again, which tells where the warehouse stands."""
    if not isinstance(error, (TransientError, SetupError)):
        raise error
    kind = "fenced" if isinstance(error, FencedError) else "transient"
    kind = "setup" if isinstance(error, SetupError) else kind
    ports.note("load_failed", {"batch": plan.batch, "kind": kind, "error": str(error)})
    if kind == "fenced":
        ports.metrics.count("load_fences_lost", stream=plan.topic)
    ports.metrics.count("load_retries", stream=plan.topic, kind=kind)
    state.open.pop(plan.topic, None)
    give_up(ports, state, state.ownership.of_topic(plan.topic), error)


def _report(ports: LoadPorts, plan: LoadPlan, receipt: Receipt) -> bool:
    """Tell the control plane. The ledger has it all, so a failure here is only noted."""
    report = {
        "batch": plan.batch,
        "topic": plan.topic,
        "table": plan.table,
        "rows": plan.rows,
        "query_id": receipt.query_id,
        "committed_at": ports.clock.now(),
        "ranges": [
            {
                "partition": r.partition.number,
                "first": r.first,
                "after": r.after,
                "events": r.events,
                "loaded": r.loaded,
                "duplicates": r.duplicates,
                "dead": r.dead,
            }
            for r in plan.ranges
        ],
    }
    try:
        ports.publisher.publish([Record(REPORTS, orjson.dumps(report), plan.topic.encode())])
    except (TransientError, SetupError) as error:
        ports.note("report_failed", {"batch": plan.batch, "error": str(error)})
        return False
    return True
