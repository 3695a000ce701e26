"""The poll loop against a GraphQL interface: variables, crash points, errors with status 200."""

from typing import Any

import pytest

from producers.exchange import Request, Response
from producers.poll import Fetch, Plan
from schemas.errors import SetupError, TransientError
from tests.support.graphql_shop import BY_OFFSET, STREAM, CodedError, GraphqlShop, NoteError
from tests.support.polling import NOW, Crashed, World, plan_of


def world_of(shop: GraphqlShop) -> World:
    def answer(request: Request) -> Response:
        status, body = shop.answer(request.body or b"")
        return Response(status, {}, body, NOW)

    return World(answer)


def plan(**more: Any) -> Plan:
    return plan_of(**(STREAM | more))


def ids(world: World) -> list[int]:
    return [row["id"] for row in world.delivered]


def test_variables_come_from_pager_and_cursor_and_the_look_back_is_taken_off() -> None:
    shop = GraphqlShop()
    world = world_of(shop)
    world.run(plan())
    world.run(plan())
    assert ids(world) == [0, 1, 2, 3, 4, 2, 3, 4]
    assert shop.asked == [
        {"first": 2, "filter": {}},
        {"first": 2, "after": "at-2", "filter": {}},
        {"first": 2, "after": "at-4", "filter": {}},
        {"first": 2, "filter": {"since": 2}},
        {"first": 2, "after": "at-2", "filter": {"since": 2}},
    ]


def test_offsets_and_totals_are_variables_and_values_too() -> None:
    shop = GraphqlShop()
    world = world_of(shop)
    pager = {
        "kind": "offset",
        "param": "skip",
        "limit": 3,
        "limit_param": "first",
        "total": "/data/orders/totalCount",
    }
    body = {"query": BY_OFFSET, "variables": {"first": "${first}", "skip": "${skip}"}}
    world.run(plan(pager=pager, body=body, cursor=None))
    assert ids(world) == [0, 1, 2, 3, 4]
    assert shop.asked == [{"first": 3, "skip": 0}, {"first": 3, "skip": 3}]


def test_killed_before_every_effect_nothing_is_missing() -> None:
    whole = world_of(GraphqlShop())
    end = whole.run(plan())
    assert len(whole.journal) == 6
    for crash in range(len(whole.journal)):
        world = world_of(GraphqlShop())
        with pytest.raises(Crashed):
            world.run(plan(), crash_before=crash)
        assert world.run(plan()) == end
        assert ids(world) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("error", "kind", "what"),
    [
        (CodedError("THROTTLED"), TransientError, "THROTTLED"),
        (CodedError("FORBIDDEN"), SetupError, "FORBIDDEN"),
        (ValueError("geheim"), TransientError, "200 with an error"),
        (NoteError("INTERNAL_SERVER_ERROR"), TransientError, "INTERNAL_SERVER_ERROR"),
    ],
    ids=["throttled", "forbidden", "no_code", "partial_data"],
)
def test_an_answer_with_errors_is_no_page(
    error: Exception, kind: type[Exception], what: str
) -> None:
    """Neither an empty nor half a page, nor a dead letter; the position stays."""
    shop = GraphqlShop(failing=[None, error])
    world = world_of(shop)
    with pytest.raises(kind, match=what) as caught:
        world.run(plan(null_is_empty=True))
    assert "geheim" not in str(caught.value)
    assert ids(world) == [0, 1]
    assert all(page.rejections == () for page in world.pages)
    world.run(plan(null_is_empty=True))
    assert ids(world) == [0, 1, 2, 3, 4]


def test_a_query_that_does_not_fit_the_schema_is_told_with_its_place() -> None:
    world = world_of(GraphqlShop())
    body = STREAM["body"] | {"query": STREAM["body"]["query"].replace("note", "nte")}
    with pytest.raises(SetupError, match=r"an error \(at line 4, column 19 of the query\)"):
        world.run(plan(body=body))
    assert world.pages == []


def test_a_token_that_the_source_has_forgotten_begins_the_run_anew() -> None:
    """It answers 200 with BAD_USER_INPUT, where others answer 400 or 410."""
    shop = GraphqlShop()
    world = world_of(shop)
    with pytest.raises(Crashed):
        world.run(plan(), crash_before=2)
    shop.failing = [CodedError("BAD_USER_INPUT")]
    world.run(plan())
    assert set(ids(world)) == {0, 1, 2, 3, 4}
    assert len([effect for effect in world.journal if isinstance(effect, Fetch)]) == 5
    shop.failing = [CodedError("BAD_USER_INPUT")]
    with pytest.raises(SetupError, match="BAD_USER_INPUT"):
        world.run(plan())


def test_a_throttled_resumption_keeps_its_place() -> None:
    shop = GraphqlShop()
    world = world_of(shop)
    with pytest.raises(Crashed):
        world.run(plan(), crash_before=2)
    shop.failing = [CodedError("THROTTLED")]
    with pytest.raises(TransientError):
        world.run(plan())
    world.run(plan())
    assert ids(world) == [0, 1, 2, 3, 4]
