"""Watches processes while they are fuzzed: that they live, what they hold, and what they tell."""

import io
import re
import time
import urllib.request
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import fastavro
import psutil

from schemas import avro
from schemas.contract import DEAD_SUFFIX
from services.cli.up import Member
from tests.support.fuzz.judge import Forbidden, Ledger, LogReader, digest
from tests.support.project import Site, drained, until

METRICS_SECONDS = 5.0
MEGABYTE = 1_000_000
_LABEL = re.compile(r'\b(source|stream|topic)="([^"]*)"')  # only ours, whatever is sent


@dataclass
class Watch:
    """Looks at a project's processes, again and again."""

    site: Site
    members: Mapping[str, Member]
    forbidden: Forbidden
    ledger: Ledger
    rss: list[int] = field(default_factory=list)  # of the gateway, in bytes
    series: list[int] = field(default_factory=list)  # of its metrics, how many
    _asked_at: float = 0.0

    def __post_init__(self) -> None:
        folder = self.site.project.settings.state / "logs"
        self.logs = {
            name: LogReader(folder / f"{name}.log", self.forbidden, self.ledger)
            for name in self.members
        }
        self._pids = {name: member.process.pid for name, member in self.members.items()}

    def warm(self) -> None:
        """What was seen until now was the warming up."""
        self.rss.clear()

    def look(self) -> list[str]:
        """What is wrong just now."""
        found = [problem for log in self.logs.values() for problem in log.problems()]
        for name, member in self.members.items():
            pid = member.process.pid
            if pid is None or pid != self._pids[name]:
                ended = member.process.exit_code
                found.append(f"the {name} died: {ended}\n{member.process.tail()}")
        pid = self._pids["gateway"]
        if pid is not None and psutil.pid_exists(pid):
            self.rss.append(psutil.Process(pid).memory_info().rss)
        if time.monotonic() - self._asked_at > METRICS_SECONDS:
            self._asked_at = time.monotonic()
            found += [problem for name in self.members for problem in self._metrics(name)]
        return found

    def _metrics(self, name: str) -> list[str]:
        url = f"{self.members[name].admin}/metrics"
        try:
            with _direct.open(url, timeout=10) as answer:
                text = answer.read().decode()
        except OSError as error:
            return [f"{name}: no metrics: {error}"]
        if name == "gateway":
            self.series.append(sum(not line.startswith("#") for line in text.splitlines()))
        told = self.forbidden.found(text)
        found = [f"{name}: /metrics tells {told!r}"] if told else []
        known = {*self.site.project.settings.sources, *self.site.project.streams, "unknown"}
        strange = {value for _, value in _LABEL.findall(text)} - known
        return [*found, f"{name}: labels {strange}"] if strange else found

    def rss_megabytes(self) -> tuple[float, float]:
        """What the gateway holds at the start and at the end: the least in the outer thirds.

        It goes up and down by 100 MB with the heaviest bodies, since the allocator keeps for a
        while what they needed; what is really held shows in between.
        """
        third = max(1, len(self.rss) // 3)
        return min(self.rss[:third]) / MEGABYTE, min(self.rss[-third:]) / MEGABYTE


_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def settle(site: Site, seconds_max: float) -> None:
    """Wait until the loader has loaded all that is in the log."""
    until(lambda: drained(site), seconds_max, "nothing is in flight", 1)


def logged(site: Site) -> tuple[set[int], Counter[str]]:
    """Digests of all event ids in the log, dead letters' too; how many events each topic has."""
    ids: set[int] = set()
    counts: Counter[str] = Counter()
    reader = site.project.reader()
    try:
        for topic, contract in site.project.streams.items():
            schema = fastavro.parse_schema(avro.wire_schema(contract))
            name = "event_id" if topic.endswith(DEAD_SUFFIX) else avro.ID
            for partition in reader.partitions(topic):
                for run in reader.read(partition, *reader.bounds(partition)):
                    for value in run.values:
                        event = fastavro.schemaless_reader(io.BytesIO((value or b"")[5:]), schema)
                        assert isinstance(event, dict)
                        ids.add(digest(str(event[name])))
                        counts[topic] += 1
    finally:
        reader.close()
    return ids, counts
