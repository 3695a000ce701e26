"""The compose file is valid, and whatever it names is there. No Docker engine is needed.

The schema is the Compose specification's own, as the package check-jsonschema carries it.
"""

import copy
import json
import os
import re
import shlex
from collections.abc import Iterator
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import typer.main
import yaml
from typer.core import TyperGroup

from services.adapters.clock import SystemClock
from services.adapters.snowflake import SnowflakeWarehouse, connection_arguments
from services.cli.app import declared
from services.embedded.warehouse import EmbeddedWarehouse
from services.settings import Settings, load

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
ROLES = ("gateway", "poller", "loader", "auditor")
SCHEMA = json.loads(
    files("check_jsonschema").joinpath("builtin_schemas/vendor/compose-spec.json").read_text()
)


def problems(compose: dict[str, Any]) -> list[str]:
    return [e.message for e in jsonschema.Draft202012Validator(SCHEMA).iter_errors(compose)]


def test_the_file_fits_the_compose_specification() -> None:
    assert problems(COMPOSE) == []


@pytest.mark.parametrize(
    ("service", "key", "value"),
    [
        ("loader", "comand", ["loader"]),
        ("loader", "restart", ["always"]),
        ("gateway", "depends_on", {"apply": {"condition": "service_finished"}}),
        ("gateway", "healthcheck", {"intervall": "5s"}),
    ],
)
def test_a_mistake_does_not_fit_the_specification(service: str, key: str, value: object) -> None:
    broken = copy.deepcopy(COMPOSE)
    broken["services"][service][key] = value
    assert problems(broken) != []


