"""One event on an idle system, from the webhook call to the row that a query sees."""

import hashlib
import hmac
import json
import random
import socket
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np

from services.bootstrap import open_project
from services.cli.applying import apply_project
from services.cli.up import running

EVENTS = 150
SECRET = "benchmark"  # noqa: S105 - of nothing
LOOK_SECONDS = 0.02
SETTINGS = """
[loader]
age_seconds_max = 1
[gateway]
port = {0}
[admin]
gateway_port = {1}
poller_port = {2}
loader_port = {3}
[sources.shop]
kind = "webhook"
secrets = ["file:secret"]
verify = {{ scheme = "hmac", header = "x-signature" }}
stream = "shop.orders"
"""
CONTRACT = """
import datetime as dt
from pydantic import BaseModel, Field
from schemas.contract import Contract

class Order(BaseModel):
    order_id: str = Field(min_length=1)
    amount: float = Field(ge=0, le=100_000)
    quantity: int = Field(ge=1)
    placed_at: dt.datetime

CONTRACT = Contract(stream="shop.orders", model=Order, key=("order_id",), business_date="placed_at")
"""
ORDER = {"amount": 12.5, "quantity": 3, "placed_at": "2026-11-23T04:45:48.796Z"}


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for each in sockets:
        each.close()
    return ports


def run(events: int = EVENTS) -> dict[str, Any]:
    """{name: {value, unit, target, met, ...}}"""
    ports = free_ports(4)
    draw = random.Random(7)  # noqa: S311 - seeded waits
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "sluice.toml").write_text(SETTINGS.format(*ports))
        (root / "secret").write_text(SECRET)
        (root / "contracts").mkdir()
        (root / "contracts" / "orders.py").write_text(CONTRACT)
        with open_project(root) as project:
            apply_project(project)
            with running(project):
                warehouse = project.warehouse()
                url = f"http://127.0.0.1:{ports[0]}/v1/in/shop"
                waits = []
                for number in range(events + 3):
                    time.sleep(draw.uniform(0.0, 1.0))
                    began = time.monotonic()
                    _send(url, {**ORDER, "order_id": f"e{number}"})
                    sql = f"SELECT COUNT(*) AS N FROM SHOP_ORDERS WHERE _ID = 'e{number}'"
                    while not int(warehouse.rows(sql)[0]["n"]):
                        time.sleep(LOOK_SECONDS)
                    waits.append(time.monotonic() - began)
                warehouse.close()
    p50, p99 = np.quantile(waits[3:], [0.5, 0.99])
    return {
        "one event, webhook to row, p99": {
            "value": round(float(p99), 3),
            "unit": "seconds",
            "baseline": None,
            "ratio": None,
            "target": 2.0,
            "met": bool(p99 <= 2.0),
            "p50": round(float(p50), 3),
            "events": events,
        }
    }


def _send(url: str, body: dict[str, Any]) -> None:
    raw = json.dumps(body).encode()
    signature = hmac.new(SECRET.encode(), raw, hashlib.sha256).hexdigest()
    headers = {"content-type": "application/json", "x-signature": signature}
    request = urllib.request.Request(url, raw, headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.status == 200


if __name__ == "__main__":
    print(json.dumps(run(), indent=1))
