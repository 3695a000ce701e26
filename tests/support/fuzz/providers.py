"""Who sends: each source's way to prove a delivery, and all the ways to fail at it."""

import hashlib
import hmac
import re
from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from tests.support.fuzz.bodies import GOOD
from tests.support.fuzz.project import SECRETS

TOLERANCE_SECONDS = 300
UNPROVED = frozenset({401})

Lines = list[tuple[str, str]]
_PROOF = re.compile(r"[A-Za-z0-9+/_-]{16,}")


@dataclass(frozen=True)
class Signing:
    """What a signature may be made of."""

    secret: str
    time: str
    target: str
    id: str
    body: bytes


@dataclass(frozen=True)
class Provider:
    """A source, from outside. ``sign`` gives the headers that prove, the proof itself last."""

    name: str
    sign: Callable[[Signing], Lines]
    timed: bool = False
    proves_body: bool = True
    records: bool = False  # events stand at /data/items
    rated: bool = False
    several: str = ""  # between several signatures, where there may be some

    @property
    def secrets(self) -> tuple[str, ...]:
        return SECRETS.get(self.name, ())


@dataclass(frozen=True)
class Proof:
    """The headers of a delivery that have to do with its proof."""

    lines: Lines
    statuses: frozenset[int] = GOOD
    forged: bool = False  # it must not be taken
    hidden: tuple[str, ...] = ()  # must not be told to anybody


def _mac(key: bytes, text: bytes) -> bytes:
    return hmac.new(key, text, hashlib.sha256).digest()


def _standard(made: Signing) -> Lines:
    text = f"{made.id}.{made.time}.".encode() + made.body
    signature = b64encode(_mac(b64decode(made.secret.removeprefix("whsec_")), text)).decode()
    return [
        ("webhook-id", made.id),
        ("webhook-timestamp", made.time),
        ("webhook-signature", f"v1,{signature}"),
    ]


def _hmac(made: Signing) -> Lines:
    text = f"{made.time}.{made.id}.POST.http://shop.test{made.target}.".encode() + made.body
    signature = _mac(made.secret.encode(), text).hex()
    return [
        ("x-topic", "orders"),
        ("x-timestamp", made.time),
        ("x-id", made.id),
        ("x-signature", f"sha256={signature}"),
    ]


def _github(made: Signing) -> Lines:
    signature = _mac(made.secret.encode(), made.body).hex()
    return [
        ("x-github-event", "push"),
        ("x-github-delivery", made.id),
        ("x-hub-signature-256", f"sha256={signature}"),
    ]


def _stripe(made: Signing) -> Lines:
    signature = _mac(made.secret.encode(), f"{made.time}.".encode() + made.body).hex()
    return [("stripe-signature", f"t={made.time},v1={signature}")]


def _bearer(made: Signing) -> Lines:
    return [("authorization", f"Bearer {made.secret}")]


def _basic(made: Signing) -> Lines:
    return [("authorization", f"Basic {b64encode(made.secret.encode()).decode()}")]


def _acme(made: Signing) -> Lines:
    return [("x-acme-token", made.secret)]


def _nothing(_made: Signing) -> Lines:
    return []


PROVIDERS = (
    Provider("sw", _standard, timed=True, several=" "),
    Provider("shop", _hmac, timed=True, several=","),
    Provider("github", _github),
    Provider("stripe", _stripe, timed=True),
    Provider("api", _bearer, proves_body=False),
    Provider("legacy", _basic, proves_body=False, records=True, rated=True),
    Provider("acme", _acme, proves_body=False),
    Provider("open", _nothing, proves_body=False),
)


