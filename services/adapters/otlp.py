"""Pushes the metrics to an OpenTelemetry collector: OTLP over HTTP, in protobuf.

The values are those of our own registry, read at each push: nothing is counted twice, and names
and labels are those of ``/metrics``. Counters lose their ``_total``, as OpenTelemetry has it; what
makes Prometheus series of them gives it back.
"""

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from threading import Event, Thread

import structlog
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricExportResult,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.samples import Sample
from typing_extensions import override

from schemas.errors import SluiceError
from schemas.ports import Clock
from schemas.telemetry import METRICS, PREFIX, Unit
from services.adapters.metrics import PrometheusMetrics

CLOSE_SECONDS = 2.0  # for the last values, and before that for a push that is under way
UNITS: Mapping[Unit, str] = {
    "seconds": "s",
    "bytes": "By",
    "events": "{event}",
    "rows": "{row}",
    "requests": "{request}",
    "": "",
}
"""As UCUM writes them."""
_UNIT_OF = {PREFIX + metric.name: UNITS[metric.unit] for metric in METRICS.values()}
_CUMULATIVE = AggregationTemporality.CUMULATIVE
_MICRO = 1_000  # nanoseconds
_EXPORTER_LOG = "opentelemetry.exporter.otlp.proto.http.metric_exporter"


@dataclass(frozen=True, slots=True)
class OtlpTarget:
    """Where metrics go. ``headers`` fetches them, secrets included: never log them."""

    endpoint: str
    headers: Callable[[], Mapping[str, str]]
    every_seconds: float
    timeout_seconds: float


@dataclass(frozen=True, slots=True)
class Period:
    """From the start of the counters to now, in nanoseconds since the epoch, UTC."""

    start: int
    now: int


def metrics_data(
    families: Iterable[Family], resource: Mapping[str, str], period: Period
) -> MetricsData:
    """A registry's families as OTLP has them: cumulative, histograms with explicit bounds."""
    metrics = [metric for family in families if (metric := _metric(family, period)) is not None]
    scope = ScopeMetrics(InstrumentationScope("sluice"), metrics, "")
    return MetricsData([ResourceMetrics(Resource(dict(resource)), [scope], "")])


def _metric(family: Family, period: Period) -> Metric | None:
    """None where there is no sample."""
    data: Sum | Gauge | Histogram
    match family.type:
        case "counter":
            data = Sum(list(_numbers(family.samples, period)), _CUMULATIVE, is_monotonic=True)
        case "histogram":
            data = Histogram(list(_histograms(family.samples, period)), _CUMULATIVE)
        case _:
            data = Gauge(list(_numbers(family.samples, period)))
    if not data.data_points:
        return None
    return Metric(family.name, family.documentation, _UNIT_OF.get(family.name, ""), data)


def _numbers(samples: Iterable[Sample], period: Period) -> Iterator[NumberDataPoint]:
    for sample in samples:
        if not math.isnan(sample.value):  # a gauge that was forgotten
            yield NumberDataPoint(sample.labels, period.start, period.now, sample.value)


def _histograms(samples: Iterable[Sample], period: Period) -> Iterator[HistogramDataPoint]:
    """One point a series: ``le`` and its running counts become bounds and counts of their own."""
    series: dict[tuple[tuple[str, str], ...], dict[str, float]] = {}
    for sample in samples:
        labels = {name: value for name, value in sample.labels.items() if name != "le"}
        part = sample.labels.get("le") or sample.name.rpartition("_")[2]
        series.setdefault(tuple(sorted(labels.items())), {})[part] = sample.value
    for labels_, parts in series.items():
        total, count = parts.pop("sum"), parts.pop("count")
        running = sorted((float(bound), value) for bound, value in parts.items())
        counts = [value - before for (_, before), (_, value) in pairwise([(0.0, 0.0), *running])]
        yield HistogramDataPoint(
            attributes=dict(labels_),
            start_time_unix_nano=period.start,
            time_unix_nano=period.now,
            count=int(count),
            sum=total,
            bucket_counts=[int(value) for value in counts],
            explicit_bounds=[bound for bound, _ in running if not math.isinf(bound)],
            min=None,  # type: ignore[arg-type] # nobody keeps them; the field is optional on the wire
            max=None,  # type: ignore[arg-type]
        )


