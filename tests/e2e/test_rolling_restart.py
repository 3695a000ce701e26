"""Three loaders of one project, restarted one after the other under load."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from services.admin_ports import asked
from services.demo.folder import free_ports
from services.embedded.process import Process
from tests.support.orders import ORDERS_TABLE
from tests.support.project import STOP_SECONDS_MAX, Site, standing, until
from tests.support.senders import order

pytestmark = [
    pytest.mark.enable_socket,
    pytest.mark.embedded,
    pytest.mark.slow,
    pytest.mark.timeout(600),
]

Tell = Callable[[str], object]

REPLICAS, PARTITIONS, ROUNDS = 3, 6, 2
PER_SECOND, REPEATS = 400, 0.05


@contextmanager
def producing(site: Site) -> Iterator[Callable[[], Counter[str]]]:
    """Orders all the time, some of them again; calling what is given ends that and counts them."""
    sent: Counter[str] = Counter()
    stop = threading.Event()
    draw = random.Random(4)

    def work() -> None:
        while not stop.wait(0.1):
            count = PER_SECOND // 10
            names = [f"o{len(sent) + n}" for n in range(count)]
            if sent:
                names += draw.choices(list(sent), k=round(count * REPEATS))
            site.produce(*map(order, names))  # acknowledged on return
            sent.update(names)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()

    def ended() -> Counter[str]:
        stop.set()
        thread.join()
        return sent

    try:
        yield ended
    finally:
        ended()


def stopped(process: Process) -> float:
    """TERM; the seconds until it has ended by itself, in good order."""
    began = time.monotonic()
    process.stop()
    assert process.exit_code == 0, process.tail()
    return time.monotonic() - began


def ready(port: int) -> bool:
    return bool((asked(f"http://127.0.0.1:{port}/ready") or {}).get("ok"))


def loads(site: Site, name: str) -> int:
    """Batches that a loader has committed."""
    return site.log_of(name).count('"committed"')


def deliveries(site: Site, name: str) -> int:
    """Partitions that a loader has begun to deliver."""
    return site.log_of(name).count('"delivering"')


def restart(site: Site, loader: Process, port: int) -> str:
    """One step of a rolling restart: end it, start it, and go on once it is ready and loads."""
    name = loader.spec.name
    seconds = stopped(loader)
    assert seconds < STOP_SECONDS_MAX
    before, delivered, began = loads(site, name), deliveries(site, name), time.monotonic()
    loader.start()
    until(lambda: ready(port), 60, f"{name} is ready")
    assert deliveries(site, name) > delivered  # ready means that it has its partitions
    until(lambda: loads(site, name) > before, 60, f"{name} loads")
    took = time.monotonic() - began
    return f"{name} ended in {seconds:.1f} s; {took:.1f} s later the new one loads"


def test_a_rolling_restart_of_three_loaders_loses_nothing_and_doubles_nothing(
    tmp_path: Path, tell: Tell
) -> None:
    with (
        standing(tmp_path / "project", api=None, partitions=PARTITIONS) as site,
        ExitStack() as stack,
    ):
        ports = free_ports(REPLICAS)
        loaders = [site.process("loader", port, f"loader{n}") for n, port in enumerate(ports)]
        for one in loaders:
            stack.callback(one.stop)
            one.launch()
        for one in loaders:
            one.wait_ready()
        with producing(site) as ended:
            for _ in range(ROUNDS):
                for one, port in zip(loaders, ports, strict=True):
                    tell(restart(site, one, port))
            sent = ended()
        until(lambda: site.count(ORDERS_TABLE) >= len(sent), 30, "everything is loaded")
        for one in loaders:
            one.stop()
        found = site.rows(f"SELECT _ID AS ID, COUNT(*) AS N FROM {ORDERS_TABLE} GROUP BY _ID")
        assert {row["id"]: int(row["n"]) for row in found} == dict.fromkeys(sent, 1)
        code, books = site.audit_command()
        assert code == 0, books
        tell(f"{sent.total()} events, {len(sent)} distinct")
        assert [one.restarts for one in loaders] == [0] * REPLICAS
