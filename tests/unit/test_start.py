"""What a start imports: clients take seconds of CPU, so each command loads only its own."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CLIENTS = {"confluent_kafka", "httpx2", "polars", "pyarrow", "snowflake", "uvicorn"}
LATER = CLIENTS | {"fastavro", "numpy", "prometheus_client", "pydantic_settings", "structlog"}
"""What no command line needs before a command runs. (Typer itself may import pydantic.)"""

TELL = "print('imported', *{name.partition('.')[0] for name in sys.modules}, file=sys.stderr)"
STARTED = f"""
import sys
from services.cli import main
try:
    main()
finally:
    {TELL}
"""
"""Runs the command line with our arguments."""


def packages(code: str, *arguments: str) -> tuple[int, set[str]]:
    """A fresh interpreter's exit code, and the packages that ``code`` tells last."""
    environ = {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    mark, *found = done.stderr.splitlines()[-1].split()
    assert mark == "imported", done.stderr
    return done.returncode, set(found)


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("--help", 0),
        ("--version", 0),
        ("", 2),
        ("nosuch", 2),
        ("status --nosuch", 2),
        ("sql", 2),
        ("dead list --reason nosuch", 2),
        ("contract infer --help", 0),
        ("audit --by nosuch", 2),
        ("loader --help", 0),
    ],
)
def test_help_and_wrong_usage_load_no_library(line: str, code: int) -> None:
    ended, found = packages(STARTED, *line.split())
    assert (ended, found & LATER) == (code, set())


@pytest.mark.parametrize(
    ("module", "needed"),
    [
        ("services.cli.init", set()),
        ("services.cli.sql", set()),
        ("services.cli.status", set()),
        ("services.cli.dead", set()),
        ("services.cli.up", {"confluent_kafka"}),
        ("services.adapters.snowflake", {"snowflake"}),
        ("services.adapters.kafka", {"confluent_kafka"}),
        ("services.processes.gateway", {"confluent_kafka", "polars", "uvicorn"}),
        ("services.processes.poller", {"confluent_kafka", "httpx2", "polars"}),
        ("services.processes.loader", {"confluent_kafka", "polars"}),
    ],
)
def test_a_command_loads_the_clients_that_it_needs(module: str, needed: set[str]) -> None:
    ended, found = packages(f"import sys, {module}; {TELL}")
    assert (ended, found & CLIENTS) == (0, needed)
