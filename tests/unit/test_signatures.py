"""Signature schemes against official signers, recorded vectors, and each other's mistakes."""

import hashlib
import hmac
import json
from base64 import b64encode
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import stripe
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook

from producers.refusal import Refusal, RefusalReason
from producers.signatures import find_schemes
from producers.signing import Verify, any_same, same
from schemas.errors import SetupError
from schemas.events import Delivery
from tests.support.http import NOW, signature

SCHEMES = find_schemes()
VECTORS = json.loads(
    (Path(__file__).parent.parent / "vectors" / "webhook_signatures.json").read_text()
)
BODY = '{"id":"evt_1","name":"Zoë ☃"}'.encode()
WHSEC = "whsec_" + b64encode(b"k" * 24).decode()
STAMP = NOW // 1_000_000

PRESETS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "standardwebhooks": ("standard_webhooks", {}),
    "svix": ("standard_webhooks", {}),
    "stripe": ("stripe", {}),
    "github": ("github", {}),
    "linear": ("hmac", {"header": "Linear-Signature"}),
    "shopify": ("hmac", {"header": "X-Shopify-Hmac-Sha256", "encoding": "base64"}),
    "slack": (
        "hmac",
        {
            "header": "X-Slack-Signature",
            "prefix": "v0=",
            "base": "v0:{timestamp}:{body}",
            "timestamp_header": "X-Slack-Request-Timestamp",
        },
    ),
    "hubspot-v3": (
        "hmac",
        {
            "header": "X-HubSpot-Signature-v3",
            "encoding": "base64",
            "base": "{method}{url}{body}{timestamp}",
            "timestamp_header": "X-HubSpot-Request-Timestamp",
            "timestamp_unit": "ms",
            "public_url": "https://h.example",
        },
    ),
}


def verify_with(name: str, *secrets: str, **options: Any) -> Verify:
    scheme = SCHEMES[name]
    return scheme.prepare(scheme.options.model_validate(options), secrets)


def sent(body: bytes, headers: Mapping[str, str], at: int = STAMP, **more: Any) -> Delivery:
    lower = {name.lower(): value for name, value in headers.items()}
    return Delivery("shop", lower, body, body, at * 1_000_000, **more)


def reason(verdict: Refusal | None) -> RefusalReason | None:
    assert verdict is None or verdict.status == 401
    return None if verdict is None else verdict.reason


@pytest.mark.parametrize("row", VECTORS, ids=[row["p"] for row in VECTORS])
def test_recorded_signatures_of_official_libraries_are_accepted(row: dict[str, Any]) -> None:
    name, options = PRESETS[row["p"]]
    verify = verify_with(name, row["secret"], **options)
    url = "/" + row.get("url", "").partition("://")[2].partition("/")[2]
    good = sent(row["body"].encode(), row["headers"], url=url)
    assert verify(good) is None
    other = sent(row["body"].encode() + b" ", row["headers"], url=url)
    assert reason(verify(other)) is RefusalReason.BAD_SIGNATURE
    assert reason(verify(sent(good.body, {}))) is RefusalReason.NO_SIGNATURE


def test_every_vector_is_tried() -> None:
    assert {row["p"] for row in VECTORS} == set(PRESETS)


def standard_headers(body: bytes, secret: str = WHSEC, at: int = STAMP) -> dict[str, str]:
    moment = datetime.fromtimestamp(at, UTC)
    signed = Webhook(secret).sign("msg_1", moment, body.decode())
    return {"webhook-id": "msg_1", "webhook-timestamp": str(at), "webhook-signature": signed}


def stripe_headers(body: bytes, secret: str = WHSEC, at: int = STAMP) -> dict[str, str]:
    header = stripe.WebhookSignature.generate_signature_header(body.decode(), secret, at)
    return {"stripe-signature": header}


def test_what_standardwebhooks_signs_is_accepted_and_only_that() -> None:
    verify = verify_with("standard_webhooks", WHSEC)
    headers = standard_headers(BODY)
    assert verify(sent(BODY, headers)) is None
    assert reason(verify(sent(BODY + b"x", headers))) is RefusalReason.BAD_SIGNATURE
    other_id = headers | {"webhook-id": "msg_2"}
    assert reason(verify(sent(BODY, other_id))) is RefusalReason.BAD_SIGNATURE
    for missing in headers:
        rest = {name: value for name, value in headers.items() if name != missing}
        assert reason(verify(sent(BODY, rest))) is RefusalReason.NO_SIGNATURE


