"""Bodies: good ones, and every way to make one worse that we could think of."""

import gzip
import json
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cache
from random import Random

from tests.support.fuzz.tokens import BROKEN, ODD

BODY_BYTES_MAX = 1_000_000
INFLATED_BYTES_MAX = 20_000_000
EVENTS_MAX = 10_000
DEPTH_MAX = 32
KEYS_MAX = 2_000
VALUES_MAX = 2_000_000

ANY: frozenset[int] = frozenset()
"""Nothing is known of the answer but what holds for every answer."""
GOOD = frozenset({200})

Event = dict[str, str]  # fields, and their values as JSON


@dataclass(frozen=True)
class Body:
    """A body, and what is known of the answer to it."""

    raw: bytes
    kind: str = "application/json"  # its content type
    packed: str = ""  # its content encoding
    statuses: frozenset[int] = ANY
    dead: str = ""  # why its first event is a dead letter; "": not known, or none is


@dataclass(frozen=True)
class Maker:
    """What bodies are made from: the same case gives the same body."""

    draw: Random
    case: str  # unique, so that the ids of events are
    mark: str  # stands in everything that must not be told

    def event(self, number: int = 0) -> Event:
        """An order that every contract and every source here takes."""
        draw = self.draw
        fields = {
            "order_id": f"{self.case}.{number}",
            "kind": "order",
            "type": "charge.succeeded",
            "amount": draw.randrange(1_000),
            "placed_at": f"2026-0{draw.randint(1, 9)}-11T10:00:00Z",
            "note": f"Ada {self.mark}",
        }
        more = {
            "ratio": draw.random(),
            "active": draw.random() < 0.5,
            "day": "2026-05-01",
            "clock": "10:11:12.5",
            "ref": f"{draw.getrandbits(128):032x}",
            "colour": draw.choice(["red", "green", "blue"]),
            "tags": [self.mark] * draw.randrange(3),
            "counts": {"a": draw.randrange(9)},
            "address": {"street": f"{self.mark} Road", "number": draw.randrange(99)},
            "free": [None, {"x": self.mark}],
            "unknown": {"phone": self.mark, self.mark: 1},
        }
        fields |= {name: value for name, value in more.items() if draw.random() < 0.3}
        event = {name: json.dumps(value) for name, value in fields.items()}
        return event | {"id": event["order_id"]}

    def events(self, count: int) -> list[Event]:
        return [self.event(number) for number in range(count)]


def text_of(event: Event) -> str:
    return "{" + ",".join(f"{json.dumps(name)}:{value}" for name, value in event.items()) + "}"


def array_of(events: Iterable[Event]) -> bytes:
    return f"[{','.join(map(text_of, events))}]".encode(errors="surrogatepass")


def one_of(event: Event) -> bytes:
    return text_of(event).encode(errors="surrogatepass")


def good(maker: Maker) -> Body:
    """One event, a few, or JSON lines."""
    roll = maker.draw.random()
    if roll < 0.5:
        return Body(one_of(maker.event()), statuses=GOOD)
    count = maker.draw.randint(1, 5) if roll < 0.97 else maker.draw.randint(200, 300)
    events = maker.events(count)
    if roll < 0.8:
        return Body(array_of(events), statuses=GOOD)
    lines = b"\n".join(map(one_of, events))
    return Body(lines, "application/x-ndjson", statuses=GOOD)


def odd_values(maker: Maker) -> Body:
    """Values that are JSON, and perhaps not what the contract says."""
    events = maker.events(maker.draw.choices([1, 3, 250], [80, 15, 2])[0])
    for event in events:
        names = [name for name in event if name not in {"id", "order_id"}]
        for name in maker.draw.sample(names, maker.draw.randint(1, 3)):
            event[name] = maker.draw.choice([*ODD, json.dumps(maker.mark)])
    if len(events) == 1:
        return Body(one_of(events[0]))
    return Body(array_of(events), statuses=GOOD)  # dead letters at worst


def odd_ids(maker: Maker) -> Body:
    """Ids and types that are no texts, or very long ones."""
    event = maker.event()
    event[maker.draw.choice(["id", "order_id", "type", "kind"])] = maker.draw.choice(ODD)
    return Body(one_of(event))


def broken_value(maker: Maker) -> Body:
    """One value that is no JSON: the body's fault, or in an array that of its event."""
    event = maker.event()
    event["note"] = maker.draw.choice(BROKEN)
    if maker.draw.random() < 0.5:
        return Body(one_of(event), statuses=frozenset({400}))
    return Body(array_of([event, maker.event(1)]), statuses=frozenset({200, 400}))


