"""Remembered keys: our segments against RocksDB (ADR 0005). ``python -m benchmarks.dedupe``.

Every measurement runs in a process of its own. Events come in polls of 50,000 and batches of
250,000, evenly over a window of 7 days; 2 % repeat an earlier key. The store is filled first and
then measured over further events, so that sealing, merging and expiry have their share.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl

from consumers.reading.dedupe import PartitionKeys, key_hashes
from schemas.events import Partition
from schemas.keys import KeyHashes
from schemas.ports import SeenStores
from services.adapters.seen_keys import SegmentStores

HOME = Partition("bench.events", 0)
POLL = 50_000
BATCH = 250_000
WINDOW = 7 * 86_400_000_000
REPEATS = POLL // 50
SEED = 11
KINDS = ("segments", "rocksdb")
LIVE, ROOM_MB, COST_US = 10_000_000, 1_000, 2.0

Result = dict[str, dict[str, Any]]


def stores_of(kind: str, root: Path) -> SeenStores:
    if kind == "segments":
        return SegmentStores(root)
    from benchmarks.rocksdb_store import RocksStores  # noqa: PLC0415 - in the bench group only

    return RocksStores(root)


def polls(first: int, after: int, step: int) -> Iterator[tuple[KeyHashes, Any, Any]]:
    """Hashes, offsets, stamps. A key is a mixed offset, so a repeat needs no memory of ours."""
    generator = np.random.default_rng(SEED + first)
    null = np.zeros(POLL, dtype=np.bool_)
    for at in range(first, after, POLL):
        offsets = np.arange(at, at + POLL, dtype=np.int64)
        numbers = offsets.astype(np.uint64)
        if at:
            earliest = max(0, at - WINDOW // step)
            numbers[:REPEATS] = generator.integers(earliest, at, REPEATS)
        h1, h2 = (_mixed(numbers, salt) for salt in (0x9E3779B97F4A7C15, 0xD1B54A32D192ED03))
        yield KeyHashes(h1, h2, null), offsets, offsets * step


def _mixed(numbers: Any, salt: int) -> Any:
    """SplitMix64: as good as random, one to one."""
    mixed = numbers + np.uint64(salt)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def run_events(keys: PartitionKeys, first: int, after: int, step: int) -> dict[str, float]:
    """Judge and settle; CPU microseconds an event for each, the longest call, duplicates."""
    judged = settled = longest = 0.0
    duplicates = 0
    for hashes, offsets, stamps in polls(first, after, step):
        start = time.process_time()
        duplicates += int(keys.duplicates(hashes, offsets, stamps).sum())
        judged += time.process_time() - start
        if (offsets[-1] + 1) % BATCH == 0:
            start, wall = time.process_time(), time.perf_counter()
            keys.settle(int(offsets[-1]) + 1, int(stamps[-1]))
            settled += time.process_time() - start
            longest = max(longest, time.perf_counter() - wall)
    events = after - first
    return {
        "judge": judged / events * 1e6,
        "settle": settled / events * 1e6,
        "longest": longest,
        "duplicates": duplicates / events,
    }


def measure(kind: str, live: int, root: Path, phase: str) -> dict[str, float]:
    """One phase in this process: ``fill`` and measure, or ``open`` what was filled."""
    step = WINDOW // live
    end = live + max(live // 5, 1_000_000) // BATCH * BATCH
    base = _memory()
    start, cpu = time.perf_counter(), time.process_time()
    store = stores_of(kind, root).open(HOME, end if phase == "open" else 0, WINDOW)
    opened = time.perf_counter() - start
    figures = {"open": opened, "open_cpu": time.process_time() - cpu, "applied": store.applied}
    if phase == "open":
        keys = PartitionKeys(HOME, store, end, WINDOW)
        figures |= run_events(keys, end, end + 2 * BATCH, step)
    else:
        keys = PartitionKeys(HOME, store, 0, WINDOW)
        run_events(keys, 0, live, step)
        figures |= run_events(keys, live, end, step)
    memory = _memory()
    figures |= {name: memory[name] - base[name] for name in memory}
    keys.close()
    figures["disk"] = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
    return figures


def _memory() -> dict[str, float]:
    """Bytes that are this process's own, and pages of files that it has mapped."""
    lines = Path("/proc/self/status").read_text().splitlines()
    sizes = {line.split(":")[0]: line.split()[1] for line in lines if line.startswith("Rss")}
    return {"anon": int(sizes["RssAnon"]) * 1024, "mapped": int(sizes["RssFile"]) * 1024}


