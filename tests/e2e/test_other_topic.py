"""A topic is deleted and made again under a running loader, faster than its group notices."""

import time
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

from schemas.errors import SetupError
from schemas.events import Partition
from services.admin_ports import asked
from services.cli.up import Member
from tests.support.orders import ORDERS_TABLE, loaded, produce
from tests.support.project import ORDERS, Site, standing, until

pytestmark = [pytest.mark.enable_socket, pytest.mark.embedded, pytest.mark.timeout(240)]


def made_again(admin: AdminClient) -> None:
    admin.delete_topics([ORDERS])[ORDERS].result()
    for _ in range(100):
        try:
            admin.create_topics([NewTopic(ORDERS, 1, 1)])[ORDERS].result()
        except KafkaException:  # it is still being deleted
            time.sleep(0.05)
        else:
            return
    pytest.fail("not made again")


def produced(site: Site, count: int) -> bool:
    """Whether the topic takes events; its brokers hear of it one after the other."""
    try:
        produce(site, count)
    except SetupError:
        return False
    return True


def answers(loader: Member) -> None:
    """The loader says that it is ready, and how far each partition that it holds is."""
    until(lambda: told_by(loader, "/ready")["ok"], 10, "ready")
    advances = told_by(loader, "/progress")["advances"]
    assert set(advances) == {f"{ORDERS}/0", f"{ORDERS}.dead/0"}
    assert advances[f"{ORDERS}/0"]["detail"]["next_offset"] == 20
    assert advances[f"{ORDERS}/0"]["age_seconds"] < 30
    assert advances[f"{ORDERS}.dead/0"]["at"] is None


def waits(loader: Member, why: str) -> None:
    """It says which partition waits and why; the other is as ready as before."""
    until(lambda: not told_by(loader, "/ready")["ok"], 10, "not ready")
    told = told_by(loader, "/ready")
    assert [name for name, check in told["checks"].items() if not check["ok"]] == [f"{ORDERS}/0"]
    assert why in told["checks"][f"{ORDERS}/0"]["what"]
    assert any(why in reason for reason in told["reasons"])


def told_by(loader: Member, path: str) -> dict[str, Any]:
    told = asked(loader.admin + path)
    assert told is not None
    return told


def test_offsets_of_the_new_topic_are_not_taken_for_those_of_the_old_one(tmp_path: Path) -> None:
    with standing(tmp_path / "project", api=None, partitions=1) as site:
        with site.up("loader") as members:
            loaded(site, produce(site, 20), 20)
            answers(members["loader"])
            (row,) = site.rows("SELECT TOPIC_ID, FILE_SHA256 FROM SLUICE_LEDGER")
            assert len(row["topic_id"]) == 22
            assert len(row["file_sha256"]) == 64
            admin = AdminClient(
                {"bootstrap.servers": site.project.kafka_options["bootstrap.servers"]}
            )
            made_again(admin)
            until(
                lambda: produced(site, 60), 20, "a producer knows it"
            )  # the loader stands at 20, in the middle of them
            told = "the topic was deleted and made again"
            until(lambda: told in site.log_of("loader"), 30, "the setup error")
            waits(members["loader"], told)
        assert row["topic_id"] in site.log_of("loader")
        with site.up("loader"):  # another one does not go on either
            before = site.log_of("loader").count(told)
            until(lambda: site.log_of("loader").count(told) > before, 30, "the setup error")
        assert site.count(ORDERS_TABLE) == 20
        assert site.positions()[ORDERS, 0] == 20
        books = site.audit()
        assert not books.balanced
        (again,) = [each for each in books.findings if "made again" in each.what]
        assert (again.partition, again.first, again.after) == (Partition(ORDERS, 0), 0, 20)
        assert f"loaded from {row['topic_id']}, now " in again.what
        assert books.totals.loaded == 20
