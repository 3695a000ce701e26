"""The embedded broker and warehouse of a project folder: one owner, any number of users."""

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from schemas.errors import SetupError
from schemas.ports import Clock
from services.settings import Settings

if TYPE_CHECKING:
    from services.embedded.parts import Parts  # with their clients, which only an owner needs

READY_SECONDS_MAX = 90.0
PAUSE_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where the embedded parts answer; None for what the project does not embed."""

    bootstrap: str | None = None
    warehouse: Mapping[str, Any] | None = None
    owned: bool = False  # by this process


@contextmanager
def embedded(
    settings: Settings, clock: Clock, make: "Callable[[Settings], Parts]"
) -> Iterator[Endpoints]:
    """What the settings embed, running: another process's, or else our own until the exit.

    ``make`` builds our own. Raises SetupError when something does not come up.
    """
    if not settings.embedded_kafka and not settings.embedded_warehouse:
        yield Endpoints()
        return
    folder = settings.state / "run"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "stack.lock").open("a") as lock, ExitStack() as stack:
        if _taken(lock):
            yield _started(make(settings), stack, folder / "stack.json")
        else:
            yield _found(folder, clock)


def _taken(lock: TextIO) -> bool:
    """Whether the lock is ours now; it ends with the process, however that ends."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _started(parts: "Parts", stack: ExitStack, file: Path) -> Endpoints:
    file.unlink(missing_ok=True)
    kafka, warehouse = parts.kafka, parts.warehouse
    if warehouse is not None:  # the slower one goes on starting beside it
        warehouse.launch()
        stack.callback(warehouse.stop)
    if kafka is not None:
        kafka.start()
        stack.callback(kafka.stop)
    if warehouse is not None:
        warehouse.wait_ready()
    endpoints = Endpoints(
        kafka.bootstrap if kafka is not None else None,
        warehouse.connection if warehouse is not None else None,
        owned=True,
    )
    draft = file.with_suffix(".draft")
    body = {"bootstrap": endpoints.bootstrap, "warehouse": endpoints.warehouse, "pid": os.getpid()}
    draft.write_text(json.dumps(body))
    draft.replace(file)
    stack.callback(file.unlink, missing_ok=True)
    return endpoints


def _found(folder: Path, clock: Clock) -> Endpoints:
    """What another process of this folder has started; waits until it is up."""
    file = folder / "stack.json"
    deadline = clock.monotonic() + READY_SECONDS_MAX
    while not file.exists():
        if clock.monotonic() > deadline:
            raise SetupError(
                "another process holds the embedded broker and warehouse, but they do not come up",
                where=str(folder),
                remedy="look into the logs beside this folder, and end that process",
            )
        clock.sleep(PAUSE_SECONDS)
    body = json.loads(file.read_text())
    return Endpoints(body["bootstrap"], body["warehouse"])
