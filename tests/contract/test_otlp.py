"""Metrics as a collector gets them: the official exporter, over HTTP, decoded again."""

import gzip
import math
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs

from schemas.errors import SetupError
from schemas.telemetry import METRICS
from services.adapters.clock import SystemClock
from services.adapters.metrics import PrometheusMetrics
from services.adapters.otlp import UNITS, OtlpPush, OtlpTarget
from services.bootstrap import Project, read_project
from services.cli.init import write_project
from services.processes.watched import watched
from tests.support.project import until

pytestmark = pytest.mark.enable_socket

Series = tuple[str, tuple[tuple[str, str], ...]]
RESOURCE = {"service.name": "sluice-loader", "service.instance.id": "here:9103"}
CUMULATIVE = 2


class Collector:
    """Keeps what is posted to it, or answers as a test wants."""

    def __init__(self) -> None:
        self.requests: list[ExportMetricsServiceRequest] = []
        self.headers: list[dict[str, str]] = []
        self.status = 200
        self.gate = threading.Event()
        self.gate.set()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                outer.headers.append({k.lower(): v for k, v in self.headers.items()})
                outer.gate.wait(10)
                if outer.status == 200:
                    assert self.headers["content-encoding"] == "gzip"
                    request = ExportMetricsServiceRequest.FromString(gzip.decompress(body))
                    outer.requests.append(request)
                self.send_response(outer.status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1/metrics"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,))
        self.thread.start()

    def close(self) -> None:
        self.gate.set()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def collector() -> Iterator[Collector]:
    opened = Collector()
    yield opened
    opened.close()


@pytest.fixture
def metrics() -> PrometheusMetrics:
    """Some of every kind, with labels and without."""
    made = PrometheusMetrics()
    made.count("load_events_read", 12, stream="shop.orders")
    made.count("load_events_read", 3, stream="crm.leads")
    made.count("load_polls", 5)
    made.gauge("load_lag_seconds", 1.5, stream="shop.orders")
    made.gauge("load_lag_seconds", 7, stream="gone")
    made.gauge("load_lag_seconds", float("nan"), stream="gone")
    made.gauge("process_live", float("nan"))
    for value, times in ((0.2, 3), (1, 1), (55, 2), (10**7, 1)):
        made.observe("load_seconds", value, times=times, stream="shop.orders")
    made.observe("load_seconds", 0.01, stream="crm.leads")
    return made


def pushing(
    collector: Collector, metrics: PrometheusMetrics, every: float = 3_600, timeout: float = 5
) -> OtlpPush:
    target = OtlpTarget(collector.url, lambda: {"x-token": "t"}, every, timeout)
    return OtlpPush(target, RESOURCE, metrics, SystemClock())


def of(request: ExportMetricsServiceRequest) -> dict[str, Metric]:
    (resource,) = request.resource_metrics
    (scope,) = resource.scope_metrics
    assert len({metric.name for metric in scope.metrics}) == len(scope.metrics)
    return {metric.name: metric for metric in scope.metrics}


def pushed(request: ExportMetricsServiceRequest) -> dict[Series, float]:
    """As the series that Prometheus would make of it."""
    found: dict[Series, float] = {}

    def put(name: str, point: object, value: float, **more: str) -> None:
        labels = {pair.key: pair.value.string_value for pair in point.attributes} | more  # type: ignore[attr-defined]
        found[name, tuple(sorted(labels.items()))] = value

    for name, metric in of(request).items():
        for point in metric.sum.data_points:
            assert (metric.sum.is_monotonic, metric.sum.aggregation_temporality) == (True, 2)
            put(f"{name}_total", point, point.as_double)
        for point in metric.gauge.data_points:
            put(name, point, point.as_double)
        for histogram in metric.histogram.data_points:
            assert metric.histogram.aggregation_temporality == CUMULATIVE
            assert not histogram.HasField("min")
            put(f"{name}_sum", histogram, histogram.sum)
            put(f"{name}_count", histogram, histogram.count)
            running = 0
            bounds = [*map(str, histogram.explicit_bounds), "+Inf"]
            for bound, count in zip(bounds, histogram.bucket_counts, strict=True):
                running += count
                put(f"{name}_bucket", histogram, running, le=bound)
    return found


def scraped(metrics: PrometheusMetrics) -> dict[Series, float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(metrics.text().decode())
        for sample in family.samples
        if not math.isnan(sample.value)  # a gauge that was forgotten
    }


def ours(series: dict[Series, float]) -> dict[Series, float]:
    """Without what the process's own CPU time changes between two looks."""
    return {key: value for key, value in series.items() if key[0].startswith("sluice_")}


def test_a_collector_gets_what_prometheus_reads(
    collector: Collector, metrics: PrometheusMetrics
) -> None:
    push = pushing(collector, metrics)
    read = scraped(metrics)
    push.close()
    (request,) = collector.requests
    assert ours(pushed(request)) == ours(read)
    assert pushed(request).keys() == read.keys()
    assert len([key for key in read if key[0] == "sluice_load_seconds_bucket"]) > 20


def test_name_unit_times_resource_and_headers_are_told(
    collector: Collector, metrics: PrometheusMetrics
) -> None:
    before = time.time_ns()
    push = pushing(collector, metrics)
    push.close()
    (request,) = collector.requests
    resource = request.resource_metrics[0].resource
    assert {a.key: a.value.string_value for a in resource.attributes} == RESOURCE
    found = of(request)
    assert found["sluice_load_seconds"].unit == "s"
    assert found["sluice_load_events_read"].unit == "{event}"
    assert found["sluice_load_lag_seconds"].description == METRICS["load_lag_seconds"].help
    (point,) = found["sluice_load_polls"].sum.data_points
    micro = 1_000
    assert before - micro <= point.start_time_unix_nano <= point.time_unix_nano <= time.time_ns()
    assert collector.headers[0]["x-token"] == "t"
    assert collector.headers[0]["content-type"] == "application/x-protobuf"


def test_what_makes_series_of_units_changes_no_name() -> None:
    """A suffix is added for a unit that the name lacks: alerts would look for another metric."""
    for metric in METRICS.values():
        if UNITS[metric.unit] in {"s", "By"}:
            assert metric.unit in metric.name.split("_"), metric.name


def test_pushes_go_on_and_the_last_one_comes_at_the_end(
    collector: Collector, metrics: PrometheusMetrics
) -> None:
    push = pushing(collector, metrics, every=0.05)
    until(lambda: len(collector.requests) >= 2, 10, "two pushes", 0.02)
    metrics.count("load_polls", 100)
    push.close()
    told = [of(r)["sluice_load_polls"].sum.data_points[0] for r in collector.requests]
    assert (told[0].as_double, told[-1].as_double) == (5, 105)
    assert len({point.start_time_unix_nano for point in told}) == 1
    last = len(collector.requests)
    time.sleep(0.2)
    assert len(collector.requests) == last
    assert metrics.value("sluice_telemetry_pushes_total") == last


@pytest.mark.parametrize("status", [400, 503])
def test_a_collector_that_fails_is_said_once_and_counted_until_it_works_again(
    collector: Collector, metrics: PrometheusMetrics, status: int
) -> None:
    collector.status = status
    with capture_logs() as lines:
        push = pushing(collector, metrics, every=0.05, timeout=0.4)

        def failures() -> float:
            return metrics.value("sluice_telemetry_push_failures_total") or 0

        until(lambda: failures() >= 3, 20, "three failures", 0.02)
        collector.status = 200
        until(lambda: bool(collector.requests), 10, "a push that works", 0.02)
        push.close()
    said = [(line["event"], line["log_level"]) for line in lines]
    assert said == [
        ("metrics could not be pushed; tried again every time, said once", "warning"),
        ("metrics are pushed again", "info"),
    ]
    assert lines[0]["error"].startswith(("Failed to export metrics batch", "Transient error"))
    assert lines[0]["where"] == collector.url


def test_a_collector_that_is_not_there_disturbs_nobody(metrics: PrometheusMetrics) -> None:
    target = OtlpTarget("http://127.0.0.1:9/v1/metrics", dict, 0.05, 10)
    with capture_logs() as lines:
        push = OtlpPush(target, RESOURCE, metrics, SystemClock())
        time.sleep(0.5)
        began = time.monotonic()
        push.close()
    assert time.monotonic() - began < 2.5  # it does not wait for the next try
    assert [line["log_level"] for line in lines] == ["warning"]
    assert "refused" in lines[0]["error"]


def test_a_collector_that_hangs_does_not_hold_up_the_end(
    collector: Collector, metrics: PrometheusMetrics
) -> None:
    collector.gate.clear()
    push = pushing(collector, metrics, every=0.05, timeout=30)
    until(lambda: bool(collector.headers), 10, "a push under way", 0.02)
    began = time.monotonic()
    with capture_logs() as lines:
        push.close()
    assert time.monotonic() - began < 8
    assert len(lines) == 1


def test_headers_are_fetched_again_after_a_failure(
    collector: Collector, metrics: PrometheusMetrics
) -> None:
    tokens = iter(["old", "new", "newer"])
    collector.status = 401
    target = OtlpTarget(collector.url, lambda: {"x-token": next(tokens)}, 0.05, 5)
    push = OtlpPush(target, RESOURCE, metrics, SystemClock())
    until(lambda: bool(collector.headers), 10, "the first push", 0.02)
    collector.status = 200
    until(lambda: len(collector.requests) >= 3, 10, "pushes that work", 0.02)
    push.close()
    assert collector.headers[0]["x-token"] == "old"
    assert collector.headers[-2]["x-token"] in {"new", "newer"}


# A project


@pytest.fixture
def project(tmp_path: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch) -> Project:
    write_project(tmp_path / "shop")
    monkeypatch.setenv("SLUICE_ADMIN__LOADER_PORT", "0")
    monkeypatch.setenv("SLUICE_TELEMETRY__OTLP_ENDPOINT", collector.url)
    monkeypatch.setenv("SLUICE_TELEMETRY__OTLP_HEADERS", '{"authorization": "env:OTLP_TOKEN"}')
    monkeypatch.setenv("OTLP_TOKEN", "Bearer abc")
    return read_project(tmp_path / "shop")


def test_a_process_pushes_its_last_values_with_its_role_when_it_ends(
    project: Project, collector: Collector
) -> None:
    with watched(project, "loader", 1):
        project.metrics.count("load_polls", 7)
    (request,) = collector.requests
    assert of(request)["sluice_load_polls"].sum.data_points[0].as_double == 7
    told = request.resource_metrics[0].resource.attributes
    attributes = {a.key: a.value.string_value for a in told}
    assert attributes["service.name"] == "sluice-loader"
    assert attributes["service.instance.id"].rpartition(":")[2].isdigit()
    assert attributes["service.version"]
    assert collector.headers[0]["authorization"] == "Bearer abc"


def test_without_an_endpoint_nothing_is_pushed(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SLUICE_TELEMETRY__OTLP_ENDPOINT")
    plain = read_project(project.settings.root)
    assert plain.metrics_push("loader", "here:1") is None


def test_a_missing_extra_is_named(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "services.adapters.otlp", raising=False)
    monkeypatch.delattr("services.adapters.otlp", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http", None)
    with pytest.raises(SetupError) as caught:
        project.metrics_push("loader", "here:1")
    assert "is not installed" in caught.value.what
    assert "sluice[otlp]" in caught.value.remedy
    assert caught.value.where == "sluice.toml: telemetry.otlp_endpoint"


def test_a_missing_secret_of_a_header_is_said_at_the_start(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OTLP_TOKEN")
    with pytest.raises(SetupError, match="OTLP_TOKEN"):
        project.metrics_push("loader", "here:1")
