"""A GraphQL interface over orders, run by the reference implementation: the connections of Relay."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import graphql

SCHEMA = graphql.build_schema("""
    type Order { id: Int!, at: Int!, note: String }
    type PageInfo { hasNextPage: Boolean!, endCursor: String }
    type Connection { nodes: [Order], pageInfo: PageInfo!, totalCount: Int! }
    input Filter { since: Int }
    type Query { orders(first: Int!, after: String, skip: Int, filter: Filter): Connection }
""")
BY_TOKEN = """
query Orders($first: Int!, $after: String, $filter: Filter) {
  orders(first: $first, after: $after, filter: $filter) {
    nodes { id at note }
    pageInfo { hasNextPage endCursor }
  }
}"""
BY_OFFSET = """
query Orders($first: Int!, $skip: Int!) {
  orders(first: $first, skip: $skip) { nodes { id at } totalCount }
}"""
TOKENS = {
    "kind": "cursor",
    "param": "after",
    "token": "/data/orders/pageInfo/endCursor",
    "more": "/data/orders/pageInfo/hasNextPage",
    "size": 2,
    "size_param": "first",
}
STREAM: dict[str, Any] = {
    "stream": "shop.orders",
    "path": "graphql",
    "method": "POST",
    "body": {
        "query": BY_TOKEN,
        "variables": {"first": "${first}", "after": "${after}", "filter": {"since": "${since}"}},
    },
    "records": "/data/orders/nodes",
    "pager": TOKENS,
    "cursor": {"field": "at", "param": "since", "format": "integer", "lookback": 2},
    "event_id": "/id",
}


class CodedError(Exception):
    """An error of a resolver with a code, in the place where GraphQL keeps it."""

    def __init__(self, code: str) -> None:
        super().__init__("geheim")
        self.extensions = {"code": code}


@dataclass
class GraphqlShop:
    """Answers requests' bodies; ``asked``: the variables that came.

    ``failing``: what resolvers raise for the next requests, for the list (None: nothing) or, of
    the type ``NoteError``, for one field of a record, which leaves the rest as partial data.
    """

    count: int = 5
    asked: list[dict[str, Any]] = field(default_factory=list)
    failing: list[Exception | None] = field(default_factory=list)

    def answer(self, body: bytes) -> tuple[int, bytes]:
        """Status and body. Of what cannot be run the status is 200 too, as of most servers."""
        request = json.loads(body)
        self.asked.append(request.get("variables", {}))
        error = self.failing.pop(0) if self.failing else None
        found = graphql.graphql_sync(
            SCHEMA,
            request["query"],
            {"orders": lambda _info, **given: self._orders(error, **given)},
            variable_values=request.get("variables"),
        )
        return 200, json.dumps(found.formatted).encode()

    def _orders(
        self,
        error: Exception | None,
        first: int,
        after: str | None = None,
        skip: int = 0,
        filter: Mapping[str, Any] | None = None,  # noqa: A002 - its name in the schema
    ) -> dict[str, Any]:
        if error is not None and not isinstance(error, NoteError):
            raise error
        if after is not None and not after.startswith("at-"):
            raise CodedError("BAD_USER_INPUT")
        since = (filter or {}).get("since") or 0
        begin = int(after.removeprefix("at-")) if after else skip
        matching = [n for n in range(self.count) if n >= since]
        nodes = [{"id": n, "at": n, "note": error} for n in matching[begin : begin + first]]
        end = begin + len(nodes)
        info = {"hasNextPage": end < len(matching), "endCursor": f"at-{end}" if nodes else None}
        return {"nodes": nodes, "pageInfo": info, "totalCount": len(matching)}


class NoteError(CodedError):
    """One field cannot be read."""
