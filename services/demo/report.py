"""The demo's report: what was expected and found, how fast, and whether the books balance."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from consumers.books.balance import Books
from schemas.telemetry import Hop
from services.demo.expected import Expected
from services.demo.facts import Facts, differences
from services.demo.measured import Sample, Spread, spread, total
from services.demo.sending import Answered

_LATENCY = "sluice_event_latency_seconds"
_HOPS = {
    Hop.RECEIVE: "received to in the log",
    Hop.LOG: "in the log to read by the loader",
    Hop.LOAD: "read to committed",
}  # the others begin at the event's own time, which is in 2013


@dataclass(frozen=True, slots=True)
class Rate:
    """Events and the seconds that they took."""

    what: str
    events: int
    seconds: float

    @property
    def per_second(self) -> float:
        """Events a second."""
        return self.events / max(self.seconds, 0.001)


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that is shown, and written by ``--json``."""

    expected: Expected
    facts: Facts
    books: Books
    samples: Sequence[Sample]
    answers: Sequence[Answered]
    airlines: Mapping[str, str]
    tables: Mapping[str, str]  # by stream
    seconds: Mapping[str, float]  # by phase
    cpu: Mapping[str, float]  # seconds by process
    limited_expected: bool  # whether the carriers' API must have said 429

    @property
    def limited(self) -> int:
        """How often the carriers' API answered 429."""
        return int(total(self.samples, "sluice_poll_requests_total", status="429"))

    @property
    def forged(self) -> int:
        """How many deliveries the gateway turned away for their signature."""
        return sum(answer.status == 401 for answer in self.answers)  # noqa: PLR2004 - HTTP

    @property
    def differences(self) -> list[str]:
        """What is not as it has to be."""
        found = differences(self.expected, self.facts)
        if self.forged != self.expected.refused:
            found.append(f"forged deliveries refused: {self.forged} of {self.expected.refused}")
        if self.limited_expected and not self.limited:
            found.append("the carriers' API never answered 429")
        if self.books.totals.accepted != self.expected.accepted:
            found.append(
                f"accepted by the books: expected {self.expected.accepted}, "
                f"found {self.books.totals.accepted}"
            )
        found += [f"the books: {finding}" for finding in self.books.findings]
        if not self.books.balanced and not self.books.findings:
            found.append(str(self.books))
        return found

    @property
    def rates(self) -> list[Rate]:
        """How fast each part was."""
        found = []
        names = {"flights.departures": "polled", "noaa.weather": "pushed", "faa.planes": "pushed"}
        for stream, span in self.facts.spans.items():
            seconds = _seconds(*span.received)
            what = f"{names.get(stream, 'received')}: {stream}"
            found.append(Rate(what, self.books.by_stream[stream].accepted, seconds))
        spans = list(self.facts.spans.values())
        if spans:
            opened = min(span.opened for span in spans)
            committed = max(span.committed[1] for span in spans)
            loaded = self.books.totals.loaded
            found.append(Rate("loaded: all tables", loaded, _seconds(opened, committed)))
            received = min(span.received[0] for span in spans)
            found.append(Rate("first received to last row", loaded, _seconds(received, committed)))
        return found

    @property
    def latencies(self) -> list[tuple[str, Spread]]:
        """Where the time of an event, a delivery or a batch goes."""
        rows: list[tuple[str, Spread | None]] = [
            ("delivery: body to acknowledged", spread(self.samples, "sluice_gateway_ack_seconds")),
            *(
                (f"event: {text}", spread(self.samples, _LATENCY, hop=hop))
                for hop, text in _HOPS.items()
            ),
            ("batch: upload, COPY, COMMIT", spread(self.samples, "sluice_load_seconds")),
            *(
                (f"row of {stream}: received to committed", Spread(d.rows, d.median, d.p95))
                for stream, d in self.facts.delays.items()
            ),
        ]
        return [(name, found) for name, found in rows if found is not None]

    def data(self) -> dict[str, Any]:
        """The report as JSON takes it."""
        expected, facts = self.expected, self.facts
        return {
            "ok": not self.differences,
            "differences": self.differences,
            "seconds": {name: round(value, 2) for name, value in self.seconds.items()},
            "tables": {
                stream: {
                    "table": table,
                    "rows": facts.rows[stream],
                    "expected": expected.rows[stream],
                    "duplicates": facts.duplicates[stream],
                    "duplicates_expected": expected.duplicates[stream],
                    "loaded_at": _iso(facts, stream),
                    "business_date": facts.fresh[stream].business_date
                    if stream in facts.fresh
                    else None,
                }
                for stream, table in self.tables.items()
            },
            "carriers": {
                code: {"name": self.airlines.get(code, ""), **carrier._asdict()}
                for code, carrier in sorted(facts.carriers.items())
            },
            "dead_letters": [
                {
                    **letter._asdict(),
                    "count": facts.dead[letter],
                    "expected": expected.dead[letter],
                    "example": facts.details.get(letter, ""),
                }
                for letter in sorted(facts.dead.keys() | expected.dead.keys())
            ],
            "refused": {"forged": self.forged, "expected": expected.refused},
            "source_answers_429": self.limited,
            "throughput": [
                {**asdict(rate), "per_second": round(rate.per_second)} for rate in self.rates
            ],
            "latency_seconds": {name: asdict(found) for name, found in self.latencies},
            "cpu_seconds": dict(self.cpu),
            "books": {
                "balanced": self.books.balanced,
                **asdict(self.books.totals),
                "by_stream": {name: asdict(t) for name, t in self.books.by_stream.items()},
                "line": str(self.books),
            },
        }


def _iso(facts: Facts, stream: str) -> str | None:
    fresh = facts.fresh.get(stream)
    return None if fresh is None or fresh.loaded_at is None else f"{fresh.loaded_at.isoformat()}Z"


def _seconds(first: dt.datetime, last: dt.datetime) -> float:
    return round((last - first).total_seconds(), 3)