def _child(*arguments: str) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.dedupe", "--child", *arguments]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)  # noqa: S603 - ourselves
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def compare(kind: str, live: int) -> Result:
    """Cost, memory, disk and restart at so many live keys."""
    with TemporaryDirectory() as root:
        fill = _child(kind, str(live), root, "fill")
        again = _child(kind, str(live), root, "open")
    name = f"dedupe.{kind}.{live // 1_000_000}M"
    rows = {
        "judge": (fill["judge"], "us/event"),
        "remember": (fill["settle"], "us/event"),
        "both": (fill["judge"] + fill["settle"], "us/event"),
        "longest_remember": (fill["longest"] * 1e3, "ms"),
        "memory_own": (fill["anon"] / 1e6, "MB"),
        "memory_mapped": (fill["mapped"] / 1e6, "MB"),
        "disk": (fill["disk"] / 1e6, "MB"),
        "open": (again["open"], "s"),
        "open_memory_own": (again["anon"] / 1e6, "MB"),
    }
    found: Result = {
        f"{name}.{key}": {"value": value, "unit": unit} for key, (value, unit) in rows.items()
    }
    if kind == KINDS[0] and live == LIVE:
        found |= _against_targets(fill)
    return found


def _against_targets(filled: dict[str, float]) -> Result:
    """Of the store that we use, with ten million live keys: the two figures that have a target."""
    cost = filled["judge"] + filled["settle"]
    room = (filled["anon"] + filled["mapped"] + filled["disk"]) / 1e6
    return {
        "dedupe, 10 million live keys, memory and disk": {
            "value": round(room),
            "unit": "MB",
            "target": ROOM_MB,
            "met": room <= ROOM_MB,
        },
        "dedupe, 10 million live keys, cost": {
            "value": round(cost, 2),
            "unit": "us of CPU an event",
            "target": COST_US,
            "met": cost <= COST_US,
        },
    }


def hashing(keys: int = 1_000_000) -> Result:
    """Both hashes of a text column."""
    column = pl.Series([f"evt_{number:012d}" for number in range(keys)])
    key_hashes(column)
    start = time.process_time()
    key_hashes(column)
    return {
        "dedupe.hash": {
            "value": (time.process_time() - start) / keys * 1e6,
            "unit": "us/event",
        }
    }


def survive_kills(kind: str, turns: int = 5) -> Result:
    """Kill -9 while writing, open, count the settled keys that are missing."""
    missing = settled = 0
    with TemporaryDirectory() as root:
        for turn in range(turns):
            command = [sys.executable, "-m", "benchmarks.dedupe", "--child", kind, "0", root]
            with subprocess.Popen(  # noqa: S603 - ourselves
                [*command, f"write-{settled}"], stdout=subprocess.PIPE, text=True
            ) as process:
                assert process.stdout is not None
                process.stdout.readline()
                time.sleep(0.5 + 0.13 * turn)
                os.kill(process.pid, signal.SIGKILL)
                lines = process.stdout.read().split()
            settled = int(lines[-1]) if lines else settled
            store = stores_of(kind, Path(root)).open(HOME, settled, WINDOW)
            missing += settled - store.applied
            store.close()
    return {
        f"dedupe.{kind}.kill9_missing": {"value": missing, "unit": "events", "turns": turns},
        f"dedupe.{kind}.kill9_settled": {"value": settled, "unit": "events", "turns": turns},
    }


def write_forever(kind: str, root: Path, until: int) -> None:
    keys = PartitionKeys(HOME, stores_of(kind, root).open(HOME, until, WINDOW), until, WINDOW)
    first = keys.applied
    for hashes, offsets, stamps in polls(first, first + 10**9, 1000):
        keys.duplicates(hashes, offsets, stamps)
        keys.settle(int(offsets[-1]) + 1, int(stamps[-1]))
        print(int(offsets[-1]) + 1, flush=True)


def run(lives: tuple[int, ...] = (2_000_000, 10_000_000)) -> Result:
    """Everything, for ``make bench``."""
    results: Result = {}
    for part in parts(lives):
        results |= part
    return results


def parts(lives: tuple[int, ...]) -> Iterator[Result]:
    yield hashing()
    for kind in KINDS:
        for live in lives:
            yield compare(kind, live)
        yield survive_kills(kind)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--child", nargs=4, metavar=("KIND", "LIVE", "ROOT", "PHASE"))
    parser.add_argument("--live", type=int, nargs="*", default=[2_000_000, 10_000_000])
    arguments = parser.parse_args()
    if arguments.child is None:
        for part in parts(tuple(arguments.live)):
            for name, result in part.items():
                print(f"{name:45s} {result['value']:12.3f} {result['unit']}", flush=True)
        return
    kind, live, root, phase = arguments.child
    if phase.startswith("write-"):
        write_forever(kind, Path(root), int(phase.removeprefix("write-")))
    else:
        print(json.dumps(measure(kind, int(live), Path(root), phase)))


if __name__ == "__main__":
    main()
