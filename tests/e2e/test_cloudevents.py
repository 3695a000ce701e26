"""What gateway and poller write, read by the package of CloudEvents' own authors."""

import datetime as dt
import http.client
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cloudevents.core.base import BaseCloudEvent
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary
from cloudevents.core.formats.json import JSONFormat
from confluent_kafka import Message
from typing_extensions import override

from schemas.dead_letters import TABLE as DEAD_LETTERS
from tests.support.api import serving
from tests.support.contacts import Contacts, offer
from tests.support.orders import ORDERS_TABLE
from tests.support.project import CONTACTS, ORDERS, Site, drained, standing, until
from tests.support.senders import PATH, Delivery, Fate, headers, order

pytestmark = [pytest.mark.enable_socket, pytest.mark.embedded, pytest.mark.timeout(240)]

SECONDS = 40.0
TRACE = {
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "tracestate": "congo=t61rcWkgMzE",
}
SENT = Delivery("d1", tuple((fate, order(f"o-{fate}", fate)) for fate in Fate))


class AsItCame(JSONFormat):
    """Their format for JSON; other data stays bytes."""

    @override
    def read_data(self, body: bytes, datacontenttype: str | None) -> Any:
        return body


def delivered(port: int) -> bool:
    """Whether the gateway has taken it; at first it may not listen yet."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        client.request("POST", PATH, SENT.body, headers(SENT.id, SENT.body) | TRACE)
        assert client.getresponse().status == 200
    except ConnectionRefusedError:
        return False
    finally:
        client.close()
    return True


def messages(site: Site, topic: str) -> list[Message]:
    """All of a topic's."""
    reader = site.project.reader()
    try:
        return [
            message
            for partition in reader.partitions(topic)
            for run in reader.read(partition, *reader.bounds(partition))
            for message in run.messages
        ]  # type: ignore[misc] # the adapter's are the client's
    finally:
        reader.close()


def plain(message: Message) -> dict[str, bytes]:
    return dict(message.headers() or ())  # type: ignore[arg-type] # bytes, as written


def events(site: Site, topic: str) -> dict[str, BaseCloudEvent]:
    """What their package makes of a topic, by id."""
    found = {}
    for message in messages(site, topic):
        told = KafkaMessage(plain(message), message.key(), message.value() or b"")
        event = from_binary(told, AsItCame())
        assert event.get_specversion() == "1.0"
        assert event.get_datacontenttype() == "application/avro"
        assert event.get_data() == message.value()
        assert event.get_type() == topic
        found[event.get_id()] = event
    return found


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """With the attributes switched on, a delivery with a trace sent, a source polled, all loaded."""
    monkeypatch.setenv("SLUICE_KAFKA__CLOUDEVENTS", "true")
    with serving() as api, standing(tmp_path / "project", api.url) as site:
        offer(api, Contacts(20, lambda: 1.0))
        with site.up("loader"):
            with site.up("gateway", "poller"):
                until(lambda: delivered(site.gateway_port), SECONDS, "the gateway takes it")
                until(lambda: site.count("CRM_CONTACTS") > 0, SECONDS, "polled and loaded")
            until(lambda: site.count(ORDERS_TABLE) == 1, SECONDS, "the order that fits")
            until(lambda: site.count(DEAD_LETTERS) == 2, SECONDS, "the other two")
            until(lambda: drained(site), SECONDS, "nothing in flight")
        yield site


def test_every_record_is_a_cloud_event_to_others_and_of_its_deliverys_trace(site: Site) -> None:
    dead = f"{ORDERS}.dead"
    found = {topic: events(site, topic) for topic in (ORDERS, dead, CONTACTS)}
    assert set(found[ORDERS]) == {"d1/0", "d1/2"}
    assert len(found[dead]) == 2
    assert set(found[CONTACTS]) == {f"c{n}@{n}" for n in range(len(found[CONTACTS]))}
    sources = {event.get_source() for of in found.values() for event in of.values()}
    assert sources == {f"shop/{ORDERS}", f"shop/{dead}", f"crm/{CONTACTS}"}
    ages = {dt.datetime.now(dt.UTC) - at for of in found.values() for at in times(of)}
    assert dt.timedelta(0) < min(ages) <= max(ages) < dt.timedelta(minutes=4)

    trace = {name: value.encode() for name, value in TRACE.items()}
    for message in (*messages(site, ORDERS), *messages(site, dead)):
        assert trace.items() <= plain(message).items()
    assert not any(trace.keys() & plain(message).keys() for message in messages(site, CONTACTS))
    rows = site.rows(f"SELECT STAGE, ORIGINAL_HEADERS FROM {DEAD_LETTERS}")
    kept = {row["stage"]: str(row["original_headers"]) for row in rows}
    assert set(kept) == {"encode", "judge"}
    assert all(value in text for text in kept.values() for value in TRACE.values())
    assert "ce_id" in kept["judge"]

    books = site.audit()
    assert books.balanced, [str(finding) for finding in books.findings]


def times(events: dict[str, BaseCloudEvent]) -> list[dt.datetime]:
    found = [event.get_time() for event in events.values()]
    return [at for at in found if at is not None]