class OtlpPush:
    """Pushes from a thread of its own until :meth:`close`; never disturbs the process.

    What fails is logged once, and once more when it works again, and counted; the next push says
    everything, so that nothing is made up for. After a failure the headers are fetched again: a
    token may have been replaced.
    """

    def __init__(
        self,
        target: OtlpTarget,
        resource: Mapping[str, str],
        metrics: PrometheusMetrics,
        clock: Clock,
    ) -> None:
        """Begin. Raises SetupError where a header's secret cannot be had."""
        self._target = target
        self._resource = dict(resource)
        self._metrics = metrics
        self._clock = clock
        self._started = clock.now() * _MICRO
        self._failing = False
        self._stop = Event()
        self._exporter: OTLPMetricExporter | None = self._new(target.timeout_seconds)
        self._said = _Said()
        self._thread = Thread(target=self._run, name="otlp", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Push the last values, for a few seconds at most, and end."""
        self._stop.set()
        exporter = self._exporter
        if exporter is not None:
            exporter.shutdown()  # ends its waits between tries
        self._thread.join(CLOSE_SECONDS)
        self._exporter = None
        self._push(CLOSE_SECONDS)
        self._said.close()

    def _run(self) -> None:
        while not self._stop.wait(self._target.every_seconds):
            self._push(self._target.timeout_seconds)

    def _push(self, seconds: float) -> None:
        """Everything there is now. Never raises."""
        why = self._tried(seconds)
        if why is None:
            self._went_well()
        else:
            self._failed(why)

    def _tried(self, seconds: float) -> str | None:
        """One push: None, or why it failed."""
        try:
            exporter = self._exporter = self._exporter or self._new(seconds)
            period = Period(self._started, self._clock.now() * _MICRO)
            data = metrics_data(self._metrics.families(), self._resource, period)
            if exporter.export(data) is MetricExportResult.SUCCESS:
                return None
        except SluiceError as error:
            return str(error)
        except Exception as error:  # noqa: BLE001 - the guard: telemetry never stops the flow
            return f"{type(error).__name__}: {error}"
        return self._said.taken() or "the exporter gave no reason"

    def _new(self, seconds: float) -> OTLPMetricExporter:
        return OTLPMetricExporter(
            endpoint=self._target.endpoint,
            headers=self._target.headers(),
            timeout=seconds,
            compression=Compression.Gzip,
        )

    def _went_well(self) -> None:
        self._metrics.count("telemetry_pushes")
        if self._failing:
            structlog.get_logger(__name__).info("metrics are pushed again")
        self._failing = False

    def _failed(self, why: str) -> None:
        self._metrics.count("telemetry_push_failures")
        self._exporter = None
        if not self._failing:
            structlog.get_logger(__name__).warning(
                "metrics could not be pushed; tried again every time, said once",
                error=why,
                where=self._target.endpoint,
                remedy="see whether the collector is up and takes the headers; nothing else waits",
            )
        self._failing = True


class _Said(logging.Handler):
    """Takes what the exporter logs of every try: it says why in no other way."""

    def __init__(self) -> None:
        super().__init__()
        self._first = ""
        log = logging.getLogger(_EXPORTER_LOG)
        log.propagate = False
        log.addHandler(self)

    @override
    def emit(self, record: logging.LogRecord) -> None:
        self._first = self._first or record.getMessage()

    def taken(self) -> str:
        """The first line since the last call."""
        first, self._first = self._first, ""
        return first

    @override
    def close(self) -> None:
        log = logging.getLogger(_EXPORTER_LOG)
        log.removeHandler(self)
        log.propagate = True
        super().close()
