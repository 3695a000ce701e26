"""Remembered keys on disk after kill -9, crashes between effects, damage and refusals."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumers.reading.dedupe import segment_of, sort_keys
from schemas.errors import SetupError, TransientError
from schemas.events import Partition
from schemas.keys import Keys
from schemas.ports import SeenStores
from services.adapters import key_files, seen_keys
from services.adapters.seen_keys import SegmentStore, SegmentStores

HOME = Partition("shop.orders", 0)
SECOND = 1_000_000
WINDOW = 1_000_000 * SECOND
ROOT = Path(__file__).parents[2]


def keys_at(first: int, after: int) -> Keys:
    """One key an offset, derived from it; one a second."""
    numbers = np.arange(first, after, dtype=np.uint64)
    offsets = np.arange(first, after, dtype=np.int64)
    h1 = numbers * np.uint64(0x9E3779B97F4A7C15)
    return sort_keys(Keys(h1, numbers, offsets, offsets * SECOND))[0]


def add(store: SegmentStore, first: int, after: int) -> None:
    store.remember([segment_of(keys_at(first, after))], after, after * SECOND)


def check(stores: SeenStores, until: int, beyond: int = 0) -> int:
    """Open: all keys below ``applied`` are held at their offsets, and no other. -> applied."""
    store = stores.open(HOME, until, WINDOW)
    try:
        asked = keys_at(0, until + beyond + 50)
        later = Keys(asked.h1, asked.h2, asked.offset + 1, asked.stamp)
        found = store.latest(later)
        held = asked.offset < store.applied
        assert (found.offset[held] == asked.offset[held]).all()
        assert (found.stamp[held] == asked.stamp[held]).all()
        assert (found.offset[~held] == -1).all()
        return store.applied
    finally:
        store.close()


@pytest.fixture(autouse=True)
def _small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seen_keys, "SEAL_ROWS", 20)
    monkeypatch.setattr(seen_keys, "MERGE_ROWS", 100)


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with sealed segments and a tail of 3 records: 103 keys, applied 103."""
    root = tmp_path_factory.mktemp("full")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(seen_keys, "SEAL_ROWS", 20)
        patch.setattr(seen_keys, "MERGE_ROWS", 30)
        store = SegmentStores(root).open(HOME, 0, WINDOW)
        for at in range(0, 100, 5):
            add(store, at, at + 5)
        for at in range(100, 103):
            add(store, at, at + 1)
        store.close()
    names = sorted(path.suffix for path in root.rglob("*.*") if path.is_file())
    assert names.count(".keys") >= 3
    assert names.count(".tail") == 1
    assert check(SegmentStores(root), 103) == 103
    return root


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_damage_anywhere_lowers_applied_and_never_gives_a_wrong_answer(
    full: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    root = tmp_path_factory.mktemp("damaged") / "state"
    shutil.copytree(full, root)
    files = sorted(path for path in root.rglob("*.*") if path.is_file())
    victim = data.draw(st.sampled_from(files))
    raw = bytearray(victim.read_bytes())
    at = data.draw(st.integers(0, len(raw) - 1))
    match data.draw(st.sampled_from(["bits", "cut", "zeros", "longer", "gone"])):
        case "bits":
            raw[at] ^= data.draw(st.integers(1, 255))
        case "cut":
            raw = raw[:at]
        case "zeros":
            raw[at : at + 16] = bytes(len(raw[at : at + 16]))
        case "longer":
            raw += raw[at:]
        case _:
            victim.unlink()
    if victim.exists():
        victim.write_bytes(raw)
    applied = check(SegmentStores(root), 103)
    assert applied in {0, 100, 101, 102, 103}
    assert check(SegmentStores(root), 103) == applied  # and what is left is sound


def test_a_lost_store_says_why_and_can_be_filled_again(full: Path, tmp_path: Path) -> None:
    root = tmp_path / "state"
    shutil.copytree(full, root)
    victim = next(root.rglob("*.keys"))
    victim.write_bytes(bytes(victim.stat().st_size))
    store = SegmentStores(root).open(HOME, 103, WINDOW)
    assert store.applied == 0
    assert store.lost == f"{victim.name} is damaged"
    add(store, 0, 30)
    store.close()
    assert check(SegmentStores(root), 30) == 30


def test_a_store_of_another_hash_function_is_lost(
    full: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "state"
    shutil.copytree(full, root)
    monkeypatch.setattr(seen_keys, "hash_fingerprint", lambda: "polars-99")
    store = SegmentStores(root).open(HOME, 103, WINDOW)
    assert store.applied == 0
    assert "not of polars-99" in str(store.lost)
    store.close()


def test_a_store_of_a_smaller_window_is_lost_and_one_of_a_larger_serves(
    full: Path, tmp_path: Path
) -> None:
    root = tmp_path / "state"
    shutil.copytree(full, root)
    smaller = SegmentStores(root).open(HOME, 103, WINDOW // 2)
    assert (smaller.applied, smaller.lost) == (103, None)
    smaller.close()
    larger = SegmentStores(root).open(HOME, 103, WINDOW + 1)
    assert larger.applied == 0
    assert "kept for a window" in str(larger.lost)
    larger.close()


def test_one_process_at_a_time(full: Path, tmp_path: Path) -> None:
    root = tmp_path / "state"
    shutil.copytree(full, root)
    store = SegmentStores(root).open(HOME, 103, WINDOW)
    with pytest.raises(TransientError, match="another process"):
        SegmentStores(root).open(HOME, 103, WINDOW)
    store.close()
    assert check(SegmentStores(root), 103) == 103


def test_a_folder_that_cannot_be_made_is_a_setup_error(tmp_path: Path) -> None:
    (tmp_path / HOME.topic).write_text("a file")
    with pytest.raises(SetupError, match="writable state_dir"):
        SegmentStores(tmp_path).open(HOME, 0, WINDOW)


@pytest.mark.parametrize("taken", [0, 1, 39, 40, 50])
def test_a_full_disk_is_transient_and_what_follows_is_sound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken: int
) -> None:
    store = SegmentStores(tmp_path).open(HOME, 0, WINDOW)
    add(store, 0, 5)
    write = os.pwrite
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", lambda file, raw, at: write(file, raw[:taken], at))
        with pytest.raises(TransientError, match="free disk space"):
            add(store, 5, 9)
    assert store.applied == 5
    add(store, 5, 7)
    store.close()
    assert check(SegmentStores(tmp_path), 7) == 7


def test_a_torn_tail_is_cut_at_the_last_whole_record(full: Path, tmp_path: Path) -> None:
    root = tmp_path / "state"
    shutil.copytree(full, root)
    tail = next(root.rglob("*.tail"))
    whole = tail.stat().st_size
    os.truncate(tail, whole - 1)
    assert check(SegmentStores(root), 103) == 102
    assert tail.stat().st_size < whole - 1


def _snapshots(
    monkeypatch: pytest.MonkeyPatch, folder: Path, taken: list[Path], base: Path
) -> None:
    """Copy the folder before every effect on the disk, as a crash would leave it."""

    def before(effect: Callable[..., Any]) -> Callable[..., Any]:
        def act(*arguments: Any, **options: Any) -> Any:
            copy = base / f"{len(taken):05d}"
            shutil.copytree(folder, copy)
            taken.append(copy)
            return effect(*arguments, **options)

        return act

    monkeypatch.setattr(os, "pwrite", before(os.pwrite))
    monkeypatch.setattr(os, "fsync", before(os.fsync))
    monkeypatch.setattr(Path, "replace", before(Path.replace))
    monkeypatch.setattr(Path, "unlink", before(Path.unlink))


def test_a_crash_before_any_effect_leaves_the_old_state_or_the_new_one(tmp_path: Path) -> None:
    live, base = tmp_path / "live", tmp_path / "crashes"
    live.mkdir()
    taken: list[Path] = []
    applied: list[int] = []  # when the copy was taken
    with pytest.MonkeyPatch.context() as patch:
        _snapshots(patch, live, taken, base)
        store = SegmentStores(live).open(HOME, 0, WINDOW)
        for at in range(0, 120, 6):
            applied += [at] * (len(taken) - len(applied))
            add(store, at, at + 6)
        applied += [120] * (len(taken) - len(applied))
        store.close()
        store = SegmentStores(live).open(HOME, 50, WINDOW)
        store.close()
    kept = len(applied)
    assert kept > 40
    assert len(taken) > kept + 3
    for copy, settled in zip(taken, applied, strict=False):
        assert check(SegmentStores(copy), 120) in {max(settled - 6, 0), settled}
    for copy in taken[kept:]:  # while the keys from 50 on were dropped
        assert check(SegmentStores(copy), 50) == 50


WRITER = """
import sys
from pathlib import Path
import numpy as np
from consumers.reading.dedupe import segment_of, sort_keys
from schemas.events import Partition
from schemas.keys import Keys
from services.adapters import seen_keys
seen_keys.SEAL_ROWS, seen_keys.MERGE_ROWS = 60, 400
root, until = Path(sys.argv[1]), int(sys.argv[2])
store = seen_keys.SegmentStores(root).open(Partition("shop.orders", 0), until, 10**12)
at = store.applied
while True:
    offsets = np.arange(at, at + 7)
    h1 = offsets.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    keys = Keys(h1, offsets.astype(np.uint64), offsets, offsets * 10**6)
    at += 7
    store.remember([segment_of(sort_keys(keys)[0])], at, at * 10**6)
    print(at, flush=True)
"""


def test_kill_9_while_writing_loses_nothing_that_was_settled(tmp_path: Path) -> None:
    settled = 0
    for turn in range(8):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), str(settled)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline()  # it writes
            time.sleep(0.03 + 0.021 * turn)
            process.kill()
            lines = process.stdout.read().split()
        last = int(lines[-1]) if lines else settled
        applied = check(SegmentStores(tmp_path), until=last + 7)
        assert applied in {last, last + 7}  # the last one may have died before it told us
        settled = applied
    assert settled > 500


def test_the_files_of_crashes_are_removed(full: Path, tmp_path: Path) -> None:
    root = tmp_path / "state"
    shutil.copytree(full, root)
    folder = next(root.rglob("manifest.json")).parent
    (folder / "0000009999.keys").write_bytes(b"half a segment")
    (folder / "manifest.json.tmp").write_bytes(b"{")
    assert check(SegmentStores(root), 103) == 103
    assert not (folder / "0000009999.keys").exists()
    assert not (folder / "manifest.json.tmp").exists()


def test_a_layout_of_another_version_is_lost(
    full: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "state"
    shutil.copytree(full, root)
    monkeypatch.setattr(key_files, "LAYOUT", key_files.LAYOUT + 1)
    assert check(SegmentStores(root), 103) == 0


def test_a_tail_ends_where_a_record_is_missing(tmp_path: Path) -> None:
    store = SegmentStores(tmp_path).open(HOME, 0, WINDOW)
    sizes = [0]
    for at in range(0, 9, 3):
        add(store, at, at + 3)
        sizes.append(next(tmp_path.rglob("*.tail")).stat().st_size)
    store.close()
    tail = next(tmp_path.rglob("*.tail"))
    raw = tail.read_bytes()
    tail.write_bytes(raw[: sizes[1]] + raw[sizes[2] :])
    assert check(SegmentStores(tmp_path), 9) == 3


def test_a_manifest_whose_numbers_were_changed_is_lost(full: Path, tmp_path: Path) -> None:
    root = tmp_path / "state"
    shutil.copytree(full, root)
    manifest = next(root.rglob("manifest.json"))
    text = manifest.read_text()
    assert '"applied": 100' in text
    manifest.write_text(text.replace('"applied": 100', '"applied": 101'))
    assert check(SegmentStores(root), 103) == 0
