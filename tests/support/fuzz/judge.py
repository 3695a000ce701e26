"""What has to hold for every answer, every line of a log and every metric, whatever was sent."""

import json
import re
from base64 import b64encode, urlsafe_b64encode
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import orjson

from producers.refusal import RefusalReason
from tests.support.fuzz.cases import Case, Wanted
from tests.support.fuzz.wire import Answer, Heard

_TYPES = {f"urn:sluice:refusal:{reason}" for reason in RefusalReason}
_NEEDED = {401: "www-authenticate", 405: "allow", 429: "retry-after", 503: "retry-after"}
_PROOF = re.compile(r"[A-Za-z0-9+/_-]{16,}")
PROMPT_SECONDS = 1.0
_TRACES = ("exception", "exc_info", "stack", "stack_info")


class Forbidden:
    """Texts that nobody may be told, in any spelling and any case."""

    def __init__(self, texts: Iterable[str]) -> None:
        spellings = {s for text in texts for s in spellings_of(text)}
        self._texts = sorted({spelling.lower() for spelling in spellings})

    def found(self, text: str) -> str:
        """One that is in the text, or nothing."""
        text = text.lower()
        return next((one for one in self._texts if one in text), "")


def spellings_of(text: str) -> Iterator[str]:
    """As it is, hexadecimal, and in base64 wherever it begins."""
    raw = text.encode()
    yield text
    yield raw.hex()
    for shift in range(3):
        first, after = -(-shift * 8 // 6), (shift + len(raw)) * 8 // 6
        for encode in (b64encode, urlsafe_b64encode):
            yield encode(bytes(shift) + raw).decode()[first:after]


def digest(text: str) -> int:
    """A short stand-in for a text, of which there are many."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")


@dataclass
class Ledger:
    """What all the answers said."""

    statuses: Counter[int] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    ids: set[int] = field(default_factory=set)  # digests of acknowledged ids
    proofs: set[int] = field(default_factory=set)  # digests of all signatures and tokens sent
    dead: int = 0
    late: int = 0  # requests that took us longer than they should


def problems(case: Case, heard: Heard, ledger: Ledger, forbidden: Forbidden) -> list[str]:
    """What is wrong with the answers to a case. Adds them to the ledger."""
    ledger.proofs.update(map(digest, case.hidden))
    found = []
    if heard.silent:
        found.append(f"{len(heard.answers)} answers, and then nothing more")
    missing = len(case.wanted) - len(heard.answers)
    late = heard.sending_seconds > PROMPT_SECONDS  # by us: a 408 is right, and so is a close
    ledger.late += late
    excused = late or case.may_lose or (case.may_close and heard.answers)
    if missing and heard.closed and not excused:
        found.append(f"closed with {missing} answers missing")
    if heard.rest:
        found.append(f"half an answer: {heard.rest[:300]!r}")
    for number, answer in enumerate(heard.answers):
        known = number < len(case.wanted)
        wanted = case.wanted[number] if known and case.exact else Wanted(
            method=case.wanted[number].method if known else b"POST",
            forged=case.wanted[0].forged if number == 0 else False,
        )  # fmt: skip
        if late and answer.status == 408:
            wanted = replace(wanted, statuses=wanted.statuses and wanted.statuses | {408})
        found += _answer_problems(answer, wanted, ledger)
        text = answer.raw.decode("latin-1")
        told = forbidden.found(text) or next((one for one in case.hidden if one in text), "")
        if told:
            found.append(f"an answer tells {told!r}: {text[:2_000]}")
    return found


def _answer_problems(answer: Answer, wanted: Wanted, ledger: Ledger) -> Iterator[str]:
    status = answer.status
    ledger.statuses[status] += 1
    if status >= 500 and status != 503:
        yield f"answered {status}: {answer.body[:300]!r}"
    if wanted.statuses and status not in wanted.statuses | {503}:
        yield f"answered {status} instead of {sorted(wanted.statuses)}: {answer.body[:300]!r}"
    if wanted.forged and status < 300:
        yield f"a forged delivery was answered {status}"
    if status < 300:
        yield from _receipt_problems(answer, wanted, ledger)
    elif status < 400:
        yield f"answered {status}"
    else:
        yield from _refusal_problems(answer, wanted, ledger)


def _receipt_problems(answer: Answer, wanted: Wanted, ledger: Ledger) -> Iterator[str]:
    if answer.body in {b"pong", b"yes"}:
        return  # a handshake
    try:
        told = orjson.loads(answer.body)
        ids, dead = told["ids"], told.get("dead_letters", [])
        accepted, dead_count = told["accepted"], told.get("dead", 0)
    except (ValueError, KeyError, TypeError) as error:
        yield f"no receipt ({error!r}): {answer.body[:300]!r}"
        return
    ledger.ids.update(map(digest, ids))
    ledger.dead += dead_count
    ledger.reasons.update(f"dead: {one['reason']}" for one in dead)
    if accepted != len(ids) or dead_count > accepted or len(dead) != min(dead_count, 100):
        yield f"a receipt whose sums are wrong: {answer.body[:300]!r}"
    if wanted.dead and wanted.dead not in {one["reason"] for one in dead}:
        yield f"no dead letter for {wanted.dead}: {answer.body[:300]!r}"


def _refusal_problems(answer: Answer, wanted: Wanted, ledger: Ledger) -> Iterator[str]:
    """A problem document: RFC 9457, with the headers that its status asks for."""
    status, headers = answer.status, answer.headers
    if headers.get("content-type") != "application/problem+json":
        yield f"answered {status} as {headers.get('content-type')}"
    needed = _NEEDED.get(status, "content-type")
    if needed not in headers:
        yield f"answered {status} without {needed}"
    if wanted.method == b"HEAD":
        return
    try:
        told = orjson.loads(answer.body)
    except ValueError:
        yield f"answered {status} with no JSON: {answer.body[:300]!r}"
        return
    texts = [told.get(name) for name in ("type", "title", "detail")]
    if told.get("status") != status or not all(isinstance(t, str) and t for t in texts):
        yield f"no problem document: {answer.body[:300]!r}"
    elif told["type"] not in _TYPES:
        yield f"a problem that nobody knows: {told['type']}"
    else:
        ledger.reasons[told["type"].rpartition(":")[2]] += 1


@dataclass
class LogReader:
    """A process's log, read on and on."""

    path: Path
    forbidden: Forbidden
    ledger: Ledger
    lines: int = 0
    events: Counter[str] = field(default_factory=Counter)
    _offset: int = 0

    def problems(self) -> list[str]:
        """What is wrong with the whole lines that have come since."""
        with self.path.open("rb") as file:
            file.seek(self._offset)
            raw = file.read()
        whole = raw[: raw.rfind(b"\n") + 1]
        self._offset += len(whole)
        return [
            f"{self.path.name}: {problem}: {line[:2_000]!r}"
            for line in whole.splitlines()
            for problem in self._line_problems(line)
        ]

    def _line_problems(self, raw: bytes) -> Iterator[str]:
        self.lines += 1
        try:
            line = json.loads(raw.decode("ascii"))
        except ValueError:
            yield "no JSON"
            return
        if not (isinstance(line, dict) and {"event", "level", "time", "role"} <= line.keys()):
            yield "no event, level, time and role"
            return
        self.events[f"{line['level']}: {line['event']}"[:100]] += 1
        if any(line.get(name) for name in _TRACES) or "Traceback" in raw.decode("ascii"):
            yield "a traceback"
        texts = [raw.decode("ascii"), *_texts(line)]
        told = next(filter(None, map(self.forbidden.found, texts)), "")
        if told:
            yield f"tells {told!r}"
        for text in texts:
            for part in _PROOF.findall(text):
                if digest(part) in self.ledger.proofs:
                    yield f"tells the signature or token {part!r}"


def _texts(value: Any) -> Iterator[str]:
    """Every text in a JSON value, names too."""
    match value:
        case str():
            yield value
        case dict():
            yield from value
            for item in value.values():
                yield from _texts(item)
        case list():
            for item in value:
                yield from _texts(item)
        case _:
            return
