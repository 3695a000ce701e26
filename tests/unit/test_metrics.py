"""Counting never raises, keeps to the table, and says what was counted."""

import math
import threading
import timeit
from collections.abc import Callable

import pytest
from prometheus_client.parser import text_string_to_metric_families

from schemas.telemetry import METRICS, SERIES_MAX, Kind, UnknownMetricError
from services.adapters.metrics import Call, MemoryMetrics, PrometheusMetrics


@pytest.fixture
def metrics() -> PrometheusMetrics:
    return PrometheusMetrics()


def test_counters_gauges_and_histograms_are_read_back(metrics: PrometheusMetrics) -> None:
    metrics.count("load_batches", stream="a.b")
    metrics.count("load_batches", 2, stream="a.b")
    metrics.gauge("load_lag_events", 7, stream="a.b", partition="0")
    metrics.observe("load_batch_rows", 100, stream="a.b")
    assert metrics.value("sluice_load_batches_total", stream="a.b") == 3
    assert metrics.value("sluice_load_lag_events", partition="0", stream="a.b") == 7
    assert metrics.value("sluice_load_batch_rows_count", stream="a.b") == 1
    assert metrics.value("sluice_load_batch_rows_sum", stream="a.b") == 100


def test_many_observations_at_once_equal_as_many_single_ones(metrics: PrometheusMetrics) -> None:
    other = PrometheusMetrics()
    for value, times in [(0.05, 3), (0.1, 2), (0.100001, 1), (1e9, 4), (0, 1)]:
        metrics.observe("load_seconds", value, times=times, stream="s")
        for _ in range(times):
            other.observe("load_seconds", value, stream="s")
    mine, theirs = (
        [line for line in m.text().decode().splitlines() if "load_seconds_" in line]
        for m in (metrics, other)
    )
    assert mine == theirs
    assert 'sluice_load_seconds_bucket{le="0.1",stream="s"} 6.0' in mine
    assert 'sluice_load_seconds_bucket{le="+Inf",stream="s"} 11.0' in mine


def test_the_order_of_labels_makes_no_difference(metrics: PrometheusMetrics) -> None:
    metrics.count("gateway_requests", source="a", status="200")
    metrics.count("gateway_requests", status="200", source="a")
    metrics.count("gateway_requests", status="a", source="200")
    assert metrics.value("sluice_gateway_requests_total", source="a", status="200") == 2
    assert metrics.value("sluice_gateway_requests_total", source="200", status="a") == 1


def test_nan_forgets_a_gauge_in_whatever_order_its_labels_come(metrics: PrometheusMetrics) -> None:
    metrics.gauge("load_lag_events", 7, stream="a", partition="0")
    metrics.gauge("load_lag_events", 8, stream="a", partition="1")
    metrics.gauge("load_lag_events", math.nan, partition="0", stream="a")
    assert metrics.value("sluice_load_lag_events", stream="a", partition="0") is None
    assert metrics.value("sluice_load_lag_events", stream="a", partition="1") == 8
    metrics.gauge("load_lag_events", 9, stream="a", partition="0")
    assert metrics.value("sluice_load_lag_events", stream="a", partition="0") == 9


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda m: m.count("no_such_metric"), "unknown"),
        (lambda m: m.count("load_batches"), "unknown"),
        (lambda m: m.gauge("load_batches", 1, stream="s"), "unknown"),
        (lambda m: m.gauge("no_such_metric", math.nan), "unknown"),
        (lambda m: m.observe("load_seconds", 1, stream="s", id="1"), "unknown"),
        (lambda m: m.count("load_batches", -1, stream="s"), "bad_value"),
        (lambda m: m.count("load_batches", math.nan, stream="s"), "bad_value"),
        (lambda m: m.observe("load_seconds", math.inf, stream="s"), "bad_value"),
        (lambda m: m.observe("load_seconds", 1, times=-1, stream="s"), "bad_value"),
    ],
    ids=["name", "no_label", "kind", "forget", "label", "negative", "nan", "infinite", "times"],
)
def test_a_wrong_call_is_counted_and_never_raises(
    metrics: PrometheusMetrics, call: Callable[[PrometheusMetrics], None], reason: str
) -> None:
    call(metrics)
    assert metrics.value("sluice_telemetry_refused_total", reason=reason) == 1


