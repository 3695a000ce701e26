"""A polled source whose records become more every second."""

import threading
import time
from collections.abc import Callable
from typing import Any

from tests.support.api import Api, Call, Reply, page
from tests.support.project import CONTACTS_PATH


class Contacts:
    """What the polled source knows: more contacts every second, and now and then a bad mood."""

    def __init__(self, per_second: float, draw: Callable[[], float]) -> None:
        self._per_second = per_second
        self._draw = draw
        self._began = time.monotonic()
        self._stopped: float | None = None
        self._lock = threading.Lock()

    @property
    def count(self) -> int:
        """How many there are by now."""
        until = self._stopped if self._stopped is not None else time.monotonic()
        return int((until - self._began) * self._per_second)

    def stop(self) -> None:
        """No more from now on."""
        self._stopped = time.monotonic()

    def ids(self) -> set[str]:
        """The event ids of all of them: key and version."""
        return {f"c{n}@{n}" for n in range(self.count)}

    def __call__(self, call: Call) -> Reply:
        with self._lock:
            mood = self._draw()
        if mood < 0.02:
            return Reply(503, b"{}")
        if mood < 0.03:
            return Reply(429, b"{}", {"Retry-After": "1"})
        first = int(call.query.get("cursor", call.query.get("since", "0")))
        after = min(self.count, first + int(call.query["limit"]))
        answer = page(
            {
                "contacts": [_contact(number) for number in range(first, after)],
                "next": str(after) if after < self.count else None,
            }
        )
        return Reply(answer.status, answer.body, answer.headers, cut=60 if mood < 0.04 else None)


def offer(api: Api, contacts: Contacts) -> None:
    """Let the API answer with these contacts."""
    api.route(CONTACTS_PATH, contacts)


def _contact(number: int) -> dict[str, Any]:
    return {"contact_id": f"c{number}", "changed": number, "name": f"N {number}"}
