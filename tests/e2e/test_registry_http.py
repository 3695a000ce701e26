"""Schema ids from a registry with the Confluent API, beside confluent-kafka's own client."""

import base64
import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from typing import Any

import pytest
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient

from schemas.avro import wire_schema
from schemas.compatibility import Compatibility, conflicts
from schemas.errors import SetupError, SluiceError, TransientError
from services.adapters.registry_http import HttpRegistry
from services.bootstrap import read_project
from tests.support.api import Api, Call, Reply, page, serving
from tests.support.world import CONTRACT

pytestmark = pytest.mark.enable_socket

OLD = {"type": "record", "name": "Order", "fields": [{"name": "id", "type": "string"}]}
WIDER = {**OLD, "fields": [*OLD["fields"], {"name": "n", "type": ["null", "int"], "default": None}]}
OTHER: dict[str, Any] = {**OLD, "fields": [{"name": "id", "type": "int"}]}
VERSIONS = "/subjects/shop.orders-value/versions"
USER, PASSWORD = "loader", "s3cret:with-colon"


@dataclass
class Registry:
    """What the Confluent API documents of two paths: ids, 409, 404 with its code, 401."""

    schemas: list[dict[str, Any]] = field(default_factory=list)  # by id, from 1
    guarded: bool = False

    def refused(self, call: Call) -> Reply | None:
        proof = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if self.guarded and call.headers.get("authorization") != f"Basic {proof}":
            return page({"error_code": 401, "message": "Unauthorized"}, 401)
        return None

    def register(self, call: Call) -> Reply:
        refused = self.refused(call)
        if refused is not None:
            return refused
        asked = json.loads(call.body)
        assert asked.get("schemaType", "AVRO") == "AVRO"
        schema = json.loads(asked["schema"])
        found = conflicts(schema, self.schemas, Compatibility.BACKWARD)
        if schema not in self.schemas and found:
            text = f"Schema being registered is incompatible: {found[0]}"
            return page({"error_code": 409, "message": text}, 409)
        if schema not in self.schemas:
            self.schemas.append(schema)
        return page({"id": self.schemas.index(schema) + 1})

    def by_id(self, call: Call) -> Reply:
        number = int(call.path.rpartition("/")[2])
        if self.refused(call) is not None:
            return page({"error_code": 401, "message": "Unauthorized"}, 401)
        if number > len(self.schemas):
            return page({"error_code": 40403, "message": "Schema not found"}, 404)
        return page({"schema": json.dumps(self.schemas[number - 1])})


@pytest.fixture
def api() -> Iterator[Api]:
    with serving() as found:
        yield found


@pytest.fixture
def registry(api: Api) -> Registry:
    made = Registry()
    api.route(VERSIONS, made.register)
    for number in range(1, 5):
        api.route(f"/schemas/ids/{number}", made.by_id)
    return made


Ours = Callable[..., HttpRegistry]


@pytest.fixture
def ours(api: Api) -> Iterator[Ours]:
    """Clients of the server, closed at the end."""
    with ExitStack() as stack:
        yield lambda *given, url="": stack.enter_context(
            closing(HttpRegistry(url or api.url, *given))
        )


def test_a_schema_has_one_id_and_a_changed_one_the_next(
    api: Api, ours: Ours, registry: Registry
) -> None:
    client = ours()
    assert client.register("shop.orders", OLD) == 1
    assert client.register("shop.orders", WIDER) == 2
    assert client.register("shop.orders", OLD) == 1
    assert ours(url=f"{api.url}/").schema(2) == WIDER
    assert registry.schemas == [OLD, WIDER]


def test_confluents_client_and_ours_mean_the_same_schemas(
    api: Api, ours: Ours, registry: Registry
) -> None:
    wire = wire_schema(CONTRACT)
    with SchemaRegistryClient({"url": api.url}) as theirs:
        number = theirs.register_schema("shop.orders-value", Schema(json.dumps(wire), "AVRO"))
        assert json.loads(str(theirs.get_schema(number).schema_str)) == wire
    assert ours().register("shop.orders", wire) == number
    assert ours().schema(number) == wire
    assert len(registry.schemas) == 1


@pytest.mark.usefixtures("registry")
def test_a_schema_is_asked_for_once_and_an_unknown_one_every_time(api: Api, ours: Ours) -> None:
    """It may be registered a moment later; its events wait no longer than that."""
    client = ours()
    assert client.schema(1) is None
    client.register("shop.orders", OLD)
    assert client.schema(1) == client.schema(1) == OLD
    assert len(api.of("/schemas/ids/1")) == 2


