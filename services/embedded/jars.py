"""The embedded broker's jars: resolved by jgo, held to a committed lock, fetched once."""

import fcntl
import hashlib
import shutil
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jgo
from jgo.config import GlobalSettings

from schemas.errors import SetupError

ENDPOINT = "org.apache.kafka:kafka_2.13:4.4.0+org.slf4j:slf4j-simple:1.7.36"
LOCK = Path(__file__).with_name("kafka_jars.lock.toml")  # as jgo writes it, see relock()
WAYS_OUT = (
    "let this machine reach Maven Central once (the jars are cached), or use a broker of your own:"
    " set KAFKA_BOOTSTRAP_SERVERS, or write a [kafka] table in sluice.toml, or run"
    " `docker compose up`"
)


def classpath() -> str:
    """All jars, each checked against the lock. Raises SetupError naming the ways out.

    Two processes that start at once wait for each other, since jgo writes its files in place.
    """
    with _only_one():
        jars = _resolve()
        bad = differences(jars)
        if bad:  # a download that was cut short stays in the cache: fetch those once more
            _forget(jars, bad)
            jars = _resolve()
            bad = differences(jars)
    if bad:
        raise SetupError(
            f"jars differ from their locked SHA-256: {', '.join(sorted(bad))}",
            where=str(LOCK),
            remedy=WAYS_OUT,
        )
    return ":".join(str(jar) for jar in jars)


def archive() -> Path:
    """Where the JVM's archive of these jars' loaded classes belongs; a start is 3 s shorter by it.

    Named after the lock; a JVM that finds it made by another version or flags ignores it.
    """
    cache, _ = _settings()
    return cache / f"sluice-kafka-{hashlib.sha256(LOCK.read_bytes()).hexdigest()[:16]}.aot"


def relock() -> None:
    """Write the lock anew after ENDPOINT was changed: ``python -m services.embedded.jars``."""
    with _only_one():
        shutil.copyfile(jgo.build(ENDPOINT).lock_path, LOCK)


def _settings() -> tuple[Path, Path]:
    settings = GlobalSettings.load()
    return Path(settings.cache_dir), Path(settings.repo_cache)


@contextmanager
def _only_one() -> Iterator[None]:
    cache, _ = _settings()
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "sluice.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _resolve() -> list[Path]:
    try:
        return [Path(jar) for jar in jgo.build(ENDPOINT).all_jars]
    except (OSError, RuntimeError, ValueError, AssertionError) as error:  # what jgo raises
        raise SetupError(
            f"Apache Kafka's jars could not be fetched ({type(error).__name__}: {error})"[:500],
            where="embedded broker",
            remedy=WAYS_OUT,
        ) from error


def _locked() -> dict[str, str]:
    entries = tomllib.loads(LOCK.read_text())["dependencies"]
    return {f"{one['artifactId']}-{one['version']}.jar": one["sha256"] for one in entries}


def differences(jars: list[Path]) -> set[str]:
    """Names of jars that are missing, unknown, or not what the lock says."""
    found = {jar.name: hashlib.sha256(jar.read_bytes()).hexdigest() for jar in jars}
    return {name for name, _ in found.items() ^ _locked().items()}


def _forget(jars: list[Path], bad: set[str]) -> None:
    _, repository = _settings()
    for folder in {jar.parent.parent for jar in jars}:
        shutil.rmtree(folder, ignore_errors=True)
    for name in bad:
        for copy in repository.rglob(name):
            copy.unlink(missing_ok=True)


if __name__ == "__main__":
    relock()
