"""Senders of webhooks that behave as providers do: the same delivery again until it is taken."""

import datetime as dt
import http.client
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from standardwebhooks import Webhook

from tests.support.project import SECRET

FORGER = "whsec_bm90IHRoZSBzZWNyZXQgdGhhdCB5b3UgYWdyZWVkIG9u"
PATH = "/v1/in/shop"
ANSWER_SECONDS_MAX = 10.0
RETRY_SECONDS = (0.1, 1.0)


class Fate(StrEnum):
    """What has to become of an event."""

    ROW = "row"
    ENCODE = "encode"  # a dead letter before the log
    JUDGE = "judge"  # a dead letter of the loader's


@dataclass(frozen=True)
class Delivery:
    """One webhook call, however often it is made."""

    id: str
    events: tuple[tuple[Fate, dict[str, Any]], ...]

    @property
    def body(self) -> str:
        values = [value for _, value in self.events]
        return json.dumps(values[0] if len(values) == 1 else values)

    @property
    def ids(self) -> list[str]:
        """The event ids, in the order of the body."""
        count = len(self.events)
        return [self.id] if count == 1 else [f"{self.id}/{place}" for place in range(count)]


def order(name: str, fate: Fate = Fate.ROW) -> dict[str, Any]:
    """An order that meets its fate."""
    value: dict[str, Any] = {"order_id": name, "amount": 5.5, "placed_at": "2026-11-20T10:00:00Z"}
    if fate is Fate.ENCODE:
        value["amount"] = "a lot"
    if fate is Fate.JUDGE:
        value["amount"] = -1.0
    return value


def headers(delivery_id: str, body: str, secret: str = SECRET) -> dict[str, str]:
    """Signed now."""
    now = dt.datetime.now(dt.UTC)
    return {
        "content-type": "application/json",
        "webhook-id": delivery_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign(delivery_id, now, body),
    }


@dataclass
class Sent:
    """What one sender knows."""

    taken: dict[str, Fate] = field(default_factory=dict)  # by event id; acknowledged
    attempts: Counter[str] = field(default_factory=Counter)  # by delivery id
    answers: Counter[str] = field(default_factory=Counter)  # statuses, and names of exceptions
    repeated: int = 0  # deliveries sent again although they were taken
    problems: list[str] = field(default_factory=list)

    def __add__(self, other: "Sent") -> "Sent":
        return Sent(
            self.taken | other.taken,
            self.attempts + other.attempts,
            self.answers + other.answers,
            self.repeated + other.repeated,
            self.problems + other.problems,
        )


class Sender:
    """One connection of a provider's. ``pace``: seconds between two deliveries, on average."""

    def __init__(self, name: str, port: int, seed: int, pace: float) -> None:
        self.sent = Sent()
        self._name = name
        self._port = port
        self._random = random.Random(f"{seed}/{name}")
        self._pace = pace
        self._stop = threading.Event()
        self._give_up = threading.Event()
        self._client: http.client.HTTPConnection | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, seconds_max: float) -> None:
        """No new deliveries; what is under way is sent until it is taken, for so long."""
        self._stop.set()
        self._thread.join(seconds_max)
        if self._thread.is_alive():
            self._give_up.set()
            self.sent.problems.append(f"{self._name} never got its last delivery acknowledged")
            self._thread.join()

    def send(self, delivery: Delivery) -> None:
        """Until it is taken."""
        while not self._give_up.is_set():
            self.sent.attempts[delivery.id] += 1
            status, body = self._post(delivery, SECRET)
            if status == 200:
                self._take(delivery, body)
                return
            if status is not None and status < 500:
                self.sent.problems.append(f"{delivery.id} was answered {status}: {body!r}")
                return
            self._give_up.wait(self._random.uniform(*RETRY_SECONDS))

    def _run(self) -> None:
        for delivery in self._deliveries():
            if self._stop.is_set():
                break
            self.send(delivery)
            if self._random.random() < 0.05:  # the provider never saw the answer
                self.sent.repeated += 1
                self.send(delivery)
            if self._random.random() < 0.01:
                self._forge(delivery)
            self._stop.wait(self._random.expovariate(1 / self._pace) if self._pace else 0)
        self._hang_up()

    def _deliveries(self) -> Iterator[Delivery]:
        number = 0
        while True:
            name = f"{self._name}-{number}"
            count = 1 if self._random.random() < 0.5 else self._random.randint(2, 40)
            fates = self._random.choices(list(Fate), (95, 2, 3), k=count)
            events = tuple((fate, order(f"{name}.{i}", fate)) for i, fate in enumerate(fates))
            yield Delivery(name, events)
            number += 1

    def _take(self, delivery: Delivery, body: bytes) -> None:
        told = json.loads(body)["ids"]
        if told != delivery.ids:
            self.sent.problems.append(f"{delivery.id} was acknowledged as {told}")
        fates = [fate for fate, _ in delivery.events]
        self.sent.taken.update(zip(delivery.ids, fates, strict=True))

    def _forge(self, delivery: Delivery) -> None:
        forged = Delivery(f"forged-{delivery.id}", delivery.events)
        status, body = self._post(forged, FORGER)
        if status is not None and status != 401 and status < 500:
            self.sent.problems.append(f"a forged delivery was answered {status}: {body!r}")

    def _post(self, delivery: Delivery, secret: str) -> tuple[int | None, bytes]:
        """Status and body; None where no answer came."""
        if self._client is None:
            self._client = http.client.HTTPConnection(
                "127.0.0.1", self._port, timeout=ANSWER_SECONDS_MAX
            )
        body = delivery.body
        try:
            self._client.request("POST", PATH, body, headers(delivery.id, body, secret))
            answer = self._client.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self.sent.answers[type(error).__name__] += 1
            self._hang_up()
            return None, b""
        self.sent.answers[str(answer.status)] += 1
        if answer.will_close:
            self._hang_up()
        return answer.status, text

    def _hang_up(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None


def post_once(port: int, delivery: Delivery, secret: str = SECRET) -> tuple[int | None, float]:
    """One delivery, one try: the status (None: no answer) and the seconds that it took."""
    sender = Sender("once", port, 0, 0)
    began = time.monotonic()
    status, _ = sender._post(delivery, secret)
    sender._hang_up()
    return status, time.monotonic() - began
