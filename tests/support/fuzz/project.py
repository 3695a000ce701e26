"""A project folder with a source of every signature scheme, contracts, raw streams and a plug-in."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from services.demo.folder import free_ports
from tests.support.project import Site, started

BODY_SECONDS_MAX = 4.0
RATE_PER_SECOND = 4
SECRETS = {
    "sw": ("whsec_ZnV6ei1zZWNyZXQtbnVtYmVyLW9uZS1vZi1zdw==", "whsec_ZnV6ei1zZWNyZXQtdHdvLXN3"),
    "shop": ("shop-hmac-9Kd2hV7qPz", "shop-hmac-old-4Wn8xT1rLs"),
    "github": ("github-hook-Jr5tY0uBcQ",),
    "stripe": ("whsec_c3RyaXBlLWZ1enotc2VjcmV0",),
    "api": ("api-bearer-Xe6Gm3aZwH", "api-bearer-Ub1Ns7oFvK"),
    "legacy": ("partner:basic-Lp4Cq9iDyE",),
    "acme": ("acme-shared-Rv2Ot8jMgA",),
}

_SETTINGS = """
project = "fuzz"
log_level = "debug"

[kafka]
embedded = true
partitions = 2

[gateway]
port = {gateway}
body_seconds_max = {body_seconds}

[admin]
gateway_port = {gateway_admin}
poller_port = {poller_admin}
loader_port = {loader_admin}

[loader]
age_seconds_max = 2
breaker_ratio = 1

[sources.sw]
kind = "webhook"
secrets = ["file:secrets/sw-0", "file:secrets/sw-1"]
verify = {{ scheme = "standard_webhooks" }}
stream = "shop.orders"
event_id = "{{webhook-id}}"

[sources.shop]
kind = "webhook"
secrets = ["file:secrets/shop-0", "file:secrets/shop-1"]
stream = "shop.{{x-topic}}"
event_id = "{{/order_id}}"

[sources.shop.verify]
scheme = "hmac"
header = "x-signature"
prefix = "sha256="
separator = ","
timestamp_header = "x-timestamp"
id_header = "x-id"
public_url = "http://shop.test"
base = "{{timestamp}}.{{id}}.{{method}}.{{url}}.{{body}}"

[sources.github]
kind = "github"
secrets = ["file:secrets/github-0"]

[sources.stripe]
kind = "stripe"
secrets = ["file:secrets/stripe-0"]

[sources.api]
kind = "webhook"
secrets = ["file:secrets/api-0", "file:secrets/api-1"]
verify = {{ scheme = "bearer" }}
stream = "api.events"

[sources.legacy]
kind = "webhook"
secrets = ["file:secrets/legacy-0"]
verify = {{ scheme = "basic" }}
stream = "legacy.notes"
records = "/data/items"
event_id = "{{/order_id}}"
rate_per_second = {rate}

[sources.open]
kind = "webhook"
verify = {{ scheme = "none", anyone_may_send = true }}
stream = "open.events"

[sources.acme]
kind = "acme"
secrets = ["file:secrets/acme-0"]
"""

_ORDERS = """
import datetime as dt
from decimal import Decimal
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, Field, JsonValue

from schemas.contract import Contract


class Address(BaseModel):
    street: str
    number: int | None = None


class Order(BaseModel):
    order_id: str
    amount: Annotated[Decimal, Field(max_digits=12, decimal_places=2)]
    placed_at: dt.datetime
    count: int = Field(default=1, ge=0)
    ratio: float | None = None
    active: bool = True
    day: dt.date | None = None
    clock: dt.time | None = None
    ref: UUID | None = None
    colour: Literal["red", "green", "blue"] | None = None
    blob: bytes | None = None
    note: str | None = None
    tags: list[str] = []
    counts: dict[str, int] | None = None
    address: Address | None = None
    free: JsonValue = None


CONTRACT = Contract(stream="{stream}", model=Order, key=("order_id",), business_date="placed_at")
"""

_CHARGES = """
from pydantic import BaseModel

from schemas.contract import Contract


class Charge(BaseModel):
    id: str
    type: str
    amount: int | None = None
    note: str | None = None


CONTRACT = Contract(stream="stripe.charge.succeeded", model=Charge, load_raw=True)
"""

_ACME = '''
"""A provider's plug-in that was written for good weather."""

from producers.webhook import Answer, Handshake, WebhookPreset


def _answer(delivery, secrets):
    if delivery.method == "GET":
        if "challenge=" not in delivery.url:
            raise ValueError(f"no challenge in {delivery.url} {dict(delivery.headers)} {secrets}")
        return Answer(body=b"yes")
    return None


def _stream(headers, record):
    if record["kind"] == "broken":
        raise ValueError(f"cannot place {record} of {dict(headers)}")
    return "acme." + record["kind"]


SOURCE = WebhookPreset(
    name="acme",
    description="Acme.",
    verify={"scheme": "bearer", "header": "x-acme-token", "prefix": ""},
    event_id=lambda headers, record: record["order_id"],
    stream=_stream,
    handshake=Handshake(_answer, frozenset({"GET", "POST"})),
)
'''


@contextmanager
def fuzzable(root: Path) -> Iterator[Site]:
    """The project in ``root``, its broker and warehouse running."""
    names = ("gateway", "gateway_admin", "poller_admin", "loader_admin")
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    text = _SETTINGS.format(**ports, body_seconds=BODY_SECONDS_MAX, rate=RATE_PER_SECOND)
    files = {
        "sluice.toml": text,
        "contracts/shop_orders.py": _ORDERS.replace("{stream}", "shop.orders"),
        "contracts/github_push.py": _ORDERS.replace("{stream}", "github.push"),
        "contracts/acme_order.py": _ORDERS.replace("{stream}", "acme.order"),
        "contracts/charges.py": _CHARGES,
        "sources/acme.py": _ACME,
    }
    for name, secrets in SECRETS.items():
        files |= {f"secrets/{name}-{number}": text for number, text in enumerate(secrets)}
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    with started(root, ports["gateway"]) as site:
        yield site
