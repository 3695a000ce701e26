"""Runs of messages for tests of the loader's steps."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from producers.encode import StreamEncoder
from schemas.contract import Contract
from schemas.events import Incoming, Partition, Run
from tests.support.contracts import incoming

SCHEMA_ID = 7


@dataclass(frozen=True)
class StoredMessage:
    """What is looked at for a rejected message only."""

    own_key: bytes | str | None = b"key"
    own_headers: Any = None

    def key(self) -> bytes | str | None:
        return self.own_key

    def headers(self) -> Any:
        return self.own_headers


def encoded(contract: Contract, values: Sequence[dict[str, Any]]) -> list[bytes]:
    """The messages of records, all of which fit."""
    return messages(contract, [incoming(value) for value in values])


def messages(contract: Contract, records: Sequence[Incoming]) -> list[bytes]:
    found = StreamEncoder(contract, SCHEMA_ID, columnar_min=8).encode(records)
    assert found.rejections == ()
    return [record.value for record in found.records]


def run_of(
    partition: Partition,
    values: Sequence[bytes | None],
    first: int = 0,
    message: StoredMessage | None = None,
) -> Run:
    """Consecutive offsets, one millisecond apart."""
    offsets = np.arange(first, first + len(values))
    return Run(partition, offsets, offsets * 1, values, [message or StoredMessage()] * len(values))
