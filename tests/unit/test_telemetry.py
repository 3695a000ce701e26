"""The table of metrics is closed, and the code uses nothing else."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from schemas.telemetry import (
    GROUPS,
    LABELS,
    METRICS,
    PREFIX,
    Kind,
    Label,
    Metric,
    UnknownMetricError,
    known,
)

ROOT = Path(__file__).parents[2]
KINDS = {"count": Kind.COUNTER, "gauge": Kind.GAUGE, "observe": Kind.HISTOGRAM}
NOT_LABELS = {"value", "times"}


def test_no_name_is_given_twice() -> None:
    assert sum(len(group) for group in GROUPS.values()) == len(METRICS)


@pytest.mark.parametrize("metric", METRICS.values(), ids=lambda metric: metric.name)
def test_each_metric_says_what_it_is_in_the_right_form(metric: Metric) -> None:
    assert metric.help.endswith(".")
    assert "\n" not in metric.help
    assert not metric.name.startswith(PREFIX), "the prefix is added once, by `exposed`"
    assert not metric.name.endswith(("_total", "_bucket", "_sum", "_count", "_created"))
    assert len(set(metric.labels)) == len(metric.labels) <= 3
    if metric.unit in {"seconds", "bytes"}:
        assert metric.unit in metric.name, "units last"
    assert (metric.kind is Kind.HISTOGRAM) == bool(metric.buckets)
    assert list(metric.buckets) == sorted(set(metric.buckets))


def test_every_label_is_explained_and_used() -> None:
    assert set(LABELS) == set(get_args(Label))
    assert {label for metric in METRICS.values() for label in metric.labels} == set(LABELS)


def test_exposed_names_are_those_of_queries() -> None:
    assert METRICS["load_batches"].series == ("sluice_load_batches_total",)
    assert METRICS["load_lag_events"].series == ("sluice_load_lag_events",)
    assert METRICS["load_seconds"].series == (
        "sluice_load_seconds_bucket",
        "sluice_load_seconds_sum",
        "sluice_load_seconds_count",
    )


@pytest.mark.parametrize(
    ("name", "kind", "labels", "says"),
    [
        ("load_batchez", Kind.COUNTER, ["stream"], "no metric 'load_batchez'"),
        ("load_batches", Kind.GAUGE, ["stream"], "is a counter, used as a gauge"),
        ("load_batches", Kind.COUNTER, [], r"labels \['stream'\], got \[\]"),
        ("load_batches", Kind.COUNTER, ["stream", "id"], r"got \['id', 'stream'\]"),
    ],
)
def test_a_call_that_does_not_fit_the_table_is_an_error(
    name: str, kind: Kind, labels: list[str], says: str
) -> None:
    with pytest.raises(UnknownMetricError, match=says):
        known(name, kind, labels)


def _receiver(call: ast.Call) -> str:
    assert isinstance(call.func, ast.Attribute)
    value = call.func.value
    return value.attr if isinstance(value, ast.Attribute) else getattr(value, "id", "")


def _calls(tree: ast.AST) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in KINDS
            and _receiver(node).lstrip("_") == "metrics"
        ):
            yield node


def wrong_calls(source: str) -> list[str]:
    """What is wrong with the calls of a `metrics` in a module's text, one line each."""
    found = []
    for call in _calls(ast.parse(source)):
        assert isinstance(call.func, ast.Attribute)
        name = call.args[0] if call.args else None
        if not (isinstance(name, ast.Constant) and isinstance(name.value, str)):
            found.append(f"line {call.lineno}: the name is not a literal")
            continue
        labels = [k.arg for k in call.keywords if k.arg is not None and k.arg not in NOT_LABELS]
        spread = any(k.arg is None for k in call.keywords)
        try:
            metric = known(name.value, KINDS[call.func.attr], labels)
        except UnknownMetricError as error:
            metric = METRICS.get(name.value)
            if spread and metric is not None and set(labels) <= set(metric.labels):
                continue  # labels from a mapping: MemoryMetrics checks them
            found.append(f"line {call.lineno}: {error}")
    return found


def _modules() -> list[Path]:
    packages = ("producers", "consumers", "services")
    return [path for name in packages for path in sorted((ROOT / name).rglob("*.py"))]


@pytest.mark.parametrize("path", _modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_the_code_names_no_metric_that_the_table_lacks(path: Path) -> None:
    assert wrong_calls(path.read_text()) == []


@pytest.mark.parametrize(
    "line",
    [
        'self._metrics.count("no_such_metric")',
        'metrics.count("load_batches")',
        'ports.metrics.gauge("load_batches", 1, stream="s")',
        'ports.metrics.observe("load_seconds", 1, times=2, stream="s", id="x")',
        'metrics.count(f"load_{x}")',
        "metrics.count()",
        'metrics.count("load_batches", **labels, nope="x")',
    ],
)
def test_the_scan_itself_finds_a_wrong_call(line: str) -> None:
    assert len(wrong_calls(line)) == 1


@pytest.mark.parametrize(
    "line",
    [
        'ports.metrics.observe("load_seconds", 1, times=2, stream="s")',
        'self._metrics.count("load_batches", value=2, stream="s")',
        'metrics.count("load_batches", **labels)',
        'text.count("no_such_metric")',
    ],
)
def test_the_scan_lets_right_calls_pass(line: str) -> None:
    assert wrong_calls(line) == []
