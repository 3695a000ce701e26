"""What the demo's senders post: signed batches, some twice, some with broken records, one forged.

No I/O: a seed and the data set decide everything but the time of signing.
"""

import datetime as dt
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

from standardwebhooks import Webhook

from services.demo.dataset import Dataset
from services.demo.faults import PLANES, WEATHER, Event, Fault

SEED = 2013
BATCH_EVENTS = (100, 500)  # least and most events of a batch
SINGLES_SHARE = 0.003  # of the records, delivered alone
LINES_SHARE = 0.25  # of the batches, as NDJSON
REPEATED_SHARE = 0.1  # of the deliveries, sent twice
BROKEN_SHARE = 0.0015  # of the records; at least one of each kind
JSON, LINES = "application/json", "application/x-ndjson"


@dataclass(frozen=True, slots=True)
class Sent:
    """One record of a delivery, and how it was broken, if it was."""

    event: Event
    fault: Fault | None = None

    @property
    def text(self) -> str:
        """As it stands in the body."""
        return json.dumps(self.event) if self.fault is None else self.fault.text(self.event)


@dataclass(frozen=True, slots=True)
class Post:
    """One delivery; ``times`` it is sent, always with the same id."""

    source: str
    stream: str
    id: str
    records: tuple[Sent, ...]
    content_type: str = JSON
    alone: bool = False  # one object, not an array of one
    times: int = 1
    forged: bool = False  # signed with a secret that is not ours

    @property
    def body(self) -> str:
        """What is signed and sent."""
        texts = [record.text for record in self.records]
        if self.content_type == LINES:
            return "\n".join(texts) + "\n"
        return texts[0] if self.alone else f"[{','.join(texts)}]"


def headers(post: Post, secret: str, now: int) -> dict[str, str]:
    """The signed delivery's headers (Standard Webhooks 1.0.0); ``now``: microseconds, UTC."""
    seconds = now // 1_000_000
    moment = dt.datetime.fromtimestamp(seconds, dt.UTC)
    return {
        "content-type": post.content_type,
        "webhook-id": post.id,
        "webhook-timestamp": str(seconds),
        "webhook-signature": Webhook(secret).sign(post.id, moment, post.body),
    }


def posts_of(data: Dataset, seed: int = SEED) -> list[Post]:
    """Every delivery of weather and planes, in the order of sending; the forged one among them."""
    random = Random(seed)  # noqa: S311 - a repeatable choice, no secret
    posts = [
        *_posts("noaa", "noaa.weather", _broken(data.weather.to_dicts(), WEATHER, random), random),
        *_posts("faa", "faa.planes", _broken(data.planes.to_dicts(), PLANES, random), random),
    ]
    random.shuffle(posts)
    forged = Post("noaa", "noaa.weather", "forged-1", posts[0].records[:1], forged=True)
    posts.insert(len(posts) // 2, forged)
    return posts


def _broken(events: list[Event], faults: Sequence[Fault], random: Random) -> list[Sent]:
    """The records, a few of them broken in each of the ways."""
    each = max(1, round(len(events) * BROKEN_SHARE / len(faults)))
    places = random.sample(range(len(events)), each * len(faults))
    fault_at = {place: faults[i % len(faults)] for i, place in enumerate(places)}
    return [Sent(event, fault_at.get(place)) for place, event in enumerate(events)]


def _posts(source: str, stream: str, records: list[Sent], random: Random) -> Iterator[Post]:
    """Deliveries of these records: singles, batches, and batches of lines."""
    alone = max(1, round(len(records) * SINGLES_SHARE))
    whole = [record for record in records if not (record.fault and record.fault.line_only)]
    lines = [record for record in records if record.fault and record.fault.line_only]
    groups: list[tuple[list[Sent], str]] = [([record], JSON) for record in whole[:alone]]
    rest = whole[alone:]
    while rest:
        size = random.randint(*BATCH_EVENTS)
        kind = LINES if random.random() < LINES_SHARE else JSON
        groups.append((rest[:size], kind))
        rest = rest[size:]
    # what is no JSON would be refused with its whole delivery, but for a line among others
    groups[-1] = ([*groups[-1][0], *lines], LINES)
    for number, (group, kind) in enumerate(groups, 1):
        yield Post(
            source=source,
            stream=stream,
            id=f"msg_{source}_{number:05}",
            records=tuple(group),
            content_type=kind,
            alone=number <= alone and kind == JSON,
            times=2 if number == alone + 1 or random.random() < REPEATED_SHARE else 1,
        )