def interpolated(text: str) -> str:
    """With the defaults of ``${NAME:-default}``."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


def mounts(service: dict[str, Any]) -> Iterator[str]:
    for volume in service.get("volumes", ()):
        yield interpolated(volume).partition(":")[0]


@pytest.mark.parametrize("name", SERVICES)
def test_what_is_mounted_or_read_is_there(name: str) -> None:
    service = SERVICES[name]
    for source in mounts(service):
        if source.startswith("."):
            assert (ROOT / source).exists(), source
        else:
            assert source in COMPOSE["volumes"], source
    for file in service.get("env_file", ()):
        assert (ROOT / interpolated(file)).is_file(), file


def test_no_volume_is_declared_in_vain() -> None:
    assert set(COMPOSE["volumes"]) <= {m for s in SERVICES.values() for m in mounts(s)}


@pytest.mark.parametrize("name", SERVICES)
def test_other_services_that_are_named_exist(name: str) -> None:
    service = SERVICES[name]
    named = set(service.get("depends_on", ()))
    mode = service.get("network_mode", "")
    if mode.startswith("service:"):
        named.add(mode.removeprefix("service:"))
        assert not {"ports", "networks"} & service.keys(), "the other service has the network"
    assert named <= SERVICES.keys()


def commands() -> set[str]:
    group = typer.main.get_command(declared())
    assert isinstance(group, TyperGroup)
    return set(group.commands)


@pytest.mark.parametrize("name", OURS)
def test_every_command_exists(name: str) -> None:
    service = OURS[name]
    match service.get("entrypoint", ["sluice"]):
        case ["sluice"]:
            assert service["command"][0] in commands()
        case ["python", "-m", module]:
            assert find_spec(module) is not None
        case ["sh", "-c"]:
            words = shlex.split(service["command"][0])
            assert words[words.index("sluice") + 1] in commands()
        case other:
            pytest.fail(f"{other} is not known here")


def stand_in() -> dict[str, str]:
    text = (ROOT / "deploy/compose/stand-in.env").read_text()
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return {line.partition("=")[0]: line.partition("=")[2].strip("'") for line in lines}


def image_environment() -> dict[str, str]:
    text = (ROOT / "Dockerfile").read_text().rpartition("FROM ")[2].replace("\\\n", " ")
    (line,) = re.findall(r"^ENV (.+)$", text, re.MULTILINE)
    return dict(part.partition("=")[::2] for part in shlex.split(line))


def environment(name: str) -> dict[str, str]:
    own = {key: str(value) for key, value in OURS[name].get("environment", {}).items()}
    return image_environment() | stand_in() | own


@pytest.fixture
def settings(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    """Of a service, with the project that `sluice init` writes."""
    for name in [n for n in os.environ if n.startswith("SLUICE_")]:
        monkeypatch.delenv(name)
    for name, value in environment(request.param).items():
        if name != "PATH":
            monkeypatch.setenv(name, value)
    text = files("services").joinpath("templates/sluice.toml").read_text()
    (tmp_path / "sluice.toml").write_text(text.replace("PROJECT_NAME", "shop"))
    return load(tmp_path)


@pytest.mark.parametrize("settings", [*ROLES, "apply"], indirect=True)
def test_the_variables_name_the_brokers_the_registry_and_the_stand_in(settings: Settings) -> None:
    assert not settings.embedded_kafka
    assert not settings.embedded_warehouse
    assert settings.kafka is not None
    brokers = str(settings.kafka.options["bootstrap.servers"]).split(",")
    assert {broker.partition(":")[0] for broker in brokers} == {"kafka-1", "kafka-2", "kafka-3"}
    assert str(settings.registry.url).startswith("http://registry:8080/")
    assert settings.snowflake is not None
    place = SERVICES["warehouse"]["command"]
    assert str(settings.snowflake.options["port"]) == place[place.index("--port") + 1]
    assert settings.state == Path("/state")


@pytest.mark.parametrize(("settings", "role"), [(r, r) for r in ROLES], indirect=["settings"])
def test_a_process_is_asked_for_its_health_on_its_own_admin_port(
    settings: Settings, role: str
) -> None:
    port = getattr(settings.admin, f"{role}_port")
    assert environment(role)["HEALTH_PORT"] == str(port)
    place = SERVICES[role].get("network_mode", f"service:{role}").removeprefix("service:")
    assert f"127.0.0.1:{port}:{port}" in SERVICES[place]["ports"]


def test_prometheus_finds_every_process() -> None:
    config = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    found = {
        (host, place["port"])
        for job in config["scrape_configs"]
        for place in job["dns_sd_configs"]
        for host in place["names"]
    }
    wanted = {(role, int(environment(role)["HEALTH_PORT"])) for role in ROLES}
    assert found == wanted
    for role in ROLES:
        mode = SERVICES[role].get("network_mode")
        if mode is not None:  # it has no name of its own
            owner = SERVICES[mode.removeprefix("service:")]
            assert role in owner["networks"]["default"]["aliases"]


def test_every_port_is_published_on_loopback_only() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert ports
    assert all(re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port) for port in ports)
    assert len({port.split(":")[1] for port in ports}) == len(ports)


def test_the_brokers_form_one_quorum() -> None:
    brokers = {name: s["environment"] for name, s in SERVICES.items() if name.startswith("kafka")}
    voters = ",".join(f"{b['KAFKA_NODE_ID']}@{name}:9093" for name, b in brokers.items())
    assert len(brokers) == 3
    for name, broker in brokers.items():
        assert broker["KAFKA_CONTROLLER_QUORUM_VOTERS"] == voters
        assert broker["KAFKA_ADVERTISED_LISTENERS"] == f"PLAINTEXT://{name}:9092"
        assert broker["KAFKA_MIN_INSYNC_REPLICAS"] < broker["KAFKA_DEFAULT_REPLICATION_FACTOR"]


def test_the_image_is_built_from_what_the_engine_gets() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    copied = {
        source
        for line in re.findall(r"^COPY (?!--from)(.+) \S+$", dockerfile, re.MULTILINE)
        for source in line.split()
    }
    sent = set(re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE))
    assert copied == sent
    assert all((ROOT / source).exists() for source in copied)


def test_the_health_checks_are_python_that_compiles() -> None:
    (text,) = re.findall(r"HEALTHCHECK .*\\\n\s+CMD (\[.+\])", (ROOT / "Dockerfile").read_text())
    checks = [json.loads(text), SERVICES["warehouse"]["healthcheck"]["test"][1:]]
    for python, flag, code in checks:
        assert (python, flag) == ("python", "-c")
        compile(code, "healthcheck", "exec")


@pytest.mark.embedded
@pytest.mark.enable_socket
@pytest.mark.parametrize("settings", ["loader"], indirect=True)
def test_the_stand_in_takes_the_connection_that_the_file_describes(
    settings: Settings, tmp_path: Path
) -> None:
    with EmbeddedWarehouse(tmp_path / "warehouse") as warehouse:
        assert settings.snowflake is not None
        arguments = connection_arguments(settings.snowflake, settings.secret)
        assert arguments["host"] == "127.0.0.1"
        session = SnowflakeWarehouse(lambda: arguments | {"port": warehouse.port}, SystemClock())
        try:
            assert session.rows("SELECT 1 AS N") == [{"n": 1}]
        finally:
            session.close()
