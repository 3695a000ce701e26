"""The poller's shell against a GraphQL server over HTTP: retries, tokens and the source's gate."""

import asyncio
from collections.abc import Iterator

import pytest

from schemas.errors import SetupError
from tests.support.api import Api, Call, Reply, TokenEndpoint, page, serving
from tests.support.graphql_shop import STREAM, CodedError, GraphqlShop
from tests.support.poller_shell import ids, metrics_of, poll_once, poll_while, row_of, until
from tests.support.polling import MemoryLog, ports_of, settings_of

pytestmark = pytest.mark.enable_socket
OAUTH = {"kind": "oauth2_client_credentials", "client_id": "env:I", "client_secret": "env:S"}


@pytest.fixture
def api() -> Iterator[Api]:
    with serving() as found:
        yield found


def serve(api: Api, shop: GraphqlShop) -> None:
    def answer(call: Call) -> Reply:
        assert call.headers["content-type"] == "application/json"
        return Reply(*shop.answer(call.body), headers={"Content-Type": "application/json"})

    api.route("/graphql", answer)


def test_every_page_comes_once_and_what_time_heals_is_tried_again(api: Api) -> None:
    shop = GraphqlShop(failing=[None, CodedError("THROTTLED"), CodedError("TIMEOUT")])
    serve(api, shop)
    log = MemoryLog()
    ports = ports_of(log, "shop.orders")
    poll_once(ports, settings_of(api.url, STREAM))
    assert ids(log) == [0, 1, 2, 3, 4]
    assert row_of(ports).failures == 0  # within the turn
    assert [call.path for call in api.calls] == ["/graphql"] * 5
    assert log.of("shop.orders.dead") == []


def test_what_time_does_not_heal_is_asked_once(api: Api) -> None:
    serve(api, GraphqlShop(failing=[CodedError("FORBIDDEN")]))
    ports = ports_of(MemoryLog(), "shop.orders")
    with pytest.raises(SetupError, match="FORBIDDEN"):
        poll_once(ports, settings_of(api.url, STREAM))
    assert len(api.calls) == 1
    assert row_of(ports).state == "setup"


def test_a_used_up_allowance_closes_the_gate_of_the_whole_source(api: Api) -> None:
    throttled = {"errors": [{"extensions": {"code": "RATELIMITED"}}]}
    api.route("/graphql", page(throttled, 400, Retry_After="2"))
    api.route("/more", page([]))
    more = {"stream": "shop.more", "path": "more", "every": "50ms"}
    ports = ports_of(MemoryLog(), "shop.orders", "shop.more")

    async def during(_: asyncio.Event) -> None:
        await until(lambda: len(api.of("/graphql")) == 1)
        await asyncio.sleep(0.1)
        before = len(api.of("/more"))
        await asyncio.sleep(0.8)
        assert len(api.of("/more")) == before
        assert len(api.of("/graphql")) == 1

    poll_while(ports, settings_of(api.url, STREAM, more), during)
    assert metrics_of(ports).total("poll_failures", kind="setup") == 0


def test_a_token_that_is_refused_with_status_200_is_fetched_again_once(api: Api) -> None:
    tokens = TokenEndpoint()
    api.route("/token", tokens)

    def answer(call: Call) -> Reply:
        if call.headers["authorization"] == "Bearer access-0":
            return page({"errors": [{"extensions": {"code": "UNAUTHENTICATED"}}], "data": None})
        return page(_last_page())

    api.route("/graphql", answer)
    log = MemoryLog()
    ports = ports_of(log, "shop.orders", secrets={"env:I": "i", "env:S": "s"})
    auth = OAUTH | {"token_url": f"{api.url}/token"}
    poll_once(ports, settings_of(api.url, STREAM, auth=auth))
    assert ids(log) == [7]
    assert tokens.issued == ["access-0", "access-1"]


def _last_page() -> dict[str, object]:
    info = {"hasNextPage": False, "endCursor": "x"}
    return {"data": {"orders": {"nodes": [{"id": 7, "at": 7}], "pageInfo": info}}}