def test_the_number_of_series_has_a_limit(metrics: PrometheusMetrics) -> None:
    for number in range(SERIES_MAX + 5):
        metrics.count("load_batches", stream=f"s{number}")
    metrics.count("load_batches", stream="s0")
    assert metrics.value("sluice_telemetry_refused_total", reason="too_many_series") == 5
    assert metrics.value("sluice_load_batches_total", stream="s0") == 2
    assert metrics.value("sluice_load_batches_total", stream=f"s{SERIES_MAX}") is None


def test_forgotten_series_make_room_for_others(metrics: PrometheusMetrics) -> None:
    for number in range(SERIES_MAX + 5):
        metrics.gauge("load_memory_bytes", 1, stream=f"s{number}")
        metrics.gauge("load_memory_bytes", math.nan, stream=f"s{number}")
    assert metrics.value("sluice_telemetry_refused_total", reason="too_many_series") is None


def test_no_count_is_lost_between_threads(metrics: PrometheusMetrics) -> None:
    def work() -> None:
        for number in range(2_000):
            metrics.count("load_batches", stream=f"s{number % 3}")
            metrics.observe("load_seconds", 0.1, stream="s")

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counted = [metrics.value("sluice_load_batches_total", stream=f"s{n}") for n in range(3)]
    assert sum(value or 0 for value in counted) == 16_000
    assert metrics.value("sluice_load_seconds_count", stream="s") == 16_000


def test_the_text_is_valid_and_holds_each_metric_under_its_exposed_name(
    metrics: PrometheusMetrics,
) -> None:
    calls = {
        Kind.COUNTER: metrics.count,
        Kind.GAUGE: metrics.gauge,
        Kind.HISTOGRAM: metrics.observe,
    }
    for metric in METRICS.values():
        calls[metric.kind](metric.name, 1, **dict.fromkeys(metric.labels, 'a"\\\n'))
    families = list(text_string_to_metric_families(metrics.text().decode()))
    series = {sample.name for family in families for sample in family.samples}
    wanted = {name for metric in METRICS.values() for name in metric.series}
    assert wanted <= series
    assert {name for name in series - wanted if not name.startswith("process_")} == set()


def test_counting_costs_a_few_microseconds(metrics: PrometheusMetrics) -> None:
    """The target is one; the bound is loose, because the machine is shared."""
    metrics.count("load_batches", stream="s")
    seconds = min(
        timeit.repeat(lambda: metrics.count("load_batches", stream="s"), number=2_000, repeat=20)
    )
    assert seconds / 2_000 < 10e-6


def test_memory_keeps_calls_in_order_and_refuses_what_the_table_lacks() -> None:
    memory = MemoryMetrics()
    memory.count("load_batches", 2, stream="s")
    memory.gauge("load_lag_events", 5, stream="s", partition="1")
    memory.observe("load_seconds", 0.5, times=3, stream="s")
    assert memory.calls == [
        Call(Kind.COUNTER, "load_batches", 2, (("stream", "s"),)),
        Call(Kind.GAUGE, "load_lag_events", 5, (("partition", "1"), ("stream", "s"))),
        Call(Kind.HISTOGRAM, "load_seconds", 0.5, (("stream", "s"),), times=3),
    ]
    memory.count("load_batches", stream="t")
    assert (memory.total("load_batches"), memory.total("load_batches", stream="s")) == (3, 2)
    assert memory.last("load_lag_events", stream="s") == 5
    assert memory.last("load_lag_seconds") is None
    with pytest.raises(UnknownMetricError):
        memory.count("no_such_metric")
    with pytest.raises(UnknownMetricError):
        memory.gauge("load_lag_events", 5, stream="s")
    with pytest.raises(ValueError, match="cannot grow"):
        memory.count("load_batches", -1, stream="s")
    with pytest.raises(ValueError, match="not an observation"):
        memory.observe("load_seconds", math.nan, stream="s")
