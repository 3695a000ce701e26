"""How far a stream is behind, as ``sluice status`` says."""

import pytest

from schemas.events import Partition, Record
from services.adapters.clock import SystemClock
from services.adapters.memory.broker import MemoryBroker
from services.adapters.memory.log import MemoryLogReader, MemoryTransactions
from services.cli.status import COUNTED_MAX, _Books, _partitions

TOPIC = "shop.orders"
PARTITION = Partition(TOPIC, 0)


@pytest.mark.parametrize(
    ("events", "loaded", "lag"),
    [
        pytest.param(3, 3, 0, id="nothing but a transaction marker is left"),
        pytest.param(3, 1, 2, id="few events are counted"),
        pytest.param(COUNTED_MAX + 50, 0, COUNTED_MAX + 51, id="many are estimated by offsets"),
        pytest.param(2, None, 2, id="no loader has claimed it yet"),
    ],
)
def test_the_lag_is_in_events_and_markers_are_none(
    events: int, loaded: int | None, lag: int
) -> None:
    broker = MemoryBroker(SystemClock())
    broker.create_topic(TOPIC, 1)
    records = [Record(TOPIC, b"%d" % number) for number in range(events)]
    MemoryTransactions(broker, "poller").publish_atomically(records)
    stands = {} if loaded is None else {PARTITION: loaded}
    (found,) = _partitions(MemoryLogReader(broker), TOPIC, _Books(stands, {}, {}, {}))
    assert (found.log_end, found.lag) == (events + 1, lag)
