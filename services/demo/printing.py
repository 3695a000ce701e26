"""The report for a person; its last line is the books."""

from rich import box
from rich.console import Console
from rich.table import Table

from services.demo.measured import Spread
from services.demo.report import Report

EXAMPLE_CHARACTERS = 20  # at least
DEAD_CHARACTERS = 75  # that the other columns of the dead letters take


def show(report: Report, console: Console) -> None:
    """Print everything."""
    for table in (
        _tables(report),
        _carriers(report),
        _dead(report, max(EXAMPLE_CHARACTERS, console.width - DEAD_CHARACTERS)),
        _rates(report),
        _latencies(report),
        _fresh(report),
        _cpu(report),
        _books(report),
    ):
        console.print(table)
    console.print(_doors(report), highlight=False)
    for line in report.differences:
        console.print(f"differs: {line}", highlight=False, markup=False)
    console.print(str(report.books), highlight=False, markup=False, soft_wrap=True)


def _table(title: str, *columns: str, left: int = 1) -> Table:
    """The first ``left`` columns hold text, the others numbers."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, title_style="bold")
    for place, column in enumerate(columns):
        table.add_column(column, justify="left" if place < left else "right")
    return table


def _tables(report: Report) -> Table:
    columns = ("stream", "table", "rows", "expected", "duplicates dropped", "expected")
    table = _table("Tables", *columns, left=2)
    expected, facts = report.expected, report.facts
    for stream, name in report.tables.items():
        numbers = (
            facts.rows[stream],
            expected.rows[stream],
            facts.duplicates[stream],
            expected.duplicates[stream],
        )
        table.add_row(stream, name, *(f"{n:,}" for n in numbers))
    return table


def _carriers(report: Report) -> Table:
    table = _table("Delay by carrier", "carrier", "flights", "cancelled", "mean delay, min")
    ranked = sorted(report.facts.carriers.items(), key=lambda item: -item[1].flights)
    for code, carrier in ranked:
        flown = max(1, carrier.flights - carrier.cancelled)
        table.add_row(
            f"{code} {report.airlines.get(code, '')}",
            f"{carrier.flights:,}",
            f"{carrier.cancelled:,}",
            f"{carrier.delay / flown:.1f}",
        )
    return table


def _dead(report: Report, room: int) -> Table:
    table = _table(
        "Dead letters", "stream", "stage", "reason", "example", "count", "expected", left=4
    )
    expected, facts = report.expected, report.facts
    for letter in sorted(facts.dead.keys() | expected.dead.keys()):
        example = facts.details.get(letter, "")
        counts = (f"{facts.dead[letter]:,}", f"{expected.dead[letter]:,}")
        if len(example) > room:
            example = example[: room - 3] + "..."
        table.add_row(*letter, example, *counts)
    return table


def _rates(report: Report) -> Table:
    table = _table("Throughput", "part", "events", "seconds", "events/s")
    for rate in report.rates:
        seconds, speed = f"{rate.seconds:.1f}", f"{rate.per_second:,.0f}"
        table.add_row(rate.what, f"{rate.events:,}", seconds, speed)
    return table


def _latencies(report: Report) -> Table:
    table = _table("Latency", "stretch", "observed", "median", "95 %")
    for name, found in report.latencies:
        table.add_row(name, f"{found.count:,}", *_times(found))
    return table


def _times(found: Spread) -> tuple[str, str]:
    def text(seconds: float) -> str:
        return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"

    return text(found.median), text(found.p95)


def _fresh(report: Report) -> Table:
    table = _table("Freshness", "stream", "LOADEDON, UTC", "latest business date", left=3)
    for stream in report.tables:
        fresh = report.facts.fresh.get(stream)
        loaded = fresh.loaded_at if fresh is not None else None
        date = fresh.business_date if fresh is not None else None
        shown = f"{loaded:%Y-%m-%d %H:%M:%S}" if loaded is not None else "never"
        table.add_row(stream, shown, date or "has none")
    return table


def _cpu(report: Report) -> Table:
    table = _table("CPU", "process", "seconds")
    for name, seconds in sorted(report.cpu.items(), key=lambda item: -item[1]):
        table.add_row(name, f"{seconds:.1f}")
    return table


def _books(report: Report) -> Table:
    sides = ("accepted", "loaded", "duplicate", "dead", "in_flight")
    table = _table("Audit", "stream", *(side.replace("_", " ") for side in sides))
    for stream, totals in sorted(report.books.by_stream.items()):
        table.add_row(stream, *(f"{getattr(totals, side):,}" for side in sides))
    return table


def _doors(report: Report) -> str:
    parts = ", ".join(f"{name} {value:.0f} s" for name, value in report.seconds.items())
    return (
        f"Forged deliveries refused with 401: {report.forged} of {report.expected.refused}. "
        f"The carriers' API answered 429 {report.limited} times.\n"
        f"Time: {parts}."
    )