def test_what_the_registry_finds_incompatible_is_a_setup_error(
    ours: Ours, registry: Registry
) -> None:
    client = ours()
    client.register("shop.orders", OLD)
    with pytest.raises(SetupError, match="incompatible") as refused:
        client.register("shop.orders", OTHER)
    assert refused.value.remedy
    assert registry.schemas == [OLD]


@pytest.mark.parametrize(
    ("message", "told"),
    [
        (
            "Incompatible artifact: x [AVRO]: [INT, not STRING, at /fields/0/type, n at /fields/1]",
            "refuses the schema at id, n: Incompatible artifact: x",
        ),
        (
            "Schema being registered is incompatible; path '/fields/1/type/1/fields/0' differs",
            "refuses the schema at n: Schema being registered",
        ),
        ("path '/fields/9/type'", "refuses the schema: path"),
        ("no place, /a/fields/0", "refuses the schema: no place"),
    ],
    ids=["apicurio", "nested", "unknown", "none"],
)
def test_a_refused_schema_is_told_by_the_names_of_its_fields(
    api: Api, ours: Ours, message: str, told: str
) -> None:
    api.route(VERSIONS, page({"error_code": 409, "message": message}, 409))
    with pytest.raises(SetupError, match=re.escape(told)):
        ours().register("shop.orders", WIDER)


def test_a_refusal_that_is_no_json_is_told_as_it_is(api: Api, ours: Ours) -> None:
    api.route(VERSIONS, Reply(409, b"<html>conflict"))
    with pytest.raises(SetupError, match="refuses the schema: <html>conflict"):
        ours().register("shop.orders", WIDER)


def test_the_settings_name_user_and_password(api: Api, registry: Registry, tmp_path: Any) -> None:
    registry.guarded = True
    (tmp_path / "password").write_text(PASSWORD)
    (tmp_path / "sluice.toml").write_text(
        f'[registry]\nurl = "{api.url}"\nuser = "{USER}"\npassword = "file:password"\n'
    )
    found = read_project(tmp_path).registry
    assert isinstance(found, HttpRegistry)
    with closing(found):
        assert found.register("shop.orders", OLD) == 1
        assert found.schema(1) == OLD


def test_a_wrong_password_is_a_setup_error_that_does_not_show_it(
    ours: Ours, registry: Registry
) -> None:
    registry.guarded = True
    wrong = ours((USER, "wr0ng"))
    for ask in (lambda: wrong.register("shop.orders", OLD), lambda: wrong.schema(1)):
        with pytest.raises(SetupError, match="401") as refused:
            ask()
        assert "registry.user and registry.password" in str(refused.value)
        assert "wr0ng" not in str(refused.value)


@pytest.mark.parametrize(
    ("reply", "kind", "remedy"),
    [
        (Reply(500), TransientError, "registry.url"),
        (Reply(503, b"<html>"), TransientError, "registry.url"),
        (Reply(429), TransientError, "tried again"),
        (Reply(403), SetupError, "let registry.user"),
        (Reply(404, b"<html>not a registry"), SetupError, "registry.url"),
        (Reply(422, b'{"error_code": 42201}'), SetupError, "contract avro"),
        (Reply(200, b"<html>a portal"), SetupError, "registry.url"),
        (Reply(200, b'["no object"]'), SetupError, "registry.url"),
        (Reply(302, headers={"Location": "http://127.0.0.1:9/"}), SetupError, "registry.url"),
    ],
    ids=["500", "503", "429", "403", "404", "422", "html", "list", "redirect"],
)
def test_other_answers_are_classed_by_what_one_does(
    api: Api, ours: Ours, reply: Reply, kind: type[SluiceError], remedy: str
) -> None:
    api.route(VERSIONS, reply)
    api.route("/schemas/ids/1", reply)
    for ask in (lambda: ours().register("shop.orders", OLD), lambda: ours().schema(1)):
        with pytest.raises(kind) as refused:
            ask()
        assert remedy in refused.value.remedy


def test_no_registry_at_all_is_transient(ours: Ours) -> None:
    with pytest.raises(TransientError, match="does not answer"):
        ours(url="http://127.0.0.1:1").schema(1)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ({"schema": 'syntax = "proto3";', "schemaType": "PROTOBUF"}, "PROTOBUF"),
        ({"schema": '"string"'}, "string"),
        ({"schema": "{"}, "no JSON"),
    ],
)
def test_a_schema_that_is_no_avro_record_keeps_its_kind_for_the_dead_letters(
    api: Api, ours: Ours, answer: dict[str, str], kind: str
) -> None:
    api.route("/schemas/ids/1", page(answer))
    assert ours().schema(1) == {"type": kind}
