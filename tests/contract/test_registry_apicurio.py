"""Our registry client and a real registry: Apicurio, beside confluent-kafka's own client."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

from consumers.reading.decode import Decoder
from producers.encode import StreamEncoder
from schemas import avro
from schemas.dead_letters import SUBJECT, dead_contract
from schemas.errors import SetupError
from services.adapters.registry_http import HttpRegistry
from tests.support import apicurio
from tests.support.contracts import incoming
from tests.support.senders import order
from tests.support.world import CONTRACT

pytestmark = [pytest.mark.slow, pytest.mark.enable_socket, pytest.mark.timeout(600)]

WIRE = avro.wire_schema(CONTRACT)
CONTEXT = SerializationContext("shop.orders", MessageField.VALUE)
COMPATIBILITY = "BACKWARD"
ROUNDS = 20
ROOT = Path(__file__).parents[2]
WORKER = """
import json, sys
from services.adapters.registry_http import HttpRegistry
client = HttpRegistry(sys.argv[1])
for line in sys.stdin:
    print(client.register(*json.loads(line)), flush=True)
"""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with apicurio.running(tmp_path_factory.mktemp("apicurio"), COMPATIBILITY) as found:
        yield found


@pytest.fixture
def ours(url: str) -> Iterator[HttpRegistry]:
    with closing(HttpRegistry(url)) as client:
        yield client


def record(name: str, *fields: tuple[str, Any]) -> dict[str, Any]:
    parts = [{"name": field, "type": kind} for field, kind in fields]
    return {"type": "record", "name": name, "fields": parts}


def changed(field: str, kind: Any) -> dict[str, Any]:
    """Our wire schema with another type of one field."""
    fields = [one | {"type": kind} if one["name"] == field else one for one in WIRE["fields"]]
    return WIRE | {"fields": fields}


def test_compose_runs_the_version_that_is_tried_here_with_the_same_rule() -> None:
    found = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["registry"]
    assert found["image"].endswith(f":{apicurio.VERSION}")
    assert found["environment"]["APICURIO_RULES_GLOBAL_COMPATIBILITY"] == COMPATIBILITY


def test_a_schema_has_one_id_and_comes_back_by_it(url: str, ours: HttpRegistry) -> None:
    dead = avro.wire_schema(dead_contract("any.stream"))
    first, second = ours.register("shop.orders", WIRE), ours.register(SUBJECT, dead)
    assert first != second
    with closing(HttpRegistry(url)) as another:
        assert another.register("shop.orders", WIRE) == first
        assert (another.schema(first), another.schema(second)) == (WIRE, dead)


def test_an_id_that_nobody_has_is_no_schema(ours: HttpRegistry) -> None:
    assert ours.schema(2**31 - 1) is None


def test_a_wider_contract_gets_an_id_of_its_own(ours: HttpRegistry) -> None:
    new = {"name": "note", "type": ["null", "string"], "default": None}
    wider = WIRE | {"fields": [*WIRE["fields"], new]}
    assert ours.register("shop.wide", WIRE) != ours.register("shop.wide", wider)


def test_an_incompatible_change_is_refused_by_field_and_with_a_remedy(
    url: str, ours: HttpRegistry
) -> None:
    ours.register("shop.changed", WIRE)
    for schema, field in (
        (changed("amount", ["null", "boolean"]), "amount"),
        (changed("placed_at", ["null", "string"]), "placed_at"),
        (WIRE | {"fields": [*WIRE["fields"], {"name": "required", "type": "int"}]}, "required"),
    ):
        with pytest.raises(SetupError, match=rf"refuses the schema at {field}: ") as refused:
            ours.register("shop.changed", schema)
        assert "compatible contract" in refused.value.remedy
        assert "shop.changed" in refused.value.where
    versions = httpx2.get(f"{url}/subjects/shop.changed-value/versions").json()
    assert versions == [1]


def test_processes_that_register_the_same_schema_at_once_get_one_id(
    url: str, ours: HttpRegistry
) -> None:
    with ExitStack() as stack:
        workers = [stack.enter_context(registering(url)) for _ in range(2)]
        for number in range(ROUNDS):
            subject, schema = f"race.s{number}", record(f"Racing{number}", ("id", "string"))
            for worker in workers:
                assert worker.stdin is not None
                worker.stdin.write(json.dumps([subject, schema]) + "\n")
                worker.stdin.flush()
            one, other = (int(w.stdout.readline()) for w in workers if w.stdout is not None)
            assert one == other == ours.register(subject, schema)


@contextmanager
def registering(url: str) -> Iterator[subprocess.Popen[str]]:
    """A process that registers what it is told, and answers with the id."""
    command = [sys.executable, "-c", WORKER, url]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as worker:
        try:
            yield worker
        finally:
            worker.kill()


@pytest.mark.parametrize("columnar_min", [1, 1000], ids=["many", "few"])
def test_confluents_deserializer_reads_what_our_encoders_write(
    url: str, ours: HttpRegistry, columnar_min: int
) -> None:
    encoder = StreamEncoder(CONTRACT, ours.register("shop.orders", WIRE), columnar_min)
    page = [incoming(order(name)) for name in ("a", "b")]
    with SchemaRegistryClient({"url": url}) as client:
        read = AvroDeserializer(client)
        found = [read(one.value, CONTEXT) for one in encoder.encode(page).records]
    assert [(row["order_id"], row["amount"], row["_source"]) for row in found] == [
        ("a", 5.5, "shop"),
        ("b", 5.5, "shop"),
    ]
    assert {row["placed_at"].isoformat() for row in found} == {"2026-11-20T10:00:00+00:00"}


def test_we_read_what_confluents_serializer_writes_with_an_id_of_its_own(
    url: str, ours: HttpRegistry
) -> None:
    foreign = record("Theirs", ("order_id", "string"), ("amount", "double"))
    with SchemaRegistryClient({"url": url}) as client:
        write = AvroSerializer(client, json.dumps(foreign))
        value = write(
            {"order_id": "a", "amount": 2.5}, SerializationContext("s.t", MessageField.VALUE)
        )
    assert value is not None
    frame = Decoder(CONTRACT, ours.schema).decode([value]).frame
    assert frame.select("order_id", "amount").rows() == [("a", 2.5)]
