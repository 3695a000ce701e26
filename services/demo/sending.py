"""Sends the webhooks, a few at a time, as their providers would."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import httpx2

from schemas.errors import TransientError
from schemas.ports import Clock
from services.demo.webhooks import Post, headers

AT_ONCE = 4
SECONDS_MAX = 60.0
FORGER = "whsec_bm90IHRoZSBzZWNyZXQgdGhhdCB5b3UgYWdyZWVkIG9u"


@dataclass(frozen=True, slots=True)
class Gateway:
    """Where deliveries go, and the secret agreed with each sender."""

    url: str
    secrets: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Answered:
    """One call, as its sender saw it."""

    post: Post
    status: int
    seconds: float


def send_all(
    posts: Sequence[Post], gateway: Gateway, clock: Clock, done: Callable[[Post], None]
) -> list[Answered]:
    """Post everything, then again what is sent twice; tell ``done`` of every answer.

    Raises TransientError for an answer that is neither 200 nor, for what is forged, 401: what
    the books must say would be a guess then.
    """
    calls = [*posts, *(post for post in posts for _ in range(post.times - 1))]
    return asyncio.run(_send(calls, gateway, clock, done))


async def _send(
    calls: list[Post], gateway: Gateway, clock: Clock, done: Callable[[Post], None]
) -> list[Answered]:
    waiting = iter(calls)
    answers: list[Answered] = []

    async def sender(client: httpx2.AsyncClient) -> None:
        for post in waiting:
            answers.append(await _post(client, post, gateway, clock))
            done(post)

    async with httpx2.AsyncClient(base_url=gateway.url, timeout=SECONDS_MAX) as client:
        senders = [asyncio.create_task(sender(client)) for _ in range(AT_ONCE)]
        try:
            await asyncio.gather(*senders)
        finally:
            for each in senders:
                each.cancel()
    return answers


async def _post(client: httpx2.AsyncClient, post: Post, gateway: Gateway, clock: Clock) -> Answered:
    secret = FORGER if post.forged else gateway.secrets[post.source]
    began = clock.monotonic()
    try:
        answer = await client.post(
            f"/v1/in/{post.source}",
            content=post.body.encode(),
            headers=headers(post, secret, clock.now()),
        )
    except httpx2.HTTPError as error:
        raise TransientError(
            f"the gateway did not answer a delivery ({type(error).__name__})",
            where=gateway.url,
            remedy="look into the gateway's log, then run the demo again",
        ) from error
    if answer.status_code != (401 if post.forged else 200):
        raise TransientError(
            f"the gateway answered {answer.status_code}: {answer.text[:300]}",
            where=f"{gateway.url}/v1/in/{post.source}, delivery {post.id}",
            remedy="look into the gateway's log, then run the demo again",
        )
    return Answered(post, answer.status_code, clock.monotonic() - began)
