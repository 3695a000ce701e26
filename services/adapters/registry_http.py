"""Schema ids from a registry with the Confluent API."""

import json
import re
from contextlib import suppress
from typing import Any

import httpx2

from schemas.errors import SetupError, TransientError
from services.adapters.registry import Schema

SCHEMA_NOT_FOUND = 40403
INCOMPATIBLE = 409
_REMEDIES = {
    401: "check registry.user and registry.password",
    403: "let registry.user read and register the subjects",
    422: "it takes no such schema or subject: compare `sluice contract avro` with its rules",
    429: "nothing, unless it lasts: it is tried again",
}
_FIELD = re.compile(r"(?<!\w)/fields/(\d+)")  # of a place in a schema the first step


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
                f"the registry refuses the schema{_refusal(schema, answer.text)}",
                where=f"{self._url}{path}",
                remedy="give the stream a compatible contract, or a new name",
            )
        return int(self._require(answer, path)["id"])

    def schema(self, schema_id: int) -> Schema | None:
        """The schema of an id; None when the registry has none."""
        if schema_id not in self._schemas:
            path = f"/schemas/ids/{schema_id}"
            answer = self._call("GET", path)
            if _says_unknown(answer):
                return None
            self._schemas[schema_id] = _parsed(self._require(answer, path))
        return self._schemas[schema_id]

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> httpx2.Response:
        try:
            return self._client.request(method, self._url + path, json=body)
        except httpx2.TransportError as error:
            raise TransientError(
                f"the schema registry does not answer ({type(error).__name__})",
                where=self._url,
                remedy="check registry.url and that the registry runs",
            ) from error

    def _require(self, answer: httpx2.Response, path: str) -> dict[str, Any]:
        """The answer's object. Raises TransientError or SetupError where there is none."""
        if answer.is_success:
            try:
                found = answer.json()
            except ValueError:
                found = None
            if isinstance(found, dict) and found.keys() & {"id", "schema"}:
                return found
        later = answer.is_server_error or answer.status_code == httpx2.codes.TOO_MANY_REQUESTS
        kind = TransientError if later else SetupError
        raise kind(
            f"the schema registry answers {answer.status_code}: {answer.text[:200]}",
            where=self._url + path,
            remedy=_REMEDIES.get(
                answer.status_code, "check registry.url and that it is a registry's"
            ),
        )


def _refusal(schema: Schema, text: str) -> str:
    """Why, and where: registries count the fields of the new schema, people know their names."""
    with suppress(ValueError, KeyError, TypeError):
        text = str(json.loads(text)["message"])
    fields = schema.get("fields", ())
    places = (int(found[1]) for found in _FIELD.finditer(text))
    names = dict.fromkeys(fields[place]["name"] for place in places if place < len(fields))
    at = f" at {', '.join(names)}" if names else ""
    return f"{at}: {text[:300]}"


def _says_unknown(answer: httpx2.Response) -> bool:
    """Whether the registry itself says so, and not whatever else stands at a wrong address."""
    if answer.status_code != httpx2.codes.NOT_FOUND:
        return False
    try:
        found = answer.json()
    except ValueError:
        return False
    return isinstance(found, dict) and found.get("error_code") == SCHEMA_NOT_FOUND


def _parsed(found: dict[str, Any]) -> Schema:
    """The schema; one that is no Avro record keeps its kind, for the dead letters to say."""
    kind = found.get("schemaType", "AVRO")
    if kind != "AVRO":
        return {"type": kind}
    try:
        schema = json.loads(found["schema"])
    except (KeyError, ValueError):
        schema = "no JSON"
    return schema if isinstance(schema, dict) else {"type": str(schema)}