def test_standard_webhooks_takes_any_of_several_signatures() -> None:
    verify = verify_with("standard_webhooks", WHSEC)
    headers = standard_headers(BODY)
    signed = headers["webhook-signature"]
    several = headers | {"webhook-signature": f"v1a,AAAA v1,{'A' * 43}= {signed}"}
    assert verify(sent(BODY, several)) is None
    without_version = headers | {"webhook-signature": signed.removeprefix("v1,")}
    assert reason(verify(sent(BODY, without_version))) is RefusalReason.BAD_SIGNATURE


def test_what_stripe_signs_is_accepted_and_only_that() -> None:
    verify = verify_with("stripe", WHSEC)
    headers = stripe_headers(BODY)
    assert verify(sent(BODY, headers)) is None
    assert reason(verify(sent(BODY + b" ", headers))) is RefusalReason.BAD_SIGNATURE
    moved = {"stripe-signature": headers["stripe-signature"].replace(str(STAMP), str(STAMP + 1))}
    assert reason(verify(sent(BODY, moved))) is RefusalReason.BAD_SIGNATURE
    timeless = {"stripe-signature": headers["stripe-signature"].partition(",")[2]}
    assert reason(verify(sent(BODY, timeless))) is RefusalReason.NO_SIGNATURE


@pytest.mark.parametrize(
    ("name", "headers"),
    [
        ("standard_webhooks", standard_headers(BODY)),
        ("stripe", stripe_headers(BODY)),
    ],
)
def test_a_signature_expires_after_the_tolerance_both_ways(
    name: str, headers: dict[str, str]
) -> None:
    verify = verify_with(name, WHSEC)
    for distance in (-300, 0, 300):
        assert verify(sent(BODY, headers, STAMP + distance)) is None
    for distance in (-301, 301, 10**9):
        late = verify(sent(BODY, headers, STAMP + distance))
        assert reason(late) is RefusalReason.EXPIRED
    strict = verify_with(name, WHSEC, tolerance_seconds=10)
    assert reason(strict(sent(BODY, headers, STAMP + 11))) is RefusalReason.EXPIRED


@pytest.mark.parametrize(
    ("name", "options", "old", "new", "headers"),
    [
        (
            "standard_webhooks",
            {},
            WHSEC,
            "whsec_" + b64encode(b"n" * 24).decode(),
            lambda secret: standard_headers(BODY, secret),
        ),
        ("stripe", {}, "old", "new", lambda secret: stripe_headers(BODY, secret)),
        (
            "github",
            {},
            "old",
            "new",
            lambda secret: {"x-hub-signature-256": "sha256=" + signature(BODY, secret)},
        ),
        (
            "hmac",
            {"header": "X-Sig"},
            "old",
            "new",
            lambda secret: {"x-sig": signature(BODY, secret)},
        ),
        ("bearer", {}, "old", "new", lambda secret: {"authorization": f"bearer {secret}"}),
        (
            "basic",
            {},
            "u:old",
            "u:new",
            lambda secret: {"authorization": "Basic " + b64encode(secret.encode()).decode()},
        ),
    ],
)
def test_rotation_refuses_nobody(
    name: str, options: dict[str, Any], old: str, new: str, headers: Any
) -> None:
    """Old only, then both, then new only: senders that change in between are never refused."""
    before, during, after = (
        verify_with(name, *secrets, **options) for secrets in ((old,), (old, new), (new,))
    )
    old_sent, new_sent = sent(BODY, headers(old)), sent(BODY, headers(new))
    assert before(old_sent) is None
    assert during(old_sent) is None
    assert during(new_sent) is None
    assert after(new_sent) is None
    assert reason(before(new_sent)) is RefusalReason.BAD_SIGNATURE
    assert reason(after(old_sent)) is RefusalReason.BAD_SIGNATURE


def test_github_wants_its_prefix() -> None:
    verify = verify_with("github", "s")
    bare = {"x-hub-signature-256": signature(BODY, "s")}
    assert reason(verify(sent(BODY, bare))) is RefusalReason.BAD_SIGNATURE


