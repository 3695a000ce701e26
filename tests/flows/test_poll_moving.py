"""No change is missed, however the source moves behind the reader's back."""

from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from producers.cursors import load_state
from producers.exchange import Request, Response
from tests.support.polling import NOW, Crashed, World, plan_of

SECOND = 1_000_000
CURSOR: dict[str, Any] = {
    "field": "at",
    "param": "since",
    "format": "epoch_seconds",
    "lookback": "10s",
}


def query_of(request: Request) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(request.full_url).query))


@dataclass
class Moving:
    """A source whose rows change behind the reader's back, listed by id, as many APIs do.

    ``changes``: after each request the ids that are written, which gives them a new version.
    ``late``: how many seconds after its timestamp a write may become visible.
    """

    changes: list[list[tuple[int, int]]]
    skew: int  # our clock less theirs, seconds
    dated: bool
    inclusive: bool
    clock: int = NOW
    rows: dict[int, dict[str, int]] = field(default_factory=dict)
    versions: int = 0

    def write(self, changes: list[tuple[int, int]]) -> None:
        for number, late in changes:
            self.versions += 1
            at = (self.clock - late * SECOND) // SECOND
            self.rows[number] = {"id": number, "at": at, "v": self.versions}

    @property
    def ours(self) -> int:
        return self.clock + self.skew * SECOND

    def answer(self, request: Request) -> Response:
        query = query_of(request)
        since = int(query.get("since", -1)) + (0 if self.inclusive else 1)
        after = int(query.get("after", -1))
        found = sorted(
            (r for r in self.rows.values() if r["at"] >= since and r["id"] > after),
            key=lambda row: row["id"],
        )
        body = orjson.dumps({"data": found[:2], "more": len(found) > 2})
        self.clock += SECOND * 13 // 10
        self.write(self.changes.pop(0) if self.changes else [])
        self.clock += SECOND * 24 // 10
        date = {"date": formatdate(self.clock // SECOND, usegmt=True)} if self.dated else {}
        return Response(200, date, body, self.ours)


CHANGES = st.lists(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3)), max_size=3), min_size=2, max_size=14
)


@settings(max_examples=300)
@given(
    changes=CHANGES,
    skew=st.integers(-6, 6),
    dated=st.booleans(),
    inclusive=st.booleans(),
    crashes=st.lists(st.integers(0, 8), max_size=6),
)
def test_no_change_is_missed_however_the_source_moves(
    changes: list[list[tuple[int, int]]],
    skew: int,
    *,
    dated: bool,
    inclusive: bool,
    crashes: list[int],
) -> None:
    """Writes between pages and at the cursor's own second, up to 3 s late, clocks 6 s apart.

    A run of several pages takes longer than the look-back.

    The look-back covers lateness and what the clocks differ where the source dates nothing.
    """
    source = Moving(changes, skew, dated, inclusive)
    source.write([(n, 0) for n in range(5)])
    lookback = 4 if dated or skew <= 0 else 4 + skew
    cursor = {**CURSOR, "lookback": f"{lookback}s"}
    pager = {"kind": "cursor", "param": "after", "last": "/id", "more": "/more"}
    plan = plan_of(records="/data", pager=pager, cursor=cursor)
    world = World(source.answer)
    for turn in range(40):
        world.now = source.ours
        quiet = not source.changes and load_state(world.stored).run is None
        try:
            world.run(plan, crash_before=crashes[turn] if turn < len(crashes) else None)
        except Crashed:
            continue
        if quiet:
            break
        source.clock += SECOND
    delivered = {(row["id"], row["v"]) for row in world.delivered}
    assert not source.changes
    assert {(row["id"], row["v"]) for row in source.rows.values()} <= delivered