@dataclass(frozen=True)
class Prover:
    """One delivery to be proved, by draws."""

    provider: Provider
    draw: Random
    made: Signing  # with the first secret, now
    mark: str

    def good(self) -> Proof:
        """With any of the live secrets."""
        secret = self.draw.choice(self.provider.secrets or ("",))
        return _proof(self.provider.sign(_with(self.made, secret=secret)))

    def drawn(self) -> Proof:
        """In some way wrong, where anything has to be right."""
        if not self.provider.secrets:
            return self.good()
        return self.draw.choice(
            [
                *(self._wrong_secret, self._missing, self._untimely, self._odd_time),
                *(self._of_another_body, self._several, self._odd_proof, self._odd_proof),
            ]
        )()

    def _wrong_secret(self) -> Proof:
        """Of the right form, as long as it need be."""
        wrong = {
            "sw": "whsec_" + b64encode(self.mark.encode()).decode(),
            "legacy": f"partner:{self.mark}",
        }.get(self.provider.name, f"wrong-{self.mark}")
        return _forged(self.provider.sign(_with(self.made, secret=wrong)))

    def _missing(self) -> Proof:
        return _forged(self.good().lines[:-1])

    def _untimely(self) -> Proof:
        """Signed too long ago, or too far ahead; as long as the clocks of a test may differ."""
        if not self.provider.timed:
            return self._wrong_secret()
        off = TOLERANCE_SECONDS + self.draw.choice([60, 3_600, 10**9])
        seconds = int(self.made.time) + self.draw.choice([-off, off])
        return _forged(self.provider.sign(_with(self.made, time=str(seconds))))

    def _odd_time(self) -> Proof:
        if not self.provider.timed:
            return self._wrong_secret()
        odd = [
            "",
            " ",
            "-1",
            "0",
            "1e9",
            "1.5",
            "nan",
            "9" * 16,
            "9" * 17,
            "9" * 5_000,
            "0x1",
            "now",
        ]
        return _forged(self.provider.sign(_with(self.made, time=self.draw.choice(odd))))

    def _of_another_body(self) -> Proof:
        if not self.provider.proves_body:
            return self._missing()
        other = self.draw.choice([b"", self.made.body + b" ", self.made.body[1:] + b"{"])
        if other == self.made.body:
            other += b"\n"
        return _forged(self.provider.sign(_with(self.made, body=other)))

    def _several(self) -> Proof:
        """Wrong signatures around the right one: taken, unless there are too many of them."""
        if not self.provider.several:
            return self._odd_proof()
        *lines, (name, right) = self.good().lines
        *_, (_, wrong) = self._wrong_secret().lines
        before = self.draw.choice([1, 3, 40])
        text = self.provider.several.join([*[wrong] * before, right, wrong])
        taken = before < 20
        return Proof([*lines, (name, text)], GOOD if taken else UNPROVED, not taken, (right, wrong))

    def _odd_proof(self) -> Proof:
        *lines, (name, right) = self.good().lines
        cut, mark = self.draw.randrange(len(right)), self.mark
        odd = [
            *("", " ", ",", "v1", "v1,", "sha256=", "t=,v1=", "t=1,t=2,v1=,v1=", "Bearer", "Basic"),
            *("Basic !!!", "Basic ====", "Bearer " + mark, f"v1,{mark}", f"sha256={mark}", mark),
            *("Basic " + b64encode(mark.encode()).decode(), "\u00e4\u00ff", "," * 3_000),
            *(right[:cut], right[:cut] + "\u00e4" + right[cut:], right + "x", "x" + right),
            right.swapcase(),
        ]
        proof = _forged([*lines, (name, self.draw.choice(odd))])
        return Proof(proof.lines, proof.statuses, proof.forged, (right, *proof.hidden))


def _with(made: Signing, **changed: object) -> Signing:
    return Signing(**{**made.__dict__, **changed})


def _proof(lines: Lines) -> Proof:
    return Proof(lines, hidden=_hidden(lines))


def _forged(lines: Lines) -> Proof:
    return Proof(lines, UNPROVED, forged=True, hidden=_hidden(lines))


def _hidden(lines: Lines) -> tuple[str, ...]:
    """The proof without what stands around it."""
    return tuple(_PROOF.findall(lines[-1][1])) if lines else ()
