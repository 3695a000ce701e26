"""Schema ids: what a registry is, and the project's committed file as one."""

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from pydantic import TypeAdapter
from typing_extensions import TypedDict

from schemas.compatibility import Compatibility, conflicts
from schemas.errors import SetupError

Schema = dict[str, Any]
FIRST_ID = 1
CONFLICTS_SHOWN_MAX = 5


class Row(TypedDict):
    """One line of ``ids.json``."""

    id: int
    subject: str
    version: int
    file: str


_INDEX = TypeAdapter(list[Row])


class Registry(Protocol):
    """Gives every schema an id, and every id its schema."""

    def register(self, subject: str, schema: Schema) -> int:
        """The id of the schema, a new one if need be. Raises SetupError when it is refused."""

    def schema(self, schema_id: int) -> Schema | None:
        """The schema of an id; None when there is none. Raises TransientError."""


class FileRegistry:
    """``avro/ids.json`` and ``avro/<subject>/v<n>.avsc`` of a project folder, to be committed."""

    def __init__(self, folder: Path, compatibility: Compatibility = Compatibility.BACKWARD) -> None:
        self._folder = folder
        self._compatibility = compatibility
        self._ids: dict[int, Path] = {}
        self._schemas: dict[int, Schema] = {}

    def register(self, subject: str, schema: Schema) -> int:
        """The id of this very schema under its subject; the next free one for a new schema.

        Raises SetupError for a new one that is not compatible with the earlier ones.
        """
        with self._locked():
            index = self._index()
            versions = sorted(
                (one for one in index if one["subject"] == subject), key=lambda one: one["version"]
            )
            earlier = [self._load(one["file"]) for one in versions]
            if schema in earlier:
                return versions[earlier.index(schema)]["id"]
            self._require_compatible(subject, schema, earlier)
            version = 1 + len(earlier)
            schema_id = max((one["id"] for one in index), default=FIRST_ID - 1) + 1
            file = Path(subject) / f"v{version}.avsc"
            target = self._folder / file
            target.parent.mkdir(parents=True, exist_ok=True)
            _write(target, json.dumps(schema, indent=2) + "\n")
            row: Row = {"id": schema_id, "subject": subject, "version": version, "file": str(file)}
            self._replace([*index, row])
            return schema_id

    def schema(self, schema_id: int) -> Schema | None:
        """The schema of an id; the files are read again for an id not seen before."""
        if schema_id not in self._schemas:
            row = next((one for one in self._index() if one["id"] == schema_id), None)
            if row is None:
                return None
            self._schemas[schema_id] = self._load(row["file"])
        return self._schemas[schema_id]

    def _require_compatible(self, subject: str, schema: Schema, earlier: Sequence[Schema]) -> None:
        found = conflicts(schema, earlier, self._compatibility)
        if found:
            raise SetupError(
                f"the schema of {subject} is not {self._compatibility} compatible: "
                + "; ".join(found[:CONFLICTS_SHOWN_MAX]),
                where=str(self._folder / subject),
                remedy="change the contract so that it is, give the stream a new name, or set "
                'registry.compatibility = "none" if all readers can follow',
            )

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One process at a time gives out ids."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _index(self) -> list[Row]:
        path = self._folder / "ids.json"
        if not path.exists():
            return []
        try:
            index = _INDEX.validate_json(path.read_bytes())
        except (OSError, ValueError) as error:
            raise SetupError(
                f"cannot be read: {error}",
                where=str(path),
                remedy="restore the committed file; ids in the log depend on it",
            ) from error
        ids = [row["id"] for row in index]
        twice = sorted({one for one in ids if ids.count(one) > 1})
        if twice:
            raise SetupError(
                f"two schemas have the id {twice[0]}",
                where=str(path),
                remedy="as after a merge: keep the one that was deployed, register the other anew",
            )
        return index

    def _load(self, file: str) -> Schema:
        path = self._folder / file
        try:
            schema = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise _damaged(path, str(error)) from error
        if not isinstance(schema, dict):
            raise _damaged(path, "it is no object")
        return schema

    def _replace(self, index: list[Row]) -> None:
        draft = self._folder / ".ids.json"
        lines = ",\n".join("  " + json.dumps(row) for row in index)
        _write(draft, f"[\n{lines}\n]\n")
        draft.replace(self._folder / "ids.json")


def _write(path: Path, text: str) -> None:
    """Durable on return."""
    with path.open("w") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())


def _damaged(path: Path, why: str) -> SetupError:
    return SetupError(
        f"the schema cannot be read: {why}",
        where=str(path),
        remedy="restore the committed file; events in the log were written with it",
    )