def twice_named(maker: Maker) -> Body:
    """Duplicate keys, as many as there are, and keys that are hardly any."""
    text = text_of(maker.event())
    more = ",".join(
        f"{json.dumps(maker.draw.choice(['note', 'amount', '', '__proto__', maker.mark]))}:1"
        for _ in range(maker.draw.randint(1, 50))
    )
    return Body(f"{text[:-1]},{more}}}".encode(), statuses=GOOD)


def bytes_changed(maker: Maker) -> Body:
    """Bit flips, cuts, doubled and foreign bytes."""
    raw = bytearray(good(maker).raw)
    for _ in range(maker.draw.randint(1, 4)):
        raw = bytearray(maker.draw.choice(_DAMAGES)(maker.draw, bytes(raw)))
    return Body(bytes(raw))


def _flip(draw: Random, raw: bytes) -> bytes:
    place = draw.randrange(len(raw) + 1)
    return raw[:place] + bytes([draw.randrange(256)]) + raw[place + 1 :]


def _cut(draw: Random, raw: bytes) -> bytes:
    return raw[: draw.randrange(len(raw) + 1)]


def _without(draw: Random, raw: bytes) -> bytes:
    place = draw.randrange(len(raw) + 1)
    return raw[:place] + raw[place + draw.randint(1, 8) :]


def _doubled(draw: Random, raw: bytes) -> bytes:
    place = draw.randrange(len(raw) + 1)
    return raw[:place] + raw[max(0, place - draw.randint(1, 30)) : place] + raw[place:]


