"""Schema ids: from a registry with the Confluent API, or from the project's committed file."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import httpx2

from schemas.errors import SetupError, TransientError

Schema = dict[str, Any]
FIRST_ID = 1
SCHEMA_NOT_FOUND = 40403
INCOMPATIBLE = 409


class Registry(Protocol):
    """Gives every schema an id, and every id its schema."""

    def register(self, subject: str, schema: Schema) -> int:
        """The id of the schema, a new one if need be. Raises SetupError when it is refused."""

    def schema(self, schema_id: int) -> Schema | None:
        """The schema of an id; None when there is none. Raises TransientError."""


class FileRegistry:
    """``avro/ids.json`` and ``avro/<subject>/v<n>.avsc`` of a project folder, to be committed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ids: dict[int, Path] = {}
        self._schemas: dict[int, Schema] = {}

    def register(self, subject: str, schema: Schema) -> int:
        """The id of this very schema, whatever its subject; the next free one for a new schema."""
        with self._locked():
            index = self._index()
            for row in index:
                if row["subject"] == subject and self._load(row["file"]) == schema:
                    return int(row["id"])
            version = 1 + sum(row["subject"] == subject for row in index)
            schema_id = max((int(row["id"]) for row in index), default=FIRST_ID - 1) + 1
            file = Path(subject) / f"v{version}.avsc"
            target = self._folder / file
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(json.dumps(schema, indent=2) + "\n")
            row = {"id": schema_id, "subject": subject, "version": version, "file": str(file)}
            self._write([*index, row])
            return schema_id

    def schema(self, schema_id: int) -> Schema | None:
        """The schema of an id; the files are read again for an id not seen before."""
        if schema_id not in self._schemas:
            row = next((row for row in self._index() if int(row["id"]) == schema_id), None)
            if row is None:
                return None
            self._schemas[schema_id] = self._load(row["file"])
        return self._schemas[schema_id]

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One process at a time gives out ids."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _index(self) -> list[dict[str, Any]]:
        path = self._folder / "ids.json"
        if not path.exists():
            return []
        try:
            return list(json.loads(path.read_text()))
        except ValueError as error:
            raise SetupError(
                f"not valid JSON: {error}",
                where=str(path),
                remedy="restore the committed file; ids in the log depend on it",
            ) from error

    def _load(self, file: str) -> Schema:
        try:
            schema: Schema = json.loads((self._folder / file).read_text())
        except (OSError, ValueError) as error:
            raise SetupError(
                f"the schema cannot be read: {error}",
                where=str(self._folder / file),
                remedy="restore the committed file; events in the log were written with it",
            ) from error
        return schema

    def _write(self, index: list[dict[str, Any]]) -> None:
        draft = self._folder / ".ids.json"
        lines = ",\n".join("  " + json.dumps(row) for row in index)
        with draft.open("w") as out:
            out.write(f"[\n{lines}\n]\n")
            out.flush()
            os.fsync(out.fileno())
        draft.replace(self._folder / "ids.json")


class HttpRegistry:
    """A registry with the Confluent API; subjects are ``<topic>-value``."""

    def __init__(
        self, url: str, auth: tuple[str, str] | None = None, timeout_seconds: float = 10
    ) -> None:
        self._url = url.rstrip("/")
        self._client = httpx2.Client(auth=auth, timeout=timeout_seconds, follow_redirects=False)
        self._schemas: dict[int, Schema] = {}

    def register(self, subject: str, schema: Schema) -> int:
        """The id of the schema. Raises SetupError where it is not compatible or not allowed."""
        path = f"/subjects/{subject}-value/versions"
        body = {"schema": json.dumps(schema), "schemaType": "AVRO"}
        answer = self._call("POST", path, body)
        if answer.status_code == INCOMPATIBLE:
            raise SetupError(
                f"the registry refuses the schema: {answer.text[:300]}",
                where=f"{self._url}{path}",
                remedy="give the stream a compatible contract, or a new name",
            )
        self._require(answer, path)
        return int(answer.json()["id"])

    def schema(self, schema_id: int) -> Schema | None:
        """The schema of an id; None when the registry has none."""
        if schema_id not in self._schemas:
            path = f"/schemas/ids/{schema_id}"
            answer = self._call("GET", path)
            if answer.status_code == httpx2.codes.NOT_FOUND:
                return None
            self._require(answer, path)
            found = json.loads(answer.json()["schema"])
            self._schemas[schema_id] = found if isinstance(found, dict) else {"type": found}
        return self._schemas[schema_id]

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> httpx2.Response:
        try:
            return self._client.request(method, self._url + path, json=body)
        except httpx2.TransportError as error:
            raise TransientError(
                f"the schema registry does not answer ({type(error).__name__})",
                where=self._url,
                remedy="check registry.url and that the registry runs",
            ) from error

    def _require(self, answer: httpx2.Response, path: str) -> None:
        if answer.is_success:
            return
        kind = TransientError if answer.is_server_error else SetupError
        raise kind(
            f"the schema registry answers {answer.status_code}: {answer.text[:200]}",
            where=self._url + path,
            remedy="check registry.url, user and password",
        )
