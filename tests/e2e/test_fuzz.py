"""Hostile requests against the real gateway: it goes on, tells nobody's secrets, keeps its books.

``FUZZ_SECONDS`` (20) says for how long, ``FUZZ_SEED`` (1) with which cases; ``FUZZ_CASE`` repeats
one of them, by the name that a failure gives.
"""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.fuzz.project import fuzzable
from tests.support.fuzz.run import Fuzz
from tests.support.fuzz.watch import logged, settle

SECONDS = float(os.environ.get("FUZZ_SECONDS", "20"))
SEED = int(os.environ.get("FUZZ_SEED", "1"))
CASE = os.environ.get("FUZZ_CASE", "")

pytestmark = [
    pytest.mark.enable_socket,
    pytest.mark.embedded,
    pytest.mark.timeout(1.5 * SECONDS + 300),
]


# In an hour 40 MB would be less than 200 bytes a connection. A short run may end while the
# allocator still keeps what one heavy body needed.
GROWTH_MEGABYTES_MAX = 40 if SECONDS >= 300 else 100
ALWAYS_SEEN = {200, 400, 401, 404, 405, 408, 413, 415, 422, 429, 431}


def test_hostile_requests_break_nothing_and_learn_nothing(
    tmp_path: Path, tell: Callable[[str], object]
) -> None:
    with fuzzable(tmp_path / "fuzz") as site:
        with site.up("gateway", "loader") as members:
            fuzz = Fuzz(site, members, SEED)
            if CASE:
                tell(fuzz.replay(CASE))
            else:
                fuzz.run(SECONDS)
                tell(fuzz.summary())
            assert fuzz.problems == [], "\n".join(fuzz.problems)
            settle(site, 60 + SECONDS)
            code, books = site.audit_command()
        assert [log.problems() for log in fuzz.watch.logs.values()] == [[], []]
        ids, events = logged(site)
    tell(f"{len(fuzz.ledger.ids)} ids acknowledged; in the log {dict(events)}")
    tell(f"books {books}")
    assert [member.process.exit_code for member in members.values()] == [0, 0]
    assert fuzz.ledger.ids - ids == set(), "acknowledged events are not in the log"
    assert (code, books["balanced"]) == (0, True), books
    if CASE:
        return
    start, end = fuzz.watch.rss_megabytes()
    assert end - start < GROWTH_MEGABYTES_MAX, fuzz.watch.rss
    assert fuzz.delivered > 10
    assert ALWAYS_SEEN - fuzz.ledger.statuses.keys() == set()  # else it has not tried enough
