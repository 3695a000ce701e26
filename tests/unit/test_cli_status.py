"""How far a stream is behind, as ``sluice status`` says."""

import pytest

from schemas.events import Partition, Record
from services.adapters.clock import SystemClock
from services.adapters.memory.broker import MemoryBroker
from services.adapters.memory.log import MemoryLogReader, MemoryTransactions
from services.cli.status import COUNTED_MAX, ProcessStatus, _Books, _partitions, show

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


@pytest.mark.parametrize(
    ("states", "hinted"),
    [(("no answer", "no answer"), True), (("no answer", "ready"), False), ((), False)],
)
def test_where_no_process_answers_the_next_step_is_told(
    states: tuple[str, ...], hinted: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    show([], [ProcessStatus("loader", "127.0.0.1:9103", state, []) for state in states])
    assert ("start them with: sluice up" in capsys.readouterr().out) is hinted


def test_a_port_that_nobody_knows_says_nothing_of_the_process(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show([], [ProcessStatus("loader", "127.0.0.1:0", "no answer", ["its port is 0"])])
    assert "sluice up" not in capsys.readouterr().out
