"""``make bench``: every figure with its ratio and target, as a table and in build/bench.json.

``python -m benchmarks gateway latency`` measures these again and keeps the file's other figures.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks import dedupe, encoding, fairness, flush, gateway, latency, loader, receiving
from services.embedded.kafka import EmbeddedKafka
from services.embedded.warehouse import EmbeddedWarehouse

OUT = Path("build/bench.json")
BACKLOG = 5_000_000
FAUST_EVENTS = 50_000
WIDTH = 132  # of the table, in a file
Results = dict[str, dict[str, Any]]


def faust_baseline(bootstrap: str, loaded: Results) -> Results:
    """The loader against a Faust agent on the same topic, per CPU second."""
    topic = loader.filled(bootstrap, loader.EVENTS)
    command = [sys.executable, "-m", "benchmarks.faust_agent", bootstrap, topic]
    done = subprocess.run(  # noqa: S603 - our own module
        [*command, str(FAUST_EVENTS)], capture_output=True, text=True, timeout=600, check=False
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if not lines:
        raise RuntimeError(f"the Faust agent said nothing: {done.stderr[-500:]}")
    baseline = json.loads(lines[-1])["per_cpu_second"]
    ours = loaded["loader"]["value"]
    return {
        "loader against a Faust agent": _row(ours, "events per CPU second", baseline, 50),
    }


def _row(value: float, unit: str, baseline: float, target: float) -> dict[str, Any]:
    ratio = value / baseline
    return {
        "value": round(value),
        "unit": unit,
        "baseline": round(baseline),
        "ratio": round(ratio, 2),
        "target": target,
        "met": ratio >= target,
    }


def backlog(bootstrap: str, connection: Mapping[str, Any]) -> Results:
    """Peak memory of a loader that meets five million events, beside two million.

    Into the warehouse, so that the connector's session counts.
    """
    less, found = (
        loader.measured_load(bootstrap, events, connection)["peak_mb"]
        for events in (loader.EVENTS, BACKLOG)
    )
    return {
        "loader memory, backlog of 5 million beside 2 million": {
            "value": round(found),
            "unit": "MB",
            "baseline": round(less),
            "ratio": round(found / less, 2),
            "target": 500,
            "met": found <= 500,
        }
    }


def measurements(folder: Path, found: Results) -> Iterator[tuple[str, Callable[[], Results]]]:
    """Every measurement, with its title, on one broker and one warehouse."""
    with EmbeddedKafka(folder / "kafka") as kafka:
        with EmbeddedWarehouse(folder / "warehouse") as warehouse:
            connection = warehouse.connection
            yield "loader", lambda: loader.run(kafka.bootstrap, connection=connection)
            yield "backlog", lambda: backlog(kafka.bootstrap, connection)
        yield "faust", lambda: faust_baseline(kafka.bootstrap, found)
        yield "gateway", lambda: gateway.run(kafka.bootstrap)
        yield "fairness", lambda: fairness.run(kafka.bootstrap)
    yield "receiving", receiving.run
    yield "encoding", encoding.run
    yield "dedupe", dedupe.run
    yield "flush", flush.run
    yield "latency", latency.run


def _shown(cell: object) -> str:
    """Three digits behind the point at most; large numbers in groups."""
    match cell:
        case None:
            return ""
        case float() if cell < 1_000:
            return f"{cell:.3f}".rstrip("0").rstrip(".")
        case int() | float():
            return f"{cell:,.0f}"
        case _:
            return str(cell)


def main() -> None:
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH)
    wanted = set(sys.argv[1:])
    results: Results = json.loads(OUT.read_text()) if wanted and OUT.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        for title, measure in measurements(Path(folder), results):
            if wanted and title not in wanted:
                continue
            console.print(f"measuring: {title}")
            results |= measure()
            OUT.parent.mkdir(exist_ok=True)
            OUT.write_text(json.dumps(results, indent=1) + "\n")
    table = Table(box=box.SIMPLE, expand=False)
    for column, kept in (("what", False), ("value", True), ("unit", False), ("beside", True)):
        table.add_column(column, no_wrap=kept, overflow="fold")
    for column in ("ratio", "target", "met"):
        table.add_column(column, no_wrap=True)
    for name, row in sorted(results.items(), key=lambda each: each[1].get("target") is None):
        cells = (row.get(key) for key in ("value", "unit", "baseline", "ratio", "target"))
        met = row.get("met")
        shown = "" if met is None else "yes" if met else "NO"
        table.add_row(name, *map(_shown, cells), shown)
    console.print(table)


if __name__ == "__main__":
    main()