@pytest.mark.parametrize(
    ("options", "base"),
    [
        ({"digest": "sha1"}, b"%(body)s"),
        ({"digest": "sha512", "encoding": "base64"}, b"%(body)s"),
        (
            {
                "base": "{id}.{timestamp}.{body}",
                "id_header": "X-Id",
                "timestamp_header": "X-Time",
                "secret_encoding": "hex",
            },
            b"id-1.1795409148.%(body)s",
        ),
        ({"separator": ",", "prefix": "v1="}, b"%(body)s"),
    ],
)
def test_generic_hmac_does_what_its_options_say(options: dict[str, Any], base: bytes) -> None:
    key = b"\x01\xff" if options.get("secret_encoding") == "hex" else b"key"
    secret = key.hex() if options.get("secret_encoding") == "hex" else "key"
    algorithm = getattr(hashlib, options.get("digest", "sha256"))
    raw = hmac.new(key, base.replace(b"%(body)s", BODY), algorithm).digest()
    text = b64encode(raw).decode() if options.get("encoding") == "base64" else raw.hex()
    headers = {"x-sig": options.get("prefix", "") + text, "x-id": "id-1", "x-time": str(STAMP)}
    if "separator" in options:
        headers["x-sig"] = "v1=00, " + headers["x-sig"]
    verify = verify_with("hmac", secret, header="X-Sig", **options)
    assert verify(sent(BODY, headers)) is None
    assert reason(verify(sent(BODY + b"1", headers))) is RefusalReason.BAD_SIGNATURE
    if "timestamp_header" in options:
        assert reason(verify(sent(BODY, headers, STAMP + 301))) is RefusalReason.EXPIRED


@pytest.mark.parametrize(
    ("text", "known"),
    [("2026-11-23T04:45:48Z", True), ("2026-11-23T04:45:48", False), ("soon", False)],
)
def test_iso_times_need_a_zone(text: str, *, known: bool) -> None:
    options = {
        "header": "x-sig",
        "base": "{timestamp}{body}",
        "timestamp_header": "x-time",
        "timestamp_unit": "iso",
    }
    verify = verify_with("hmac", "key", **options)
    headers = {"x-sig": signature(text.encode() + BODY, "key"), "x-time": text}
    assert (verify(sent(BODY, headers)) is None) is known


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({}, "header"),
        ({"header": "x", "base": "{timestamp}.{body}"}, "timestamp_header"),
        ({"header": "x", "base": "{id}.{body}"}, "id_header"),
        ({"header": "x", "base": "{url}{body}"}, "public_url"),
        ({"header": "x", "base": "{timestamp}", "timestamp_header": "t"}, "base"),
        ({"header": "x", "base": "{nonsense}{body}"}, "base"),
        ({"header": "x", "timestamp_header": "t"}, "timestamp_header"),
        ({"header": "x", "digest": "md5"}, "digest"),
        ({"header": "x", "surprise": 1}, "surprise"),
    ],
)
def test_options_that_prove_nothing_are_errors(options: dict[str, Any], field: str) -> None:
    with pytest.raises(ValueError, match=field):
        SCHEMES["hmac"].options.model_validate(options)


@pytest.mark.parametrize("anyone_may_send", [None, False])
def test_none_needs_the_explicit_wish(*, anyone_may_send: bool | None) -> None:
    given_ = {} if anyone_may_send is None else {"anyone_may_send": anyone_may_send}
    with pytest.raises(ValueError, match="anyone_may_send"):
        SCHEMES["none"].options.model_validate(given_)
    assert verify_with("none", anyone_may_send=True)(sent(b"", {})) is None


def test_bearer_takes_another_header_without_a_prefix() -> None:
    verify = verify_with("bearer", "tok", header="X-Gitlab-Token", prefix="")
    assert verify(sent(BODY, {"x-gitlab-token": "tok"})) is None
    assert reason(verify(sent(BODY, {"x-gitlab-token": "tot"}))) is RefusalReason.BAD_SIGNATURE
    assert reason(verify(sent(BODY, {"authorization": "tok"}))) is RefusalReason.NO_SIGNATURE


