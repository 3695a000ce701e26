"""Runs the fuzzer: hostile connections, couriers whose deliveries have to arrive, and a watch."""

import asyncio
import math
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from random import Random

import httpx2

from services.cli.up import Member
from tests.support.fuzz.cases import Case, Cases, mark_of
from tests.support.fuzz.judge import PROMPT_SECONDS, Forbidden, Ledger, problems
from tests.support.fuzz.project import SECRETS
from tests.support.fuzz.watch import MEGABYTE, Watch
from tests.support.fuzz.wire import Answer, Heard, NoHttpError, heard
from tests.support.project import Site

STRANGERS = 6  # connections at a time that send anything
COURIERS = 2  # that send only what has to be taken
PROBLEMS_MAX = 5
SHOWN_BYTES = 3_000
RETRY_SECONDS = 0.2
DELIVERY_SECONDS_MAX = 60.0
COSTLY = ("large", "many_events", "bomb", "inflated", "deep", "wide")
COSTLY_EACH = 4
LONG_SECONDS = 120.0  # a run as long as this sees its broker die and come back
OUTAGE_SECONDS = 8.0

Tell = Callable[[str], object]


def forbidden(seed: int) -> Forbidden:
    """All secrets of the project, and the mark."""
    texts = [text for secrets in SECRETS.values() for text in secrets]
    parts = [text.removeprefix("whsec_").rpartition(":")[2] for text in texts]
    return Forbidden([mark_of(seed), *texts, *parts])