_FOREIGN = (
    *(b"\0", b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\xe2\x80\xa8"),
    *(b"\x1b[2J", b"\r", b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"\xef\xbb\xbf"),
)


def _foreign(draw: Random, raw: bytes) -> bytes:
    place = draw.randrange(len(raw) + 1)
    return raw[:place] + draw.choice(_FOREIGN) + raw[place:]


_DAMAGES: tuple[Callable[[Random, bytes], bytes], ...] = (_flip, _cut, _without, _doubled, _foreign)


def encoded_otherwise(maker: Maker) -> Body:
    """Byte order marks and other encodings of Unicode: no JSON for us (RFC 8259, 8.1)."""
    text = text_of(maker.event() | {"note": '"\\u00e4"'})
    raw = maker.draw.choice(
        [
            b"\xef\xbb\xbf" + text.encode(),
            *(text.encode(name) for name in ("utf-16", "utf-16-le", "utf-32")),
            text.replace("Ada", "Ad\xe4").replace("\\u00e4", "\xe4").encode("latin-1"),
        ]
    )
    return Body(raw, statuses=frozenset({400}))


def no_event(maker: Maker) -> Body:
    """Bodies in which there is no event."""
    texts: list[tuple[bytes, int, str]] = [
        *(
            (raw, 400, "")
            for raw in (b"", b" ", b"\r\n\t", b"\0", b"{", b"}", b"[1", b"nul", b"{}x")
        ),
        *((raw, 200, "not_an_object") for raw in (b"1", b"null", b'"x"', b"true", b"[1]", b"[[]]")),
        (b"[]", 200, ""),
        (b"[{},]", 200, ""),
    ]
    raw, status, dead = maker.draw.choice(texts)
    return Body(raw, statuses=frozenset({status}), dead=dead)


def deep(maker: Maker) -> Body:
    """Nesting at the limit, beyond it, and far beyond it."""
    levels = maker.draw.choice([DEPTH_MAX, DEPTH_MAX + 1, 100, 1_022, 1_023, 1_024, 5_000, 200_000])
    left, right = maker.draw.choice([("[", "]"), ('{"a":', "}")])
    if left != "[":
        levels = min(levels, 100_000)
    nested = left * (levels - 1) + "1" + right * (levels - 1)
    event = maker.event() | {"free": nested}
    event.pop("unknown", None)
    dead = "too_deep" if levels > DEPTH_MAX else ""
    return Body(one_of(event), statuses=GOOD, dead=dead)


def wide(maker: Maker) -> Body:
    """As many keys as there may be, and more."""
    event = maker.event()
    event.pop("unknown", None)
    keys = maker.draw.choice([KEYS_MAX - 50, KEYS_MAX + 1, 50_000])
    event["free"] = _object_of(keys)
    return Body(one_of(event), statuses=GOOD, dead="too_many_keys" if keys > KEYS_MAX else "")


@cache
def _object_of(keys: int) -> str:
    return "{" + ",".join(f'"k{n}":{n}' for n in range(keys)) + "}"


def padded(maker: Maker, size: int, status: frozenset[int] = ANY) -> Body:
    """One event of so many bytes."""
    raw = one_of(maker.event() | {"note": '"@"'})
    return Body(raw.replace(b"@", b"x" * (size - len(raw) + 1)), statuses=status)


def large(maker: Maker) -> Body:
    """A body of the largest size, and one byte more."""
    if maker.draw.random() < 0.5:
        return padded(maker, BODY_BYTES_MAX, frozenset({200, 413}))  # the log may not take it
    more = maker.draw.choice([1, 10, 100_000, 3_000_000])
    return padded(maker, BODY_BYTES_MAX + more, frozenset({413}))


def many_events(maker: Maker) -> Body:
    """As many events as there may be, and one more."""
    count = maker.draw.choice([EVENTS_MAX, EVENTS_MAX + 1, 50_000])
    status = 200 if count <= EVENTS_MAX else 422
    return Body(b"[" + b"{}," * (count - 1) + b"{}]", statuses=frozenset({status}))


def gzipped(maker: Maker) -> Body:
    """Good bodies, packed, in one member or in several."""
    body = good(maker)
    cut = maker.draw.randrange(len(body.raw))
    empty = gzip.compress(b"", mtime=0)
    raw = maker.draw.choice(
        [
            gzip.compress(body.raw, mtime=0),
            gzip.compress(body.raw[:cut], mtime=0) + gzip.compress(body.raw[cut:], mtime=0),
            empty * maker.draw.choice([1, 30, 20_000]) + gzip.compress(body.raw, mtime=0),
        ]
    )
    return replace(body, raw=raw, packed=maker.draw.choice(["gzip", "GZIP", "x-gzip"]))


def gzip_damaged(maker: Maker) -> Body:
    """Cut, followed by something else, flipped, or no gzip at all."""
    body = good(maker)
    whole = gzip.compress(body.raw, mtime=0)
    raw = maker.draw.choice(
        [
            whole[: maker.draw.randrange(len(whole))],
            whole + maker.draw.choice([b"x", b"\x1f", b"\x1f\x8b", b"\0", whole[:12]]),
            whole[:-8] + bytes(8),
            body.raw,
            zlib.compress(body.raw),
            b"\x1f\x8b\x08\xff" + b"\xff" * 50,
        ]
    )
    return Body(raw, body.kind, "gzip", frozenset({400}))


@cache
def _packed(piece: bytes, times: int, before: bytes = b"", after: bytes = b"") -> bytes:
    """Gzip of a long repetition, which is not made as a whole."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    out = [packer.compress(before)]
    blocks, rest = divmod(times, 100_000)
    out += [packer.compress(piece * 100_000) for _ in range(blocks)]
    out += [packer.compress(piece * rest + after), packer.flush()]
    return b"".join(out)


def bomb(maker: Maker) -> Body:
    """What is small on the wire and much more than may be, inflated."""
    raw, status = maker.draw.choice(
        [
            (_packed(b"\0", INFLATED_BYTES_MAX + 1), 413),
            (_packed(b"[", 100_000_000), 413),
            (_packed(b" ", INFLATED_BYTES_MAX // 2) * 3, 413),
            (gzip.compress(_packed(b"0", 100_000_000), mtime=0), 400),  # inflated once
        ]
    )
    return Body(raw, packed="gzip", statuses=frozenset({status}))


def inflated(maker: Maker) -> Body:
    """Within the limit of bytes, and as costly as can be."""
    values = VALUES_MAX + 1
    raw, statuses = maker.draw.choice(
        [
            (_packed(b"1,", values, b'{"a":[', b"1]}"), {422}),
            (_packed(b"{},", values, b"[", b"{}]"), {422}),
            (_packed(b"{},", EVENTS_MAX * 20, b"[", b"{}]"), {422}),
            # one event, which the log does not take, nor perhaps its dead letter
            (_packed(b"1,", VALUES_MAX - 10, b'{"a":[', b"1]}"), {200, 413}),
            (_packed(b"\\\\", 9_900_000, b'["', b'"]'), {200, 413}),
            (_packed(b"x", 19_000_000, b'{"note":"', b'"}'), {200, 413}),
            (_packed(b" ", 19_000_000, b"{", b"}"), {200, 413}),
        ]
    )
    return Body(raw, packed="gzip", statuses=frozenset(statuses))


KINDS: dict[str, tuple[int, Callable[[Maker], Body]]] = {  # with their weights
    function.__name__: (weight, function)
    for weight, function in (
        (300, odd_values),
        (60, odd_ids),
        (100, broken_value),
        (40, twice_named),
        (120, bytes_changed),
        (40, encoded_otherwise),
        (60, no_event),
        (40, deep),
        (20, wide),
        (10, large),
        (4, many_events),
        (60, gzipped),
        (60, gzip_damaged),
        (6, bomb),
        (4, inflated),
    )
}
