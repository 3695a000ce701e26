"""Ten million live keys in a process of its own: ``folder``; prints what it found as JSON."""

import json
import resource
import sys
from pathlib import Path
from typing import Any

import numpy as np

from consumers.reading.dedupe import PartitionKeys
from schemas.events import Partition
from schemas.keys import KeyHashes
from services.adapters.seen_keys import SegmentStores

LIVE = 10_000_000
BEYOND = 2_000_000  # events after that, so that old keys are forgotten meanwhile
POLL, BATCH = 50_000, 250_000
REPEATS = POLL // 50
WINDOW = 7 * 86_400_000_000
STEP = WINDOW // LIVE  # microseconds between two events
HOME = Partition("shop.orders", 0)


def numbers_of(at: int, draw: np.random.Generator) -> Any:
    """A poll's keys as numbers: its own offsets, but for the first, which repeat earlier keys."""
    numbers = np.arange(at, at + POLL, dtype=np.int64)
    if at:
        earliest = max(0, at - LIVE + POLL) // POLL
        polls = draw.integers(earliest, at // POLL, REPEATS)
        numbers[:REPEATS] = polls * POLL + draw.integers(REPEATS, POLL, REPEATS)
    return numbers


def mixed(numbers: Any, salt: int) -> Any:
    """SplitMix64: one to one, and as good as random."""
    found = numbers.astype(np.uint64) + np.uint64(salt)
    found = (found ^ (found >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    found = (found ^ (found >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return found ^ (found >> np.uint64(31))


def run(folder: Path) -> dict[str, int]:
    """Judge them all, the store closed and opened again on the way."""
    stores, draw = SegmentStores(folder), np.random.default_rng(5)
    keys = PartitionKeys(HOME, stores.open(HOME, 0, WINDOW), 0, WINDOW)
    missed = dropped = 0
    null = np.zeros(POLL, dtype=np.bool_)
    for at in range(0, LIVE + BEYOND, POLL):
        numbers = numbers_of(at, draw)
        offsets = np.arange(at, at + POLL, dtype=np.int64)
        hashes = KeyHashes(mixed(numbers, 11), mixed(numbers, 12), null)
        verdicts = keys.duplicates(hashes, offsets, offsets * STEP)
        missed += int((~verdicts & (numbers != offsets)).sum())
        dropped += int((verdicts & (numbers == offsets)).sum())
        after = at + POLL
        if after % BATCH == 0:
            keys.settle(after, after * STEP)
        if after == LIVE:
            keys.close()
            keys = PartitionKeys(HOME, stores.open(HOME, after, WINDOW), after, WINDOW)
    found = {
        "missed": missed,
        "dropped": dropped,
        "remembered": keys.remembered,
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "disk": sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()),
    }
    keys.close()
    return found


if __name__ == "__main__":
    sys.stdout.write(json.dumps(run(Path(sys.argv[1]))))
