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


def all_bounded(texts: list[str]) -> list[str]:
    """:func:`bounded` of each."""
    # a character is at most four bytes, so short texts need no closer look
    short = max(map(len, texts), default=0) * 4 <= ID_BYTES_MAX
    return texts if short else list(map(bounded, texts))


def event_id_of_body(source: str, body: bytes) -> str:
    """The id of an event whose source gives none: two equal bodies are one event."""
    return f"body:{digest(source, body)}"


def event_id_of_content(source: str, canonical: bytes) -> str:
    """The id of an event known by what it says: JSON with sorted keys, maybe not of all fields."""
    return f"content:{digest(source, canonical)}"


def event_id_in_delivery(delivery_id: str, index: int, count: int) -> str:
    """The id of the ``index``-th of ``count`` events of one delivery."""
    return bounded(delivery_id if count == 1 else f"{delivery_id}/{index}")


def joined(parts: Iterable[str]) -> str:
    """``a|b``; a bar inside a part becomes ``%7C``, so that other parts never give the same."""
    return "|".join([_without("|", "%7C", part) for part in parts])


def event_id_of_key(key: str, version: str | None) -> str:
    """The id of a record known by its key and version: ``key@version``.

    An ``@`` inside a version becomes ``%40``, so that the last one is always ours.
    """
    return bounded(key if version is None else f"{key}@{_without('@', '%40', version)}")


def event_ids_of_keys(keys: Sequence[str], versions: Sequence[str] | None) -> list[str]:
    """:func:`event_id_of_key` of each."""
    if versions is None:
        return all_bounded(list(keys))
    pairs = zip(keys, versions, strict=True)
    return all_bounded([f"{key}@{_without('@', '%40', version)}" for key, version in pairs])


def dead_letter_id(topic: str, partition: int, offset: int, stage: str) -> str:
    """One event is at most one dead letter a stage, however often it is read."""
    return f"{topic}/{partition}/{offset}/{stage}"


def _without(mark: str, code: str, text: str) -> str:
    if mark not in text and "%" not in text:
        return text
    return text.replace("%", "%25").replace(mark, code)


def batch_id(topic: str, ranges: Iterable[tuple[int, int, int]]) -> str:
    """The name of the batch over ``(partition, first offset, next offset)`` ranges of a topic."""
    text = ",".join(f"{part}:{first}-{after}" for part, first, after in sorted(ranges))
    return f"{topic}-{digest(topic, text)}"
