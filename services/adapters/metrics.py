"""The Metrics port on prometheus_client, and in memory for tests."""

import math
from bisect import bisect_left
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import accumulate
from threading import Lock
from typing import TypeVar

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector
from typing_extensions import override

from schemas.telemetry import (
    METRICS,
    PREFIX,
    SERIES_MAX,
    Kind,
    Metric,
    UnknownMetricError,
    known,
)

CONTENT_TYPE = CONTENT_TYPE_LATEST
"""The media type of :meth:`PrometheusMetrics.text`."""
_REFUSED = "telemetry_refused"
_Call = TypeVar("_Call", bound=Callable[..., None])
_Key = tuple[str, tuple[tuple[str, str], ...]]


class _Series:
    """One label combination of a histogram."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0
        self._lock = Lock()

    def observe(self, value: float, times: int) -> None:
        with self._lock:
            self._counts[bisect_left(self._bounds, value)] += times
            self._sum += value * times

    def buckets(self) -> tuple[list[tuple[str, float]], float]:
        """Upper bounds with cumulative counts, and the sum."""
        with self._lock:
            counts, total = list(self._counts), self._sum
        bounds = [*(str(float(bound)) for bound in self._bounds), "+Inf"]
        return list(zip(bounds, map(float, accumulate(counts)), strict=True)), total


class _Histogram(Collector):
    """A histogram that takes an observation many times over in one call.

    The client's own cannot, and 250,000 rows of a batch are one observation each.
    """

    def __init__(self, metric: Metric) -> None:
        self._metric = metric
        self._children: dict[tuple[str, ...], _Series] = {}

    def labels(self, *values: str) -> _Series:
        return self._children.setdefault(values, _Series(self._metric.buckets))

    def remove(self, *values: str) -> None:
        self._children.pop(values, None)

    @override
    def collect(self) -> Iterable[Family]:
        metric = self._metric
        family = HistogramMetricFamily(metric.exposed, metric.help, labels=metric.labels)
        for values, series in list(self._children.items()):
            buckets, total = series.buckets()
            family.add_metric(values, buckets, total)
        yield family


class PrometheusMetrics:
    """Counts with prometheus_client, in a registry of its own. Fits :class:`schemas.ports.Metrics`.

    Safe for any number of threads. A call that does not fit the table is not kept but counted in
    ``telemetry_refused``: a metric never stops the flow of data.
    """

    def __init__(self) -> None:
        # a second series for each that nobody reads
        disable_created_metrics()  # type: ignore[no-untyped-call] # the client's is untyped
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._families = {name: self._family(metric) for name, metric in METRICS.items()}
        self._values: dict[str, set[tuple[str, ...]]] = {name: set() for name in METRICS}
        self._adds: dict[_Key, Callable[[float], None]] = {}
        self._sets: dict[_Key, Callable[[float], None]] = {}
        self._observes: dict[_Key, Callable[[float, int], None]] = {}
        self._lock = Lock()

    def _family(self, metric: Metric) -> Counter | Gauge | _Histogram:
        name, text, labels = PREFIX + metric.name, metric.help, metric.labels
        match metric.kind:
            case Kind.COUNTER:
                return Counter(name, text, labels, registry=self._registry)
            case Kind.GAUGE:
                return Gauge(name, text, labels, registry=self._registry)
            case Kind.HISTOGRAM:
                histogram = _Histogram(metric)
                self._registry.register(histogram)
                return histogram

    def count(self, name: str, value: float = 1, **labels: str) -> None:
        """Add to a counter; about a microsecond once the series is known."""
        if not 0 <= value < math.inf:
            self._refuse("bad_value")
            return
        key = (name, tuple(labels.items()))
        add = self._adds.get(key)
        if add is None:
            child = self._open(Kind.COUNTER, key)
            if not isinstance(child, Counter):
                return
            add = self._kept(self._adds, key, child.inc)
        add(value)

    def gauge(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge; NaN forgets the series."""
        key = (name, tuple(labels.items()))
        if math.isnan(value):
            self._forget(key)
            return
        put = self._sets.get(key)
        if put is None:
            child = self._open(Kind.GAUGE, key)
            if not isinstance(child, Gauge):
                return
            put = self._kept(self._sets, key, child.set)
        put(value)

    def observe(self, name: str, value: float, *, times: int = 1, **labels: str) -> None:
        """The same observation of a histogram, ``times`` over, at the price of one."""
        if not math.isfinite(value) or times < 0:
            self._refuse("bad_value")
            return
        key = (name, tuple(labels.items()))
        observe = self._observes.get(key)
        if observe is None:
            child = self._open(Kind.HISTOGRAM, key)
            if not isinstance(child, _Series):
                return
            observe = self._kept(self._observes, key, child.observe)
        observe(value, times)

    def text(self) -> bytes:
        """All of it, as Prometheus reads it (:data:`CONTENT_TYPE`)."""
        return generate_latest(self._registry)

    def families(self) -> Iterable[Family]:
        """All of it, as values."""
        return self._registry.collect()

    def value(self, series: str, **labels: str) -> float | None:
        """One time series as it would be read, by the name that queries use."""
        return self._registry.get_sample_value(series, labels)

    def _open(self, kind: Kind, key: _Key) -> Counter | Gauge | _Series | None:
        name, labels = key[0], dict(key[1])
        try:
            metric = known(name, kind, labels)
        except UnknownMetricError:
            self._refuse("unknown")
            return None
        values = tuple(str(labels[label]) for label in metric.labels)
        with self._lock:
            series = self._values[name]
            full = values not in series and len(series) >= SERIES_MAX
            if not full:
                series.add(values)
        if full:
            self._refuse("too_many_series")
            return None
        family = self._families[name]
        if isinstance(family, _Histogram) or values:
            return family.labels(*values)
        return family

    def _kept(self, cache: dict[_Key, _Call], key: _Key, call: _Call) -> _Call:
        return cache.setdefault(key, call)

    def _forget(self, key: _Key) -> None:
        name, labels = key[0], dict(key[1])
        try:
            metric = known(name, Kind.GAUGE, labels)
        except UnknownMetricError:
            self._refuse("unknown")
            return
        family = self._families[name]
        if not isinstance(family, Gauge):
            return
        values = tuple(str(labels[label]) for label in metric.labels)
        with self._lock:
            self._values[name].discard(values)
            # the caller may have written the labels in another order before
            for other in [k for k in self._sets if k[0] == name and dict(k[1]) == labels]:
                self._sets.pop(other, None)
        if values:
            family.remove(*values)
        else:
            family.set(math.nan)

    def _refuse(self, reason: str) -> None:
        self.count(_REFUSED, reason=reason)


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the port."""

    kind: Kind
    name: str
    value: float
    labels: tuple[tuple[str, str], ...]  # sorted
    times: int = 1


class MemoryMetrics:
    """Keeps every call, in order. Fits :class:`schemas.ports.Metrics`.

    Raises UnknownMetricError where the real one counts a refusal, so that tests fail.
    """

    def __init__(self) -> None:
        self.calls: list[Call] = []

    def count(self, name: str, value: float = 1, **labels: str) -> None:
        """Keep an addition. Raises ValueError for a negative one."""
        if not 0 <= value < math.inf:
            raise ValueError(f"{name}: a counter cannot grow by {value}")
        self._keep(Kind.COUNTER, name, value, labels)

    def gauge(self, name: str, value: float, **labels: str) -> None:
        """Keep a gauge's value."""
        self._keep(Kind.GAUGE, name, value, labels)

    def observe(self, name: str, value: float, *, times: int = 1, **labels: str) -> None:
        """Keep an observation. Raises ValueError where it is no number."""
        if not math.isfinite(value) or times < 0:
            raise ValueError(f"{name}: not an observation: {value}, {times} times")
        self._keep(Kind.HISTOGRAM, name, value, labels)
        self.calls[-1] = replace(self.calls[-1], times=times)

    def _keep(self, kind: Kind, name: str, value: float, labels: dict[str, str]) -> None:
        known(name, kind, labels)
        self.calls.append(Call(kind, name, value, tuple(sorted(labels.items()))))

    def total(self, name: str, **labels: str) -> float:
        """The sum of a counter's additions whose labels include these."""
        return sum(call.value for call in self._matching(name, labels))

    def last(self, name: str, **labels: str) -> float | None:
        """The newest value of a gauge or histogram whose labels include these."""
        return next((call.value for call in reversed(self._matching(name, labels))), None)

    def _matching(self, name: str, labels: dict[str, str]) -> list[Call]:
        return [
            c for c in self.calls if c.name == name and labels.items() <= dict(c.labels).items()
        ]
