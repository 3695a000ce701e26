"""A real Kafka that lets in only who speaks TLS and proves a password by SCRAM-SHA-512."""

import datetime as dt
import ipaddress
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from services.embedded.kafka import HOST, _Cluster, _free_ports, _java, _properties
from services.embedded.process import Process, ProcessSpec

USER = "alice"
MECHANISM = "SCRAM-SHA-512"
BEGIN = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
END = dt.datetime(2120, 1, 1, tzinfo=dt.UTC)


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority of our own."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def pem(self) -> bytes:
        """What ``ssl.ca.location`` points to."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def server(self) -> bytes:
        """A new key, and the certificate that lets its owner speak for loopback."""
        key = ec.generate_private_key(ec.SECP256R1())
        address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(HOST))])
        signed = (
            _unsigned("kafka", self.certificate.subject, key.public_key())
            .add_extension(address, critical=False)
            .sign(self.key, hashes.SHA256())
        )
        secret = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return secret + signed.public_bytes(serialization.Encoding.PEM)


def authority(name: str) -> Authority:
    """A new one."""
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        _unsigned(name, _called(name), key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    return Authority(key, certificate)


@dataclass(frozen=True, slots=True)
class SecureKafka:
    """A running node, and what its one user needs."""

    bootstrap: str
    password: str
    ca: Path


@contextmanager
def secure_kafka(folder: Path) -> Iterator[SecureKafka]:
    """One node in ``folder``: brokers and controllers among themselves speak plainly."""
    password = secrets.token_urlsafe(24)
    signer, ca, store = authority("ca of the tests"), folder / "ca.pem", folder / "server.pem"
    ca.write_bytes(signer.pem)
    store.write_bytes(signer.server())
    inside, controller, outside = _free_ports(0, 3, hash(folder))
    cluster = _Cluster(f"S{secrets.token_urlsafe(16)[:21]}", (inside,), (controller,))
    lines = _properties(cluster, 1, folder / "data") | {
        "listeners": f"INSIDE://{HOST}:{inside},CONTROLLER://{HOST}:{controller},"
        f"OUTSIDE://{HOST}:{outside}",
        "listener.security.protocol.map": "INSIDE:PLAINTEXT,CONTROLLER:PLAINTEXT,OUTSIDE:SASL_SSL",
        "inter.broker.listener.name": "INSIDE",
        "sasl.enabled.mechanisms": MECHANISM,
        f"listener.name.outside.{MECHANISM.lower()}.sasl.jaas.config": (
            "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        ),
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(store),
    }
    properties = folder / "node.properties"
    properties.write_text("".join(f"{name}={value}\n" for name, value in lines.items()))
    java, config = _java(), ["-c", str(properties)]
    user = ["--add-scram", f"{MECHANISM}=[name={USER},password={password}]"]
    subprocess.run(
        java.command("kafka.tools.StorageTool", "format", "-t", cluster.id, *config, *user),
        check=True,
        capture_output=True,
    )
    kafka = SecureKafka(f"{HOST}:{outside}", password, ca)
    node = ProcessSpec(
        name="secure-kafka",
        command=java.command("kafka.Kafka", str(properties)),
        folder=folder,
        ready=partial(_ready, kafka),
    )
    with Process(node):
        yield kafka


def _ready(kafka: SecureKafka) -> bool:
    probe = AdminClient(
        {
            "bootstrap.servers": kafka.bootstrap,
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": MECHANISM,
            "sasl.username": USER,
            "sasl.password": kafka.password,
            "ssl.ca.location": str(kafka.ca),
            "log_level": 0,
        }
    )
    try:
        return bool(probe.list_topics(timeout=1).brokers)
    except KafkaException:
        return False


def _called(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _unsigned(
    name: str, issuer: x509.Name, key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    return x509.CertificateBuilder(
        issuer_name=issuer,
        subject_name=_called(name),
        public_key=key,
        serial_number=x509.random_serial_number(),
        not_valid_before=BEGIN,
        not_valid_after=END,
    )