@dataclass
class Fuzz:
    """One run against a project's gateway and loader."""

    site: Site
    members: Mapping[str, Member]
    seed: int
    problems: list[str] = field(default_factory=list)
    ledger: Ledger = field(default_factory=Ledger)
    kinds: Counter[str] = field(default_factory=Counter)
    tried: int = 0
    delivered: int = 0
    delivery_seconds: float = 0  # the longest, with all its tries
    _recent: deque[str] = field(default_factory=lambda: deque(maxlen=40))
    _outage_at: float = math.inf

    def __post_init__(self) -> None:
        self.cases = Cases(self.seed)
        self.forbidden = forbidden(self.seed)
        self.watch = Watch(self.site, self.members, self.forbidden, self.ledger)

    def run(self, seconds: float) -> None:
        """Everything, for so long or until there are problems enough."""
        asyncio.run(self._run(seconds))

    def replay(self, name: str) -> str:
        """One case again: what was sent, and what came back."""
        case = self.cases.case(name)
        answers = asyncio.run(self._try(case))
        return f"{case.kind}\n{case.sent!r}\n{answers}"

    async def _run(self, seconds: float) -> None:
        await self._warm_up()
        self.watch.warm()
        end = time.monotonic() + seconds
        if seconds >= LONG_SECONDS:
            self._outage_at = end - seconds / 2
        async with httpx2.AsyncClient(
            base_url=f"http://127.0.0.1:{self.site.gateway_port}", trust_env=False, timeout=30
        ) as client:
            steps = [self._strange(str(number)) for number in range(STRANGERS)]
            steps += [self._deliver(client, f"courier{number}") for number in range(COURIERS)]
            await asyncio.gather(*(self._until(end, step) for step in (*steps, self._look)))
        await asyncio.sleep(1)
        await self._look()

    async def _until(self, end: float, step: Callable[[], Awaitable[None]]) -> None:
        while time.monotonic() < end and len(self.problems) < PROBLEMS_MAX:
            await step()

    async def _warm_up(self) -> None:
        """Every kind once; and what takes most memory, so that what grows afterwards is no peak."""
        names = [f"{kind}/{number}" for number in range(COSTLY_EACH) for kind in COSTLY]
        names += [f"{kind}/0" for kind in self.cases.kinds if kind not in COSTLY]
        for start in range(0, len(names), STRANGERS):
            cases = map(self.cases.case, names[start : start + STRANGERS])
            await asyncio.gather(*map(self._try, cases))

    def _strange(self, worker: str) -> Callable[[], Awaitable[None]]:
        numbers = iter(range(10**9))

        async def step() -> None:
            await self._try(self.cases.case(f"{worker}/{next(numbers)}"))

        return step

    async def _try(self, case: Case) -> Heard:
        self.tried += 1
        self.kinds.update(case.kind.split("/"))
        self._recent.append(f"{case.name} ({case.kind})")
        try:
            found = await heard(self.site.gateway_port, case)
        except (NoHttpError, ValueError) as error:
            self._report(case, [f"an answer that is no HTTP: {error!r}"])
            return Heard()
        self._report(case, problems(case, found, self.ledger, self.forbidden))
        return found

    def _report(self, case: Case, found: list[str]) -> None:
        for problem in found:
            sent = case.sent
            more = f" and {len(sent) - SHOWN_BYTES} bytes more" if len(sent) > SHOWN_BYTES else ""
            self.problems.append(
                f"make fuzz SEED={self.seed} CASE={case.name} ({case.kind}): {problem}\n"
                f"  sent: {sent[:SHOWN_BYTES]!r}{more}"
            )

    def _deliver(self, client: httpx2.AsyncClient, worker: str) -> Callable[[], Awaitable[None]]:
        """A delivery until it is taken, and the next one."""
        numbers = iter(range(10**9))

        async def step() -> None:
            name = f"{worker}-{next(numbers)}"
            began = time.monotonic()
            while not await self._taken(client, name):
                if time.monotonic() - began > DELIVERY_SECONDS_MAX:
                    self.problems.append(f"{name} was not taken for {DELIVERY_SECONDS_MAX:g} s")
                    return
                await asyncio.sleep(RETRY_SECONDS)
            self.delivered += 1
            self.delivery_seconds = max(self.delivery_seconds, time.monotonic() - began)

        return step

    async def _taken(self, client: httpx2.AsyncClient, name: str) -> bool:
        request = self.cases.good(Random(f"{self.seed}/{name}"), f"{self.seed}-{name}")
        draft = request.draft.without(b"content-length").without(b"host")
        case = Case(name, "/".join(request.kind), (bytes(draft),), (request.wanted,))
        try:
            reply = await client.post(
                draft.target.decode(), headers=list(draft.lines), content=draft.body
            )
        except httpx2.TransportError as error:
            self.kinds[type(error).__name__] += 1
            return False
        raw = b"".join(b"%s: %s\r\n" % line for line in reply.headers.raw) + reply.content
        answer = Answer(reply.status_code, dict(reply.headers), reply.content, raw)
        case = Case(name, case.kind, case.parts, case.wanted, hidden=request.hidden)
        found = problems(case, Heard([answer]), self.ledger, self.forbidden)
        self._report(case, found)
        return reply.status_code == 200 or bool(found)

    async def _look(self) -> None:
        found = await asyncio.to_thread(self.watch.look)
        recent = ", ".join(self._recent)
        self.problems += [f"SEED={self.seed}: {one}\n  just sent: {recent}" for one in found]
        if time.monotonic() > self._outage_at:
            self._outage_at = math.inf
            await asyncio.to_thread(self._outage)
        await asyncio.sleep(0.5)

    def _outage(self) -> None:
        """No broker for some seconds: what is told then is worth reading."""
        self.site.kafka.kill()
        time.sleep(OUTAGE_SECONDS)
        self.site.kafka.revive()

    def summary(self) -> str:
        """What was done and seen, in a few lines."""
        start, end = self.watch.rss_megabytes()
        logs = {name: log.lines for name, log in self.watch.logs.items()}
        said = sum((log.events for log in self.watch.logs.values()), Counter[str]())
        return "\n  ".join(
            (
                f"seed {self.seed}: {self.tried} connections of strangers",
                f"{self.ledger.late} of them took longer than {PROMPT_SECONDS:g} s to send",
                f"{self.delivered} deliveries taken, the slowest in {self.delivery_seconds:.1f} s",
                f"answers {dict(sorted(self.ledger.statuses.items()))}",
                f"reasons {dict(sorted(self.ledger.reasons.items()))}",
                f"RSS of the gateway in MB: {start:.1f} at the start, {end:.1f} at the end",
                f"and at most {max(self.watch.rss) / MEGABYTE:.1f} between",
                f"log lines checked {logs}: {dict(said)}",
                f"{self.watch.series[-1] if self.watch.series else 0} series of metrics",
            )
        )
