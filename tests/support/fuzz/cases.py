"""One case of the fuzzer: a body, a proof, a head and a wire, each perhaps not as it should be."""

import datetime as dt
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from random import Random
from typing import TypeVar

from tests.support.fuzz import bodies, heads
from tests.support.fuzz.bodies import ANY, GOOD, Body, Maker
from tests.support.fuzz.heads import Draft
from tests.support.fuzz.project import BODY_SECONDS_MAX
from tests.support.fuzz.providers import PROVIDERS, Proof, Prover, Provider, Signing

STALL_SECONDS = BODY_SECONDS_MAX + 2
EARLY = frozenset({413, 431})  # may be said before all of a request is there
Part = bytes | float  # bytes to send, or seconds to wait
T = TypeVar("T")


class End(Enum):
    """What the client does when it has sent all that it will."""

    READ = "reads"
    LEAVE = "leaves"
    RESET = "resets"


@dataclass(frozen=True)
class Wanted:
    """What is known of one answer."""

    method: bytes = b"POST"
    statuses: frozenset[int] = ANY
    forged: bool = False
    dead: str = ""


@dataclass(frozen=True)
class Case:
    """What is sent on one connection."""

    name: str  # replays it, with the seed
    kind: str
    parts: tuple[Part, ...]
    wanted: tuple[Wanted, ...]  # answers that have to come
    exact: bool = True  # no others will
    may_close: bool = False  # before all have come
    may_lose: bool = False  # an answer: more is sent than will be read
    end: End = End.READ
    hidden: tuple[str, ...] = ()  # texts that nobody may be told

    @property
    def sent(self) -> bytes:
        return b"".join(part for part in self.parts if isinstance(part, bytes))


@dataclass(frozen=True)
class Request:
    """One request with what is known of its answer."""

    provider: Provider
    draft: Draft
    wanted: Wanted
    hidden: tuple[str, ...]
    kind: tuple[str, ...]

    @property
    def sound(self) -> bool:
        """Whether the connection is as good as before once it is answered."""
        closing = {413, 431} & self.wanted.statuses or any(
            name == b"connection" for name, _ in self.draft.lines
        )
        return self.wanted.statuses != ANY and self.draft.wire is None and not closing


def mark_of(seed: int) -> str:
    """What stands in everything personal or secret that a run sends."""
    return "Mk" + hashlib.sha256(f"mark {seed}".encode()).hexdigest()[:14]


def drawn(draw: Random, kinds: Mapping[str, tuple[int, T]]) -> tuple[str, T]:
    """One of them, by weight."""
    name = draw.choices(list(kinds), [weight for weight, _ in kinds.values()])[0]
    return name, kinds[name][1]


def _kind(draw: Random, kinds: Mapping[str, tuple[int, T]], only: str) -> tuple[str, T]:
    return drawn(draw, {only: kinds[only]} if only in kinds else kinds)


