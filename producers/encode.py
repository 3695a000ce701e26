"""A record becomes an event, or a rejection."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from schemas.contract import Contract
from schemas.events import Incoming, Record, Rejection


@dataclass(frozen=True, slots=True)
class Encoded:
    """What became of some records: together as many as came in."""

    records: tuple[Record, ...]
    rejections: tuple[Rejection, ...]
    ids: tuple[str, ...]  # event ids in the order of the input, rejected ones too


class Encoder(Protocol):
    """Encodes one stream's records."""

    contract: Contract

    def encode(self, incoming: Sequence[Incoming]) -> Encoded:
        """Coerce to the contract's types and encode; never raises on data."""
