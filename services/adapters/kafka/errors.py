"""What librdkafka's errors mean to us, in one place."""

from collections.abc import Iterator
from contextlib import contextmanager

from confluent_kafka import KafkaError, KafkaException

from schemas.errors import FencedError, SetupError, SluiceError, TransientError

ACCESS = (
    "check sasl.*, ssl.* and security.protocol in [kafka], and the principal's ACLs on the "
    "cluster, topic, group and transactional id that the message names"
)
TOPICS = "create the topic (`sluice up` does), or mend its name"
FAILED = -196  # librdkafka's code for "generic failure"
SETTINGS = "mend the option in [kafka] options; librdkafka's CONFIGURATION.md lists them"
BROKER = (
    "the brokers at bootstrap.servers must be up, reachable, and speak our security.protocol; "
    "this is tried again"
)

_REMEDIES = {
    ACCESS: (
        "_AUTHENTICATION",
        "_SSL",
        "SASL_AUTHENTICATION_FAILED",
        "UNSUPPORTED_SASL_MECHANISM",
        "TOPIC_AUTHORIZATION_FAILED",
        "GROUP_AUTHORIZATION_FAILED",
        "CLUSTER_AUTHORIZATION_FAILED",
        "TRANSACTIONAL_ID_AUTHORIZATION_FAILED",
    ),
    TOPICS: (
        "_UNKNOWN_TOPIC",
        "_UNKNOWN_PARTITION",
        "UNKNOWN_TOPIC_OR_PART",
        "TOPIC_EXCEPTION",
        "INVALID_PARTITIONS",
        "INVALID_REPLICATION_FACTOR",
        "POLICY_VIOLATION",
    ),
    SETTINGS: (
        "_INVALID_ARG",
        "_NOT_IMPLEMENTED",
        "_UNSUPPORTED_FEATURE",
        "INVALID_CONFIG",
        "INVALID_TRANSACTION_TIMEOUT",
        "INCONSISTENT_GROUP_PROTOCOL",
        "UNSUPPORTED_VERSION",
    ),
}
_SETUP = {name: remedy for remedy, names in _REMEDIES.items() for name in names}
_FENCED = frozenset({"_FENCED", "PRODUCER_FENCED", "INVALID_PRODUCER_EPOCH", "FENCED_INSTANCE_ID"})
_OVERSIZED = frozenset({"MSG_SIZE_TOO_LARGE", "RECORD_LIST_TOO_LARGE"})


def oversized(error: KafkaError) -> bool:
    """Whether a record is larger than client or topic take."""
    return error.name() in _OVERSIZED


def translated(error: KafkaError, where: str) -> SluiceError:
    """FencedError, SetupError, or TransientError for all that time may heal."""
    name = error.name()
    what = f"{error.str()} ({name})"
    if name in _FENCED:
        return FencedError(
            what, where=where, remedy="another process uses this identity; stop one of the two"
        )
    if name in _SETUP:
        return SetupError(what, where=where, remedy=_SETUP[name])
    return TransientError(what, where=where, remedy=BROKER)


def kafka_error(error: KafkaException) -> KafkaError:
    """The error inside of the exception."""
    found = error.args[0]
    if isinstance(found, KafkaError):
        return found
    return KafkaError(FAILED, str(found))


@contextmanager
def translating(where: str) -> Iterator[None]:
    """Let only our own errors out, the client's as their cause."""
    try:
        yield
    except KafkaException as error:
        raise translated(kafka_error(error), where) from error
