"""The auditor: audits again and again what is new, and now and then everything."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace

from consumers.books.audit import AuditPorts, audit_since
from consumers.books.balance import Books, Finding
from consumers.books.proved import NOTHING, Proved
from consumers.loading.loader import Note
from schemas.contract import Contract
from schemas.ports import Clock, Metrics

FINDINGS_TOLD_MAX = 100  # of one audit, each with a note of its own
UNKNOWN = "unknown"  # the stream of what belongs to none that the project declares


@dataclass(frozen=True, slots=True)
class AuditorPolicy:
    """When to audit."""

    every_seconds: float
    full_every_seconds: float


@dataclass(frozen=True, slots=True)
class AuditorPorts:
    """``note`` takes what is found and what every audit says."""

    audit: AuditPorts
    clock: Clock
    metrics: Metrics
    note: Note


@dataclass(slots=True)
class AuditorState:
    """What an auditor knows; it begins with nothing. Times in seconds, monotonic."""

    streams: Mapping[str, Contract]
    proved: Proved = NOTHING
    audited: float | None = None  # when the last audit began
    audited_all: float | None = None  # and the last one that read everything
    doubtful: bool = False  # something new was found by one that had not read everything
    unbalanced: dict[str, float] = field(default_factory=dict)  # stream: since when


def audit_next(ports: AuditorPorts, state: AuditorState, policy: AuditorPolicy) -> Books | None:
    """Audit if it is time to; None otherwise. Nothing but ``state`` changes, and only at the end.

    1. Audit: everything the first time, every ``full_every_seconds``, and right after something
       new was found in a stream that balanced; otherwise what is new.
    2. Note what was found, what is gone, and the totals. What was found stays found until an
       audit of everything clears it.
    3. Report since when each stream does not balance, which happens without an audit too.

    Raises TransientError and SetupError as the ports do; the next call audits then.
    """
    now = ports.clock.monotonic()
    due = state.audited is None or now - state.audited >= policy.every_seconds or state.doubtful
    if not due:
        _report(ports, state)
        return None
    last = state.audited_all
    everything = last is None or state.doubtful or now - last >= policy.full_every_seconds
    read: Counter[str] = Counter()

    def progress(topic: str, count: int) -> None:
        read[topic] += count
        ports.audit.progress(topic, count)

    audit = replace(ports.audit, progress=progress)
    found, proved = audit_since(audit, state.streams, NOTHING if everything else state.proved)
    _note_findings(ports, state.proved.findings, found.findings)
    before = state.unbalanced
    state.unbalanced = {name: before.get(name, now) for name in unbalanced(found, state.streams)}
    state.doubtful = not everything and state.unbalanced.keys() != before.keys()
    state.proved, state.audited = proved, now
    state.audited_all = now if everything else last
    _note_audit(ports, found, read.total(), ports.clock.monotonic() - now, everything=everything)
    _report(ports, state)
    return found


def unbalanced(found: Books, streams: Iterable[str]) -> set[str]:
    """The streams that do not balance; what belongs to none of them counts as ``unknown``."""
    names = {finding.partition.topic for finding in found.findings}
    names |= {stream for stream, sides in found.by_stream.items() if not sides.balanced}
    known = set(streams)
    return {name if name in known else UNKNOWN for name in names}


def _note_findings(ports: AuditorPorts, before: Iterable[Finding], now: Iterable[Finding]) -> None:
    """Each finding once when it appears, and once when it is gone."""
    old, new = dict.fromkeys(before), dict.fromkeys(now)
    for event, findings in (
        ("does not balance", [f for f in new if f not in old]),
        ("balances again", [f for f in old if f not in new]),
    ):
        for finding in findings[:FINDINGS_TOLD_MAX]:
            ports.note(event, _fields(finding))
        more = len(findings) - FINDINGS_TOLD_MAX
        if more > 0:
            ports.note(event, {"what": f"{more} more ranges", "remedy": "run `sluice audit`"})


def _fields(finding: Finding) -> dict[str, object]:
    topic, number = finding.partition
    return {
        "topic": topic,
        "partition": number,
        "first": finding.first,
        "after": finding.after,
        "what": finding.what,
    }


def _note_audit(
    ports: AuditorPorts, found: Books, messages: int, seconds: float, *, everything: bool
) -> None:
    fields = {"everything": everything, "seconds": round(seconds, 3), "messages": messages}
    verdict = {"balanced": found.balanced, "findings": len(found.findings)}
    ports.note("audited", {**fields, **verdict, **asdict(found.totals)})
    ports.metrics.observe("books_audit_seconds", seconds)
    ports.metrics.count("books_messages_read", messages)
    ports.metrics.gauge("books_audited_timestamp_seconds", ports.clock.now() / 1e6)


def _report(ports: AuditorPorts, state: AuditorState) -> None:
    """Zero for streams that balance, so that an alert sees them come back."""
    if state.audited is None:
        return
    now = ports.clock.monotonic()
    for stream in (*state.streams, UNKNOWN):
        since = state.unbalanced.get(stream, now)
        ports.metrics.gauge("books_unbalanced_seconds", now - since, stream=stream)
