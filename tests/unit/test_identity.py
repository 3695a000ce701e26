"""The same input gives the same name, another input another."""

from itertools import combinations, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.identity import (
    batch_id,
    bounded,
    dead_letter_id,
    digest,
    event_id_in_delivery,
    event_id_of_body,
    event_ids_of_keys,
    joined,
)


def test_a_digest_knows_where_its_parts_end() -> None:
    assert digest("ab", "c") != digest("a", "bc") != digest("abc")
    assert digest("é") == digest("é".encode())
    assert len(digest("a")) == 32


@pytest.mark.parametrize(("size", "short"), [(200, True), (201, False)], ids=str)
def test_long_ids_are_replaced_by_their_hash(size: int, short: bool) -> None:
    assert (bounded("x" * size) == "x" * size) is short
    assert bounded("é" * 101).startswith("sha:")


def test_the_ids_of_one_delivery_differ() -> None:
    assert event_id_in_delivery("d1", 0, 1) == "d1"
    assert [event_id_in_delivery("d1", n, 2) for n in range(2)] == ["d1/0", "d1/1"]


def test_equal_bodies_of_one_source_are_one_event() -> None:
    assert event_id_of_body("shop", b"x") == event_id_of_body("shop", b"x")
    assert event_id_of_body("shop", b"x") != event_id_of_body("shop2", b"x")


parts = st.text("a|@%7C\\", max_size=4)


@given(st.lists(st.tuples(parts, parts), min_size=2, max_size=2, unique=True))
def test_other_parts_never_give_the_same_key(pairs: list[tuple[str, str]]) -> None:
    one, other = pairs
    assert joined(one) != joined(other)


@given(st.lists(st.tuples(parts, parts), min_size=2, max_size=2, unique=True))
def test_another_key_or_version_never_gives_the_same_id(pairs: list[tuple[str, str]]) -> None:
    keys, versions = zip(*pairs, strict=True)
    one, other = event_ids_of_keys(keys, versions)
    assert one != other


def test_ordinary_ids_are_readable() -> None:
    assert joined(["eu", "4711"]) == "eu|4711"
    assert event_ids_of_keys(["o1", "a@b.com"], ["3", "4"]) == ["o1@3", "a@b.com@4"]
    assert event_ids_of_keys(["o1"], None) == ["o1"]
    assert event_ids_of_keys([], None) == []


def test_only_the_long_ones_of_many_are_hashed() -> None:
    ids = event_ids_of_keys(["o1", "x" * 300], None)
    assert ids[0] == "o1"
    assert ids[1] == bounded("x" * 300)


def test_a_dead_letter_is_named_by_where_it_was() -> None:
    assert dead_letter_id("shop.orders", 1, 2, "judge") == "shop.orders/1/2/judge"


def test_a_batch_is_named_by_its_ranges_in_any_order() -> None:
    ranges = [(0, 1, 5), (1, 2, 9), (0, 1, 6)]
    assert batch_id("t", ranges[:2]) == batch_id("t", ranges[1::-1])
    names = {batch_id(t, [a, b]) for t, (a, b) in product("tu", combinations(ranges, 2))}
    assert len(names) == 6
    assert batch_id("t", ranges).startswith("t-")
