"""Timestamps that are written alike are read together, and only those."""

import re
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.stamps import even_stamps

FORM = re.compile(r"[12][0-9]{3}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?Z")
MOMENTS = st.datetimes(datetime(1000, 1, 1), datetime(2999, 12, 31, 23, 59, 59, 999_999))  # noqa: DTZ001 - as columns are
PLACES = st.sampled_from([0, 1, 2, 3, 4, 5, 6])


def written(moment: datetime, places: int) -> str:
    """The moment with so many digits behind the second."""
    return f"{moment.isoformat(timespec='microseconds')[: 20 + places if places else 19]}Z"


def read(text: str) -> datetime | None:
    """Python's own reading of the form, None for anything else."""
    try:
        return datetime.fromisoformat(text[:-1]) if FORM.fullmatch(text) else None
    except ValueError:
        return None


@given(st.lists(MOMENTS, min_size=1), PLACES)
def test_texts_of_one_form_are_read_as_one_by_one(moments: list[datetime], places: int) -> None:
    texts = [written(moment, places) for moment in moments]
    found = even_stamps(texts)
    assert found is not None
    assert found.to_list() == [read(text) for text in texts]
    kept = timedelta(microseconds=10 ** (6 - places))
    assert all(m - s < kept for m, s in zip(moments, found.to_list(), strict=True))


@given(
    st.lists(MOMENTS, min_size=2, max_size=3),
    PLACES,
    st.integers(0, 26),
    st.characters(codec="utf-8") | st.sampled_from("0123456789-:.TZ"),
)
def test_one_other_character_leaves_all_to_the_parser_or_is_read_right(
    moments: list[datetime], places: int, place: int, character: str
) -> None:
    first, *texts = (written(moment, places) for moment in moments)
    texts.append(first[:place] + character + first[place + 1 :])
    expected = [read(text) for text in texts]
    found = even_stamps(texts)
    if None in expected or len(set(map(len, texts))) > 1:
        assert found is None
    else:
        assert found is not None
        assert found.to_list() == expected


@pytest.mark.parametrize(
    "text",
    [
        "2026-06-31T00:00:00Z",
        "2023-02-29T00:00:00Z",
        "2026-00-10T00:00:00Z",
        "2026-13-10T00:00:00Z",
        "2026-01-00T00:00:00Z",
        "2026-01-10T24:00:00Z",
        "2026-01-10T00:60:00Z",
        "2026-01-10T00:00:60Z",
        "0999-01-10T00:00:00Z",
        "3000-01-10T00:00:00Z",
        "2026-01-10t00:00:00Z",
        "2026-01-10T00:00:00z",
        "2026-01-10 00:00:00Z",
        "2026-01-10T00:00:00.Z",
        "2026-01-10T00:00:00.0000000Z",
        "2026-01-10T00:00:00",
        "2026-01-10T00:00:00.0",
        "٢026-01-10T00:00:00Z",
        "",
        None,
        20_260_110,
    ],
)
def test_anything_else_is_left_to_the_parser(text: object) -> None:
    assert even_stamps([text]) is None
    assert even_stamps(["2024-02-29T23:59:59Z", text]) is None


def test_a_text_does_not_lend_its_characters_to_the_next() -> None:
    whole = "2026-01-10T00:00:00Z"
    assert even_stamps([whole, whole]) is not None
    assert even_stamps([whole + "2", whole[1:]]) is None
