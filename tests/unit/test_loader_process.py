"""The loader's process gives back what keeps it from ending, however its work ends."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from schemas.errors import SetupError
from services.adapters.clock import SystemClock
from services.adapters.metrics import MemoryMetrics
from services.bootstrap import loader as bootstrap
from services.exit_codes import ExitCode
from services.monitor.health import Health
from services.processes import loader as process
from services.processes.watched import Watched
from services.run import Stop


class Closing:
    """A port that only remembers whether it was closed."""

    def __init__(self) -> None:
        self.closed = False

    def close(self, *_: float) -> None:
        self.closed = True


@pytest.fixture
def stop(monkeypatch: pytest.MonkeyPatch) -> Stop:
    """Of a process without its admin port, whose project has no loader to drain."""
    made = Stop()

    @contextmanager
    def watched(*_: object) -> Iterator[Watched]:
        yield Watched(Health(SystemClock(), ("loader",)), made)

    monkeypatch.setattr(process, "watched", watched)
    monkeypatch.setattr(process, "load_state", lambda _: SimpleNamespace(idle=True))
    monkeypatch.setattr(process, "load_policy", lambda _: None)
    monkeypatch.setattr(process, "calm_collector", lambda: None)
    monkeypatch.setattr(process, "report_partitions", lambda *_: None)
    return made


def run_with(ports: Any, turn: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> ExitCode:
    monkeypatch.setattr(process, "load_ports", lambda *_: ports)
    monkeypatch.setattr(process, "load_once", turn)
    loader = SimpleNamespace(drain_seconds=1.0)
    project: Any = SimpleNamespace(
        settings=SimpleNamespace(loader=loader), metrics=MemoryMetrics(), clock=SystemClock()
    )
    return process.run_loader(project)


def test_a_stop_and_a_bug_close_consumer_and_sessions(
    stop: Stop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bug(*_: object) -> None:
        raise KeyError("x")

    def stopped(*_: object) -> None:
        stop.set()

    for turn, code in ((bug, ExitCode.BUG), (stopped, ExitCode.OK)):
        ports = SimpleNamespace(lanes=Closing(), log=Closing())
        assert run_with(ports, turn, monkeypatch) is code
        assert (ports.lanes.closed, ports.log.closed) == (True, True)


def test_no_consumer_is_made_where_something_else_cannot_be(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[str] = []

    class Refusing(SimpleNamespace):
        @property
        def dead_letters(self) -> None:
            raise SetupError("no schema ids", where="avro/ids.json", remedy="run `sluice apply`")

    for name in ("KafkaLog", "KafkaPublisher", "ThreadLanes", "SegmentStores"):
        monkeypatch.setattr(bootstrap, name, lambda *_, name=name: made.append(name))
    loader = SimpleNamespace(group="g", lanes=1, keep_files=True)
    settings = SimpleNamespace(loader=loader, project="p", state=Path())
    project: Any = Refusing(
        settings=settings, reader=lambda: None, large_options={}, warehouse=None,
        clock=None, metrics=None, kafka_options={}, streams={},
    )  # fmt: skip
    with pytest.raises(SetupError, match="no schema ids"):
        bootstrap.load_ports(project, lambda *_: None)
    assert "KafkaPublisher" in made
    assert "KafkaLog" not in made
