"""``sluice demo`` on a small share of the data, as a user runs it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.embedded, pytest.mark.enable_socket, pytest.mark.timeout(300)]


@pytest.mark.slow  # `make demo` does it with all of the data
def test_the_demo_proves_on_a_share_of_the_data_that_nothing_was_lost(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    command = [sys.executable, "-m", "services.cli", "demo", "--share", "0.02"]
    command += ["--folder", str(tmp_path / "demo"), "--json", str(file)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=280, check=False, cwd=tmp_path
    )

    assert (done.returncode, done.stderr) == (0, ""), done.stdout[-3000:] + done.stderr
    last = done.stdout.rstrip("\n").split("\n")[-1]
    assert last.startswith("books balance: accepted 7909 = loaded ")
    assert last.endswith("in flight 0")
    for heading in (
        *("Tables", "Delay by carrier", "Dead letters", "Throughput", "Latency", "Freshness"),
        *("CPU", "Audit"),
    ):
        assert f"\n{heading}" in done.stdout

    report = json.loads(file.read_text())
    assert report["ok"]
    assert report["differences"] == []
    assert report["books"]["line"] == last
    assert report["tables"]["flights.departures"]["rows"] == 6_736
    assert report["tables"]["flights.departures"]["business_date"] == "2013-01-08"
    assert report["refused"] == {"forged": 1, "expected": 1}
    assert report["source_answers_429"] >= 1
    assert sum(stream["duplicates"] for stream in report["tables"].values()) > 500
    reasons = {letter["reason"] for letter in report["dead_letters"]}
    assert {"not_json", "not_an_object", "wrong_type", "missing", "out_of_range"} <= reasons
    assert report["latency_seconds"]["delivery: body to acknowledged"]["count"] == 10


def test_the_demo_never_deletes_what_is_not_its_own(tmp_path: Path) -> None:
    (tmp_path / "precious").touch()
    command = [sys.executable, "-m", "services.cli", "demo", "--folder", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 3
    assert "not the demo's" in done.stderr
    assert (tmp_path / "precious").exists()
