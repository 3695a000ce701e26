"""Events that are larger than the log takes become dead letters, whose topics take more."""

from collections.abc import Iterator, Sequence

from producers.encode import Encoded
from schemas.errors import RejectReason, Stage
from schemas.events import Incoming, Record, Rejection, Violation


def fitting(encoded: Encoded, incoming: Sequence[Incoming], bytes_max: int) -> Encoded:
    """The same, with a rejection for every record of more than ``bytes_max``."""
    if max((record.log_bytes for record in encoded.records), default=0) <= bytes_max:
        return encoded
    records: list[Record] = []
    rejections: list[Rejection] = []
    for one, id_, verdict in _verdicts(encoded, incoming):
        if isinstance(verdict, Rejection):
            rejections.append(verdict)
        elif verdict.log_bytes <= bytes_max:
            records.append(verdict)
        else:
            rejections.append(_oversized(one, id_, verdict, bytes_max))
    return Encoded(tuple(records), tuple(rejections), encoded.ids)


def _verdicts(
    encoded: Encoded, incoming: Sequence[Incoming]
) -> Iterator[tuple[Incoming, str, Record | Rejection]]:
    """Both kinds come in the input's order, so they can be told apart by the raw bytes."""
    records, rejections = iter(encoded.records), iter(encoded.rejections)
    rejected = next(rejections, None)
    for one, id_ in zip(incoming, encoded.ids, strict=True):
        if rejected is not None and rejected.value == one.raw:
            yield one, id_, rejected
            rejected = next(rejections, None)
        else:
            yield one, id_, next(records)


def _oversized(one: Incoming, id_: str, record: Record, bytes_max: int) -> Rejection:
    detail = f"{record.log_bytes} bytes in the log, which takes {bytes_max}"
    return Rejection(
        stream=record.topic,
        stage=Stage.ENCODE,
        violations=(Violation("$", RejectReason.OVERSIZED, detail),),
        value=one.raw,
        headers=one.headers,
        event_id=id_,
        source=one.source,
        seen_at=one.received_at,
    )
