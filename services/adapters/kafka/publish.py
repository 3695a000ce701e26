"""Writing to Kafka: durable one by one, or all at once in a transaction."""

import contextlib
import time
from collections.abc import Sequence
from functools import partial

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from schemas.errors import OversizedError, SetupError, SluiceError, TransientError
from schemas.events import Record
from services.adapters.kafka.clients import Alarm, ClientConfig, ask, message_bytes_max, producer
from services.adapters.kafka.errors import kafka_error, oversized, translated, translating

WAIT_SECONDS = 0.5
GRACE_SECONDS = 5.0  # after message.timeout.ms, by which every report must be in
CALL_SECONDS = 10.0
ABORT_SECONDS = 3.0
COMMIT_SECONDS_MAX = 60.0
TOO_LARGE = "make it a dead letter, or raise message.max.bytes here and max.message.bytes there"


class _Batch:
    """The records of one call, and which of them failed."""

    def __init__(self, records: Sequence[Record], where: str, bytes_max: int) -> None:
        self.records = records
        self.where = where
        self.failed: list[tuple[int, KafkaError]] = []
        for index, record in enumerate(records):
            if record.log_bytes > bytes_max:
                raise self.too_large(index, bytes_max)

    def too_large(self, index: int, bytes_max: int | None = None) -> OversizedError:
        """The error that names one record."""
        record = self.records[index]
        limit = "the topic takes" if bytes_max is None else f"{bytes_max} bytes"
        return OversizedError(
            f"a record of {record.log_bytes} bytes for {record.topic} is larger than {limit}",
            index=index,
            where=self.where,
            remedy=TOO_LARGE,
        )

    def enqueue(self, client: Producer) -> None:
        """Give all records to librdkafka, waiting while its queue is full."""
        for index, record in enumerate(self.records):
            while True:
                try:
                    client.produce(
                        record.topic,
                        record.value,
                        record.key,
                        headers=list(record.headers),
                        on_delivery=partial(self._report, index),
                    )
                except BufferError:
                    client.poll(WAIT_SECONDS)
                else:
                    break

    def error(self) -> SluiceError | None:
        """The failure that decides what the caller does, or None when all are durable."""
        if not self.failed:
            return None
        large = self.refused()
        if large is not None:
            return large
        index, error = self.failed[0]
        found = translated(error, f"{self.where}, {self.records[index].topic}")
        found.what += f"; {len(self.failed)} of {len(self.records)} records are not durable"
        return found

    def refused(self) -> OversizedError | None:
        """What the topic found too large: of a batch, refused as a whole, the largest record."""
        large = [index for index, error in self.failed if oversized(error)]
        if not large:
            return None
        return self.too_large(max(large, key=lambda index: self.records[index].log_bytes))

    def _report(self, index: int, error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            self.failed.append((index, error))


class KafkaPublisher:
    """Port ``Publisher``: an idempotent producer that waits for all brokers in sync."""

    def __init__(self, client: ClientConfig, where: str = "publisher") -> None:
        self._client = client
        self._where = where
        self._bytes_max = message_bytes_max(client)
        self._producer, self._alarm = producer(client, where)

    def publish(self, records: Sequence[Record]) -> None:
        """See the port. After a TransientError some of the records may be in the log."""
        batch = _Batch(records, self._where, self._bytes_max)
        with translating(self._where):
            batch.enqueue(self._producer)
            fatal = self._wait()
        error = fatal or batch.error()  # it is why the others were given up
        if any(one.fatal() for _, one in batch.failed) or fatal is not None:
            self._producer, self._alarm = producer(self._client, self._where)
        if error is not None:
            raise error

    def close(self) -> None:
        """Send what is queued, for a while."""
        self._producer.flush(GRACE_SECONDS)

    def _wait(self) -> SluiceError | None:
        """Until every record is durable or has failed. An error stops this producer."""
        while self._producer.flush(WAIT_SECONDS):  # message.timeout.ms bounds it
            error = self._alarm.taken()
            if isinstance(error, SetupError):
                self._producer.purge()
                self._producer.flush(WAIT_SECONDS)
                return error
        return None


class KafkaTransactions:
    """Port ``Transactions``: one producer with a transactional id.

    A twin with the same id is shut out when this one writes, and the other way round.
    """

    def __init__(self, client: ClientConfig, transactional_id: str) -> None:
        self._client = client
        self._id = transactional_id
        self._where = f"transactions of {transactional_id}"
        self._bytes_max = message_bytes_max(client)
        self._producer: Producer | None = None

    def publish_atomically(self, records: Sequence[Record]) -> None:
        """See the port. A TransientError that speaks of an unknown outcome means: read again."""
        batch = _Batch(records, self._where, self._bytes_max)
        client = self._producer or self._opened()
        # Kept only if all goes well: after an abort librdkafka may send wrong sequence numbers,
        # while a new producer also settles whatever transaction is still open.
        self._producer = None
        try:
            client.begin_transaction()
            batch.enqueue(client)
            self._commit(client)
        except KafkaException as error:
            found = kafka_error(error)
            if not found.fatal():
                with contextlib.suppress(KafkaException):  # so that readers need not wait for it
                    client.abort_transaction(ABORT_SECONDS)
            raise batch.refused() or translated(found, self._where) from error
        self._producer = client

    def close(self) -> None:
        """Give the producer up; nothing is open between calls."""
        self._producer = None

    def _opened(self) -> Producer:
        alarm: Alarm
        client, alarm = producer(self._client, self._where, transactional_id=self._id)
        try:
            with translating(self._where):
                ask(client.init_transactions, client, alarm, CALL_SECONDS)
        except TransientError as error:
            raise alarm.taken() or error from error
        return client

    def _commit(self, client: Producer) -> None:
        """Commit, and ask again while the outcome is unknown."""
        deadline = time.monotonic() + COMMIT_SECONDS_MAX
        while True:
            try:
                client.commit_transaction(CALL_SECONDS)
            except KafkaException as error:
                found = kafka_error(error)
                if found.txn_requires_abort() or found.fatal() or not found.retriable():
                    raise
                if time.monotonic() > deadline:
                    raise TransientError(
                        f"the outcome of a transaction is unknown ({found.name()})",
                        where=self._where,
                        remedy="read back what the log holds, as after a restart",
                    ) from error
            else:
                return