@dataclass(frozen=True)
class Cases:
    """All the cases of a seed."""

    seed: int

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds that there are."""
        return (*bodies.KINDS, *heads.KINDS, *_WIRES)

    def case(self, name: str) -> Case:
        """The case of a name such as ``3/1234``: always the same, but for the signed time.

        A name such as ``bomb/3`` has a body, a head or a wire of that kind.
        """
        draw, only = Random(f"{self.seed}/{name}"), name.partition("/")[0]
        request = self.request(draw, f"{self.seed}-{name.replace('/', '-')}", only)
        kind, wire = _kind(draw, _WIRES, only)
        case = wire(self, draw, request, name)
        return replace(case, name=name, kind="/".join((*request.kind, kind)))

    def request(self, draw: Random, unique: str, only: str = "") -> Request:
        """Anything; with a body or a head of this kind, if it is one."""
        maker = Maker(draw, unique, mark_of(self.seed))
        provider = draw.choice(PROVIDERS)
        hostile = draw.random() < 0.65 or only in bodies.KINDS
        kind, make = _kind(draw, bodies.KINDS, only) if hostile else ("good", bodies.good)
        body = _fitted(make(maker), provider, maker, kind)
        prover = _prover(provider, maker, body.raw)
        proved = draw.random() < 0.8
        proof = prover.good() if proved else prover.drawn()
        draft = _draft(body, proof, prover)
        head = "plain"
        if draw.random() < 0.4 or only in heads.KINDS:
            head, change = _kind(draw, heads.KINDS, only)
            draft = change(draw, draft)
        wanted = Wanted(
            method=draft.method,
            statuses=_statuses(body, proof, draft, provider),
            forged=proof.forged,
            dead=body.dead if head == "plain" and not proof.forged else "",
        )
        names = (provider.name, kind, "proved" if proved else "unproved", head)
        return Request(provider, draft, wanted, proof.hidden, names)

    def good(self, draw: Random, unique: str) -> Request:
        """What has to be taken."""
        maker = Maker(draw, unique, mark_of(self.seed))
        provider = draw.choice(PROVIDERS)
        body = _fitted(bodies.good(maker), provider, maker, "good")
        prover = _prover(provider, maker, body.raw)
        proof = prover.good()
        draft = _draft(body, proof, prover)
        wanted = Wanted(statuses=_statuses(body, proof, draft, provider))
        return Request(provider, draft, wanted, proof.hidden, (provider.name, "good"))


def _fitted(body: Body, provider: Provider, maker: Maker, kind: str) -> Body:
    """Where the source wants its events."""
    if not provider.records:
        return body
    if kind == "good":
        events = maker.events(maker.draw.randint(1, 4))
        raw = b'{"data":{"items":%s,"x":"%s"}}' % (bodies.array_of(events), maker.mark.encode())
        return Body(raw, statuses=GOOD)
    raw = b'{"data":{"items":%s}}' % body.raw if maker.draw.random() < 0.7 else body.raw
    early = frozenset({200, 400, 413, 415, 422})
    return replace(body, raw=raw, statuses=early, dead="") if not body.packed else replace(
        body, statuses=ANY, dead=""
    )  # fmt: skip


def _prover(provider: Provider, maker: Maker, raw: bytes) -> Prover:
    target, now = f"/v1/in/{provider.name}", int(dt.datetime.now(dt.UTC).timestamp())
    if maker.draw.random() < 0.5:
        target += f"?email={maker.mark}%40x.test&access_token={maker.mark}&challenge=1"
    secret = provider.secrets[0] if provider.secrets else ""
    made = Signing(secret, str(now), target, maker.case, raw)
    return Prover(provider, maker.draw, made, maker.mark)


def _draft(body: Body, proof: Proof, prover: Prover) -> Draft:
    lines = [("host", "gateway.test"), ("content-type", body.kind)]
    if body.packed:
        lines.append(("content-encoding", body.packed))
    lines += proof.lines
    if prover.draw.random() < 0.5:
        lines += [("x-customer", f"Ada {prover.mark}"), ("cookie", f"session={prover.mark}")]
    lines.append(("content-length", str(len(body.raw))))
    raw = tuple((name.encode("latin-1"), value.encode("latin-1")) for name, value in lines)
    return Draft(prover.made.target.encode(), raw, body.raw)


def _statuses(body: Body, proof: Proof, draft: Draft, provider: Provider) -> frozenset[int]:
    """Of the answer, as far as it can be known."""
    if draft.statuses is not None and draft.statuses <= EARLY:
        return draft.statuses  # ANY too
    large = len(body.raw) > bodies.BODY_BYTES_MAX
    if proof.forged:
        found = proof.statuses | ({413} if large else frozenset())
    elif draft.statuses is not None:
        found = draft.statuses if body.statuses == GOOD else ANY
    else:
        found = body.statuses
    return found | {429} if provider.rated and found else found


def _whole(_cases: Cases, _draw: Random, request: Request, _name: str) -> Case:
    return _case(request, (bytes(request.draft),))


def _pieces(_cases: Cases, draw: Random, request: Request, _name: str) -> Case:
    """Cut anywhere, sometimes with pauses that are no fault."""
    raw = bytes(request.draft)
    cuts = sorted({draw.randrange(len(raw) + 1) for _ in range(draw.randint(1, 8))})
    pause = draw.choice([0.0, 0.001, 0.03])
    parts: list[Part] = []
    for start, end in zip([0, *cuts], [*cuts, len(raw)], strict=True):
        parts += [raw[start:end], pause]
    case = _case(request, tuple(parts))
    return replace(case, may_lose=not case.exact)


def _stalled(_cases: Cases, draw: Random, request: Request, _name: str) -> Case:
    """For longer than a sender may take, somewhere."""
    raw = bytes(request.draft)
    cut = draw.randrange(len(raw))
    case = _case(request, (raw[:cut], STALL_SECONDS, raw[cut:]))
    (wanted,) = case.wanted
    statuses = wanted.statuses and frozenset({408}) | (wanted.statuses & (EARLY | {429}))
    return replace(case, wanted=(replace(wanted, statuses=statuses, dead=""),), may_close=True)


def _left(_cases: Cases, draw: Random, request: Request, _name: str) -> Case:
    """Gone in the middle, or before the answer."""
    raw = bytes(request.draft)
    cut = draw.choice([draw.randrange(len(raw)), len(raw), raw.find(b"\r\n\r\n") + 4])
    end = draw.choice([End.LEAVE, End.RESET])
    return replace(_case(request, (raw[:cut],)), wanted=(), exact=False, end=end)


def _piped(cases: Cases, draw: Random, request: Request, name: str) -> Case:
    """Good requests behind it on the same connection, in one write or in several."""
    unique = f"{cases.seed}-{name.replace('/', '-')}"
    more = [cases.good(draw, f"{unique}-{number}") for number in range(draw.randint(1, 3))]
    raws = [bytes(request.draft), *(bytes(one.draft) for one in more)]
    case = _case(request, (b"".join(raws),) if draw.random() < 0.5 else tuple(raws))
    hidden = (*case.hidden, *(text for one in more for text in one.hidden))
    if not request.sound:
        first = Wanted(request.draft.method)  # or it is that of a good one
        return replace(case, hidden=hidden, wanted=(first,), exact=False, may_lose=True)
    wanted = (*case.wanted, *(one.wanted for one in more))
    early = {b"upgrade"} | ({b"transfer-encoding"} if request.provider.rated else set())
    closes = any(name in early for name, _ in request.draft.lines)  # answered, and that is all
    return replace(case, hidden=hidden, wanted=wanted, may_close=closes, may_lose=closes)


def _idle(_cases: Cases, _draw: Random, request: Request, _name: str) -> Case:
    """Connected, and silent."""
    case = _case(request, ())
    return replace(case, wanted=(Wanted(statuses=frozenset({408})),), hidden=())


def _case(request: Request, parts: tuple[Part, ...]) -> Case:
    exact = request.wanted.statuses != ANY
    return Case("", "", parts, (request.wanted,), exact, hidden=request.hidden)


_WIRES: dict[
    str, tuple[int, Callable[[Cases, Random, Request, str], Case]]
] = {  # with their weights
    function.__name__.strip("_"): (weight, function)
    for weight, function in (
        (600, _whole),
        (150, _pieces),
        (2, _stalled),
        (60, _left),
        (150, _piped),
        (1, _idle),
    )
}
