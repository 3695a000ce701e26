"""What CloudEvents attributes cost a page of events: encoding, and handing over to librdkafka.

``python -m benchmarks.headers``; needs no broker. With and without in turns; read the ratios.
"""

import gc
import time
from collections.abc import Callable, Sequence
from statistics import median

from confluent_kafka import Producer

from benchmarks.encoding import order, page
from benchmarks.events import SCHEMA_ID, contract
from producers.encode import StreamEncoder
from schemas.events import Record
from schemas.headers import cloud_event

EVENTS = 10_000
ROUNDS = 9


def microseconds(work: Callable[[], object]) -> float:
    """CPU time of one event, all threads counted."""
    gc.collect()
    began = time.process_time()
    work()
    return (time.process_time() - began) / EVENTS * 1e6


def handed_over(records: Sequence[Record]) -> None:
    client = Producer({"bootstrap.servers": "127.0.0.1:1", "log_level": 0})
    for topic, value, key, headers in records:
        if headers:
            client.produce(topic, value, key, headers=list(headers))
        else:
            client.produce(topic, value, key)
    client.purge()


def compared(name: str, without: Callable[[], object], attributed: Callable[[], object]) -> None:
    rounds = [(microseconds(without), microseconds(attributed)) for _ in range(ROUNDS)]
    before, after = (median(column) for column in zip(*rounds, strict=True))
    ratio = median(b / a for a, b in rounds)
    print(f"{name:<20} {before:6.2f} us  {after:6.2f} us  x {ratio:.2f}")


def size(record: Record) -> int:
    """Before compression, with a length of one byte for each name and value."""
    headers = sum(len(name) + len(value) + 2 for name, value in record.headers)
    return len(record.value) + len(record.key or b"") + headers


def main() -> None:
    stream, events = contract("bench.orders"), page(order, EVENTS)
    plain = StreamEncoder(stream, SCHEMA_ID)
    cloudy = StreamEncoder(stream, SCHEMA_ID, attributes=cloud_event)
    compared("encode", lambda: plain.encode(events), lambda: cloudy.encode(events))
    few, many = plain.encode(events).records, cloudy.encode(events).records
    compared("hand to librdkafka", lambda: handed_over(few), lambda: handed_over(many))
    small, large = size(few[0]), size(many[0])
    print(f"{'bytes of a record':<20} {small:6}     {large:6}     x {large / small:.2f}")


if __name__ == "__main__":
    main()
