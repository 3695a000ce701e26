"""Trace context as W3C's own tests have it, and the attributes of CloudEvents."""

import pytest

from schemas.events import RecordHeaders
from schemas.headers import cloud_event, trace_id, trace_in, trace_of

TRACE, PARENT = "12345678901234567890123456789012", "1234567890123456"
GIVEN = f"00-{TRACE}-{PARENT}-01"


def parent_of(given: str) -> str | None:
    """What a request's ``traceparent`` is in the log."""
    return {name: value.decode() for name, value in trace_of({"traceparent": given})}.get(
        "traceparent"
    )


def state_of(given: str) -> str | None:
    found = dict(trace_of({"traceparent": GIVEN, "tracestate": given}))
    assert found["traceparent"] == GIVEN.encode()
    return found["tracestate"].decode() if "tracestate" in found else None


def test_most_requests_are_of_no_trace() -> None:
    assert trace_of({}) == ()
    assert trace_of({"tracestate": "a=1", "trace-parent": GIVEN}) == ()


@pytest.mark.parametrize("flags", ["00", "01", "02", "ff"])
def test_a_valid_parent_is_handed_on_as_it_came(flags: str) -> None:
    given = f"00-{TRACE}-{PARENT}-{flags}"
    assert parent_of(given) == given
    assert parent_of(f" {given}\t") == given


@pytest.mark.parametrize(
    ("given", "known"),
    [
        (f"cc-{TRACE}-{PARENT}-01", GIVEN),
        (f"cc-{TRACE}-{PARENT}-01-what-the-future-will-be-like", GIVEN),
        (f"01-{TRACE}-{PARENT}-fe-", f"00-{TRACE}-{PARENT}-00"),
        (f"01-{TRACE}-{PARENT}-ff", GIVEN),
    ],
)
def test_of_a_later_version_only_what_version_00_knows_is_handed_on(given: str, known: str) -> None:
    assert parent_of(given) == known


@pytest.mark.parametrize(
    "given",
    [
        "",
        TRACE,
        f"{GIVEN}.",
        f"{GIVEN}-what-the-future-will-be-like",
        f"{GIVEN}-",
        f"{GIVEN}\n.",
        f"cc-{TRACE}-{PARENT}-01.what-the-future-will-be-like",
        f"ff-{TRACE}-{PARENT}-01",
        f".0-{TRACE}-{PARENT}-01",
        f"0-{TRACE}-{PARENT}-01",
        f"000-{TRACE}-{PARENT}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-.{TRACE[1:]}-{PARENT}-01",
        f"00-{TRACE}0-{PARENT}-01",
        f"00-{TRACE[1:]}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{PARENT[1:]}.-01",
        f"00-{TRACE}-{PARENT}0-01",
        f"00-{TRACE}-{PARENT[1:]}-01",
        f"00-{TRACE}-{PARENT}-.0",
        f"00-{TRACE}-{PARENT}-1",
        f"00-{TRACE}-{PARENT}-001",
        f"00-{'ABCD' * 8}-{PARENT}-01",
        f"00-{TRACE}-{'ABCD' * 4}-01",
        f"00-{'٣' * 32}-{PARENT}-01",
        f"{GIVEN}, {GIVEN}",  # sent twice
    ],
)
def test_an_invalid_parent_is_as_none_and_so_is_its_state(given: str) -> None:
    assert trace_of({"traceparent": given, "tracestate": "a=1"}) == ()


def test_a_state_is_bounded_and_an_invalid_one_does_not_take_the_parent_along() -> None:
    assert state_of("rojo=00f067aa0ba902b7, congo=t61rcWkgMzE") is not None
    longest = "a=" + "x" * 510
    assert state_of(longest) == state_of(f" {longest} ") == longest
    assert state_of(longest + "x") is None
    assert state_of("") is None
    assert state_of("   ") is None
    assert state_of("a=é") is None
    assert state_of("a=1\x00") is None


def test_the_trace_of_a_record_is_held_to_the_same_rules() -> None:
    parent: RecordHeaders = (("traceparent", GIVEN.encode()),)
    state: RecordHeaders = (("tracestate", b"a=1"),)
    assert trace_in(()) == ()
    assert trace_in((("n", b"\xff"), *state, *parent)) == (*parent, *state)
    assert trace_in((*parent, ("tracestate", b"a" * 1000))) == parent
    assert trace_in((("traceparent", b"\xff"), *state)) == ()


def test_what_all_of_a_trace_have_in_common() -> None:
    assert trace_id(trace_of({"traceparent": GIVEN, "tracestate": "a=1"})) == TRACE


def test_the_attributes_of_an_event() -> None:
    assert dict(cloud_event("Grüße", "shop", "shop.orders", 1_795_000_000_000_001)) == {
        "ce_specversion": b"1.0",
        "ce_id": "Grüße".encode(),
        "ce_source": b"shop/shop.orders",
        "ce_type": b"shop.orders",
        "ce_time": b"2026-11-18T11:06:40.000001Z",
        "content-type": b"application/avro",
    }


@pytest.mark.parametrize(
    ("source", "place"),
    [
        ("", b"shop.orders"),
        ("urn:a/b c", b"urn%3Aa%2Fb%20c/shop.orders"),
        ("é", b"%C3%A9/shop.orders"),
    ],
)
def test_whatever_a_source_is_called_it_is_a_reference(source: str, place: bytes) -> None:
    assert dict(cloud_event("1", source, "shop.orders", 0))["ce_source"] == place
    assert dict(cloud_event("1", source, "shop.orders", 0))["ce_time"].endswith(b"00:00.000000Z")


def test_one_id_in_two_streams_of_a_source_is_two_events() -> None:
    """Readers may take events of one source and one id for one and the same."""
    both = [dict(cloud_event("7", "shop", stream, 0)) for stream in ("shop.orders", "shop.users")]
    assert len({(one["ce_source"], one["ce_id"]) for one in both}) == 2