@pytest.mark.parametrize(
    ("name", "secret"),
    [("standard_webhooks", "whsec_!!"), ("basic", "no-colon")],
)
def test_a_secret_of_the_wrong_form_stops_the_start_unseen(name: str, secret: str) -> None:
    with pytest.raises(SetupError) as caught:
        verify_with(name, secret)
    assert secret.removeprefix("whsec_") not in str(caught.value)
    with pytest.raises(SetupError, match="hex"):
        verify_with("hmac", "xyz", header="x", secret_encoding="hex")
    with pytest.raises(SetupError, match="base64"):
        verify_with("hmac", "!", header="x", secret_encoding="base64")


def test_comparison_looks_at_every_pair() -> None:
    assert same(b"a", b"a")
    assert not same(b"a", b"ab")
    assert any_same((b"x", b"y"), (b"q", b"y"))
    assert not any_same((b"x",), ())


NAMES = st.sampled_from(
    [
        *("webhook-id", "webhook-timestamp", "webhook-signature", "svix-id", "svix-timestamp"),
        *("svix-signature", "stripe-signature", "x-hub-signature-256", "authorization"),
        *("x-sig", "x-time", "x-id"),
    ]
)
TEXTS = st.one_of(
    st.text(),
    st.binary().map(lambda raw: raw.decode("latin-1")),
    st.sampled_from([str(STAMP), "v1,", "v1,=", "t=1,v1=", f"t={STAMP},v1=ab", "sha256="]),
    st.sampled_from(["Basic ====", "Basic ü", "Bearer", "bearer ", "t=,t=,,=", "9" * 5000, "²"]),
)
ALL = [
    verify_with("standard_webhooks", WHSEC),
    verify_with("stripe", "s"),
    verify_with("github", "s"),
    verify_with("bearer", "s"),
    verify_with("basic", "u:s"),
    *(
        verify_with(
            "hmac",
            "s",
            header="x-sig",
            separator=separator,
            base="{id}.{timestamp}.{body}",
            id_header="x-id",
            timestamp_header="x-time",
            timestamp_unit=unit,
        )
        for unit, separator in (("s", ""), ("ms", ","), ("iso", " "))
    ),
]


@given(st.dictionaries(NAMES, TEXTS), st.binary(max_size=50))
def test_a_bad_signature_is_refused_and_never_raises(headers: dict[str, str], body: bytes) -> None:
    for verify in ALL:
        verdict = verify(Delivery("shop", headers, body, body, NOW))
        assert verdict is not None
        assert verdict.status == 401
        assert "s3cret" not in verdict.detail


@given(st.binary(max_size=200), st.integers(0, 199), st.integers(0, 7))
def test_one_changed_bit_is_noticed(body: bytes, place: int, bit: int) -> None:
    headers = {"x-hub-signature-256": "sha256=" + signature(body, "s")}
    verify = verify_with("github", "s")
    assert verify(sent(body, headers)) is None
    if place < len(body):
        changed = bytearray(body)
        changed[place] ^= 1 << bit
        assert verify(sent(bytes(changed), headers)) is not None


def test_every_file_declares_one_scheme_of_its_own_name(tmp_path: Path) -> None:
    assert set(SCHEMES) == {
        *("standard_webhooks", "github", "stripe", "hmac", "bearer", "basic", "none"),
    }
    own = tmp_path / "acme.py"
    own.write_text(
        "from producers.signing import Options, Scheme\n"
        "SCHEME = Scheme('acme', Options, lambda options, secrets: lambda delivery: None)\n"
    )
    assert find_schemes(tmp_path)["acme"].name == "acme"
    own.write_text("")
    with pytest.raises(SetupError, match=r"acme\.py: declares no SCHEME"):
        find_schemes(tmp_path)
    own.write_text(
        "from producers.signing import Options, Scheme\n"
        "SCHEME = Scheme('other', Options, lambda options, secrets: lambda delivery: None)\n"
    )
    with pytest.raises(SetupError, match="'other'"):
        find_schemes(tmp_path)
    own.write_text("import nothing_of_this_name\n")
    with pytest.raises(SetupError, match="nothing_of_this_name"):
        find_schemes(tmp_path)
    (tmp_path / "acme.py").rename(tmp_path / "_acme.py")
    assert "acme" not in find_schemes(tmp_path)
