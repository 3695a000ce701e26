"""Sends the webhooks, a few at a time, as their providers would."""

import http.client
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from threading import Lock
from urllib.parse import urlsplit

from schemas.errors import TransientError
from schemas.ports import Clock
from services.demo.webhooks import Post, headers

AT_ONCE = 4
SECONDS_MAX = 60.0
FORGER = "whsec_bm90IHRoZSBzZWNyZXQgdGhhdCB5b3UgYWdyZWVkIG9u"
TAKEN, REFUSED = 200, 401


@dataclass(frozen=True, slots=True)
class Gateway:
    """Where deliveries go, and the secret agreed with each sender."""

    url: str
    secrets: Mapping[str, str]
    clock: Clock


@dataclass(frozen=True, slots=True)
class Answered:
    """One call, as its sender saw it."""

    post: Post
    status: int
    seconds: float


def send_all(
    posts: Sequence[Post], gateway: Gateway, done: Callable[[Post], None]
) -> list[Answered]:
    """Post everything, then again what is sent twice; tell ``done`` of every answer.

    Raises TransientError for an answer that is neither 200 nor, for what is forged, 401: what
    the books must say would be a guess then.
    """
    calls = [*posts, *(post for post in posts for _ in range(post.times - 1))]
    turns, lock = iter(calls), Lock()

    def sender() -> list[Answered]:
        answers = []
        client = http.client.HTTPConnection(urlsplit(gateway.url).netloc, timeout=SECONDS_MAX)
        with closing(client):
            for post in _taken(turns, lock):
                answers.append(_post(client, post, gateway))
                done(post)
        return answers

    with ThreadPoolExecutor(AT_ONCE, "send") as pool:
        senders = [pool.submit(sender) for _ in range(AT_ONCE)]
    return [answer for each in senders for answer in each.result()]


def _taken(turns: Iterator[Post], lock: Lock) -> Iterator[Post]:
    """What is next, for one of several threads."""
    while True:
        with lock:
            post = next(turns, None)
        if post is None:
            return
        yield post


def _post(client: http.client.HTTPConnection, post: Post, gateway: Gateway) -> Answered:
    secret = FORGER if post.forged else gateway.secrets[post.source]
    signed = headers(post, secret, gateway.clock.now())
    began = gateway.clock.monotonic()
    where = f"{gateway.url}/v1/in/{post.source}"
    try:
        client.request("POST", f"/v1/in/{post.source}", post.body.encode(), signed)
        answer = client.getresponse()
        body = answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise TransientError(
            f"the gateway did not answer delivery {post.id} ({type(error).__name__})",
            where=where,
            remedy="look into the gateway's log, then run the demo again",
        ) from error
    if answer.status != (REFUSED if post.forged else TAKEN):
        raise TransientError(
            f"the gateway answered delivery {post.id} with {answer.status}: {_said(body)}",
            where=where,
            remedy="look into the gateway's log, then run the demo again",
        )
    return Answered(post, answer.status, gateway.clock.monotonic() - began)


def _said(body: bytes) -> str:
    try:
        value = json.loads(body)
    except ValueError:
        return repr(body[:100])
    return str(value.get("detail", value) if isinstance(value, dict) else value)[:300]
