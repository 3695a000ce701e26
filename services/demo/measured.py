"""What the processes say of themselves: metrics by HTTP, CPU time by the operating system."""

import urllib.request
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise

import psutil
from prometheus_client.parser import text_string_to_metric_families

SECONDS_MAX = 5.0
Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Sample:
    """One time series' value."""

    name: str
    labels: Labels
    value: float


def scrape(admin_urls: Iterable[str]) -> list[Sample]:
    """The metrics of these processes; those that do not answer are left out."""
    samples: list[Sample] = []
    for url in admin_urls:
        try:
            with urllib.request.urlopen(f"{url}/metrics", timeout=SECONDS_MAX) as answer:  # noqa: S310 - our own port
                text = answer.read().decode()
        except OSError:
            continue
        for family in text_string_to_metric_families(text):
            samples += [Sample(s.name, s.labels, float(s.value)) for s in family.samples]
    return samples


def total(samples: Iterable[Sample], name: str, **labels: str) -> float:
    """The sum of a metric's series with these labels."""
    wanted = labels.items()
    return sum(s.value for s in samples if s.name == name and wanted <= s.labels.items())


@dataclass(frozen=True, slots=True)
class Spread:
    """Where observations lie, in seconds: read from a histogram, so between its bounds."""

    count: int
    median: float
    p95: float


def spread(samples: Iterable[Sample], name: str, **labels: str) -> Spread | None:
    """The spread of a histogram, over all its series with these labels; None: never observed."""
    buckets: dict[float, float] = {}
    for sample in samples:
        if sample.name == f"{name}_bucket" and labels.items() <= sample.labels.items():
            bound = float(sample.labels["le"])
            buckets[bound] = buckets.get(bound, 0.0) + sample.value
    if not buckets or not max(buckets.values()):
        return None
    edges = sorted(buckets.items())
    return Spread(int(edges[-1][1]), quantile(edges, 0.5), quantile(edges, 0.95))


def quantile(edges: list[tuple[float, float]], share: float) -> float:
    """The value below which ``share`` lies; ``edges``: (upper bound, count up to it), ascending.

    Linear within a bucket, as PromQL's histogram_quantile; beyond the last bound, that bound.
    """
    wanted = share * edges[-1][1]
    for (low, before), (high, upto) in pairwise([(0.0, 0.0), *edges]):
        if upto >= wanted and upto > before:
            if high == float("inf"):
                return low
            return low + (high - low) * (wanted - before) / (upto - before)
    return 0.0


def cpu_seconds() -> dict[str, float]:
    """CPU seconds of this process and of its children, by what each of them is."""
    own = psutil.Process()
    found = {"demo": _used(own)}
    for child in own.children(recursive=True):
        try:
            command = child.cmdline()
            name = _role(command)
            found[name] = found.get(name, 0.0) + _used(child)
        except psutil.Error:
            continue
    return found


def _used(process: psutil.Process) -> float:
    times = process.cpu_times()
    return round(times.user + times.system, 1)


def _role(command: list[str]) -> str:
    text = " ".join(command)
    if "java" in command[0].rsplit("/", 1)[-1]:
        return "kafka"
    for mark, name in (
        ("services.embedded.warehouse", "warehouse"),
        ("services.demo.carrier_api", "carriers' API"),
        ("services.cli gateway", "gateway"),
        ("services.cli poller", "poller"),
        ("services.cli loader", "loader"),
    ):
        if mark in text:
            return name
    return "other"
