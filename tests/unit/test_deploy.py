"""Dashboards and alerts name metrics and labels that exist, and the alerts fire as they should."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from schemas.telemetry import METRICS, Metric

DEPLOY = Path(__file__).parents[2] / "deploy"
DASHBOARD = DEPLOY / "grafana/dashboards/sluice.json"
ALERTS = DEPLOY / "prometheus/alerts.yml"
SERIES: dict[str, Metric] = {name: metric for metric in METRICS.values() for name in metric.series}
OF_PROMETHEUS = {"job", "instance", "le", "__name__"}
OF_THE_CLIENT = {
    "process_resident_memory_bytes",
    "process_cpu_seconds_total",
    "process_start_time_seconds",
}


def panels() -> list[dict[str, Any]]:
    """Every panel with queries."""
    board = json.loads(DASHBOARD.read_text())
    return [panel for panel in board["panels"] if "targets" in panel]


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(ALERTS.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def queries() -> list[str]:
    found = [target["expr"] for panel in panels() for target in panel["targets"]]
    variables = json.loads(DASHBOARD.read_text())["templating"]["list"]
    found += [variable["query"]["query"] for variable in variables]
    return found + [rule["expr"] for rule in rules()]


def wrong_names(query: str) -> set[str]:
    """Metrics and labels of a query that nobody emits."""
    named = set(re.findall(r"\b(?:sluice|process)_\w+", query))
    wrong = {name for name in named if name not in SERIES and name not in OF_THE_CLIENT}
    allowed = {label for name in named & set(SERIES) for label in SERIES[name].labels}
    grouped = re.findall(r"\b(?:by|on|ignoring|without)\s*\(([^)]*)\)", query)
    labels = {label.strip() for group in grouped for label in group.split(",")}
    labels |= set(re.findall(r"[{,]\s*(\w+)\s*(?:=~|!~|!=|=)", query))
    labels |= set(re.findall(r"label_values\(\w+, (\w+)\)", query))
    return wrong | {label for label in labels if label not in allowed | OF_PROMETHEUS}


@pytest.mark.parametrize("query", sorted(set(queries())))
def test_a_query_names_only_what_is_in_the_table(query: str) -> None:
    assert wrong_names(query) == set()


@pytest.mark.parametrize(
    ("query", "wrong"),
    [
        ("sluice_no_such_total", {"sluice_no_such_total"}),
        ("rate(sluice_load_batches[5m])", {"sluice_load_batches"}),
        ('sum by (strm) (sluice_load_lag_events{partitn="1"})', {"strm", "partitn"}),
        ('process_nothing{job="x"}', {"process_nothing"}),
        ("label_values(sluice_load_batches_total, source)", {"source"}),
        ('sum by (le, stream) (rate(sluice_load_seconds_bucket{stream="x"}[5m]))', set()),
    ],
)
def test_the_check_itself_finds_wrong_names(query: str, wrong: set[str]) -> None:
    assert wrong_names(query) == wrong


@pytest.mark.parametrize("panel", panels(), ids=lambda panel: panel["title"])
def test_a_legend_names_only_labels_that_the_query_keeps(panel: dict[str, Any]) -> None:
    for target in panel["targets"]:
        kept = set(re.findall(r"\w+", " ".join(re.findall(r"by \(([^)]*)\)", target["expr"]))))
        if not kept and "sum(" not in target["expr"]:
            names = set(re.findall(r"\bsluice_\w+", target["expr"])) & set(SERIES)
            kept = {label for name in names for label in SERIES[name].labels} | OF_PROMETHEUS
        assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) <= kept


def test_every_metric_has_its_place_on_the_dashboard() -> None:
    shown = " ".join(target["expr"] for panel in panels() for target in panel["targets"])
    missing = {
        metric.name
        for metric in METRICS.values()
        if not any(re.search(rf"\b{name}\b", shown) for name in metric.series)
    }
    assert missing <= {"process_info", "load_dedupe_bytes"}


def test_panels_do_not_overlap_and_have_their_own_id() -> None:
    board = json.loads(DASHBOARD.read_text())["panels"]
    assert len({panel["id"] for panel in board}) == len(board)
    cells: set[tuple[int, int]] = set()
    for panel in board:
        at = panel["gridPos"]
        mine = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not mine & cells
        assert at["x"] + at["w"] <= 24
        cells |= mine


def test_panels_read_the_provisioned_data_source() -> None:
    source = yaml.safe_load(
        (DEPLOY / "grafana/provisioning/datasources/prometheus.yml").read_text()
    )
    (only,) = source["datasources"]
    assert {panel["datasource"]["uid"] for panel in panels()} == {only["uid"]}
    provider = yaml.safe_load((DEPLOY / "grafana/provisioning/dashboards/sluice.yml").read_text())
    assert provider["providers"][0]["type"] == "file"


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_an_alert_says_how_urgent_it_is_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert rule["annotations"].keys() == {"summary", "what_to_do"}


def test_every_alert_is_tested_to_fire() -> None:
    tests = yaml.safe_load((DEPLOY / "prometheus/alerts_test.yml").read_text())["tests"]
    fired = {
        check["alertname"]
        for test in tests
        for check in test["alert_rule_test"]
        if check["exp_alerts"]
    }
    assert fired == {rule["alert"] for rule in rules()}


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "config", "prometheus.yml"),
        ("check", "rules", "alerts.yml"),
        ("test", "rules", "alerts_test.yml"),
    ],
    ids=["config", "rules", "alerts"],
)
def test_promtool_agrees(arguments: tuple[str, ...]) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed: apt-get install prometheus")
    done = subprocess.run(
        [promtool, *arguments],
        cwd=DEPLOY / "prometheus",
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
