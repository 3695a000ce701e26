"""Derived identities: the same input gives the same name, so a repeat finds its own trace."""

from collections.abc import Iterable, Sequence
from hashlib import blake2b

ID_BYTES_MAX = 200  # longer ids are replaced by their hash, so that a key column stays narrow


def digest(*parts: bytes | str) -> str:
    """128 bits, hex, of the parts with their lengths (so that ``ab, c`` is not ``a, bc``)."""
    state = blake2b(digest_size=16)
    for part in parts:
        raw = part.encode() if isinstance(part, str) else part
        state.update(len(raw).to_bytes(8, "big"))
        state.update(raw)
    return state.hexdigest()


def bounded(text: str) -> str:
    """The text itself, or ``sha:`` and its digest when it is longer than an id may be."""
    return text if len(text.encode()) <= ID_BYTES_MAX else f"sha:{digest(text)}"


def event_id_of_body(source: str, body: bytes) -> str:
    """The id of an event whose source gives none: two equal bodies are one event."""
    return f"body:{digest(source, body)}"


def event_id_in_delivery(delivery_id: str, index: int, count: int) -> str:
    """The id of the ``index``-th of ``count`` events of one delivery."""
    return bounded(delivery_id if count == 1 else f"{delivery_id}/{index}")


def event_id_of_key(key: Iterable[object], version: Iterable[object]) -> str:
    """The id of a record known by its key and version: ``k1|k2@v``."""
    at = "|".join(str(part) for part in version)
    return bounded("|".join(str(part) for part in key) + (f"@{at}" if at else ""))


def event_ids_of_keys(keys: Sequence[str], versions: Sequence[str] | None) -> list[str]:
    """:func:`event_id_of_key` for many, key and version already joined."""
    if versions is None:
        ids = list(keys)
    else:
        ids = [f"{key}@{version}" for key, version in zip(keys, versions, strict=True)]
    # a character is at most four bytes, so short texts need no closer look
    return ids if max(map(len, ids), default=0) * 4 <= ID_BYTES_MAX else list(map(bounded, ids))


def dead_letter_id(topic: str, partition: int, offset: int, stage: str) -> str:
    """One event is at most one dead letter a stage, however often it is read."""
    return f"{topic}/{partition}/{offset}/{stage}"


def batch_id(topic: str, ranges: Iterable[tuple[int, int, int]]) -> str:
    """The name of the batch over ``(partition, first offset, next offset)`` ranges of a topic."""
    text = ",".join(f"{part}:{first}-{after}" for part, first, after in sorted(ranges))
    return f"{topic}-{digest(topic, text)}"
