"""What must never be shown is masked: secrets by their text, by their name and by their shape."""

import base64
import math
import re
from collections.abc import Iterable, Mapping
from html.entities import codepoint2name
from threading import RLock
from typing import Any

from schemas.errors import SluiceError

MASK = "***"
TEXT_MAX = 8_000  # characters of one value that are kept
SCAN_MAX = 64_000  # characters that are looked at; the rest is cut off before
_TAIL = 4_000  # at the end of what was cut, where there may be half a secret
ITEMS_MAX = 200  # entries of one collection that are kept
DEPTH_MAX = 12
SECRETS_MAX = 500  # that are masked; a token of a command every 30 seconds is 4 hours of them
LINE_CHARS_MAX = 400  # of one reason among others
_WORD_MAX = 3  # a secret this short is hidden only where it stands alone
_FRAGMENT_MIN = 4  # shorter pieces of an encoded secret hide too much else
_LINE_MIN = 8  # shorter lines of a longer secret hide too much else
_BACKSLASH = r"(?:\\|%(?:25){0,4}5c)"  # as it is, or in a URL, in any case of letters
_AMPERSAND, _SEMICOLON = r"(?:&|%(?:25){0,4}26)", r"(?:;|%(?:25){0,4}3b)"  # of HTML, likewise
_BACKSLASHES = 32  # before one character: escaped five times
_NOTHING = r"(?!)"
_SHORT = {"\n": "n", "\r": "r", "\t": "t", "\b": "b", "\f": "f", "\v": "v", "\a": "a", "\0": "0"}

_SPACE = re.compile(r"\s")
_NAME_PARTS = (
    *("password", "passwd", "passphrase", "secret", "token", "credential", "cookie"),
    *("authorization", "apikey", "privatekey", "accesskey", "signature", "hmac", "bearer", "jwt"),
)
_NAME_WORDS = frozenset({"auth", "pass", "pwd", "sig", "dsn"})
_NAME = (
    r"(?:password|passwd|passphrase|secret|token|credential|signature|api[ _-]?key"
    r"|private[ _-]?key|access[ _-]?key|\bpwd|\bsig|hmac)"
)
_QUOTED = (
    r"""\\{1,8}"[^\r\n]*?\\{1,8}"|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'"""
    r"""|\\{0,8}["'][^\r\n]*"""  # a quote that never ends, such as in a text that was cut
)
_OPENERS = (  # words that begin our own sentences; a value that is one of them tells nothing
    r"(?:a|an|the|this|no|not|is|in|or|and|it|one|cannot|must|needs|use|see|missing|scheme|environment"
    r"|Input|String|Field|Value|Extra|unknown)"
)
_OURS = (  # what stands behind a secret's name in our own texts, and is no secret
    r"(?-i:"
    rf"(?i:{_NAME}[\w.-]{{0,40}})(?::|,)[ ]{_OPENERS}[ ][A-Za-z]"  # NAME: a sentence
    rf"|(?i:{_NAME}[\w.-]{{0,40}})=\.\.\.(?:\s|\Z)"  # export NAME=...
    rf"|(?i:{_NAME}[\w.-]{{0,40}})[ ]=[ ]\[\"env:[A-Z_]+\"\]"  # an example that names a variable
    r"|(?<![\w-])hmac,[ ][a-z]+(?:_[a-z]+)*(?:,|\s|\Z)"  # a list of schemes
    rf"|(?i:{_NAME})s?',[ ]'oauth2_(?:client_credentials|refresh_token)'"
    r")"
)

_SHAPES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, flags), mask)
    for pattern, flags, mask in (
        (
            r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----.*?(?:-----END [A-Z ]{0,30}KEY-----|\Z)",
            re.DOTALL,
            MASK,
        ),
        # URL credentials, then the same without a scheme
        (r"([a-z][a-z0-9+.-]{0,20}://)[^/\s?#\"'<>]{1,500}@", re.IGNORECASE, rf"\1{MASK}@"),
        (r"(?<![\w.+-])[\w.+-]{1,64}:[^\s/@:\"']{3,200}@(?=[\w-])", 0, f"{MASK}@"),
        # headers: everything up to the end of the line
        (
            r"((?:authorization|cookie)[\"']?[ \t]{0,5}[:=,][ \t]{0,5})[^\r\n]+",
            re.IGNORECASE,
            rf"\1{MASK}",
        ),
        (r"\b(bearer)\s+(?!(?-i:needs a ))[\w.~+/=:-]{4,}", re.IGNORECASE, rf"\1 {MASK}"),
        (
            r"\b(basic|digest|token|apikey)\s+(?=\S{0,200}[0-9=+/])[\w.~+/=:-]{6,}",
            re.IGNORECASE,
            rf"\1 {MASK}",
        ),
        # name = value, "name": "value", ?name=value
        (
            (
                rf"(?={_NAME})(?!{_OURS})({_NAME}[\w.-]{{0,40}}\\{{0,8}}[\"']?"
                rf"\s{{0,5}}(?:=>|[:=]|,\s)\s{{0,5}}\[?b?)"
                rf"(?:{_QUOTED}|[^\s,;&\"'}}\])]+)"
            ),
            re.IGNORECASE,
            rf"\1{MASK}",
        ),
        # what gives itself away
        (r"\beyJ[\w-]{8,}\.[\w-]{2,}(?:\.[\w-]*)?", 0, MASK),
        (
            r"\b(?:whsec_|gh[pousr]_|github_pat_|glpat-|shp\w\w_|ya29\.|xox[a-z]-)[\w./+=-]+",
            0,
            MASK,
        ),
        (r"\b[srp]k_(?:live|test)_\w+|\bSG\.[\w-]{10,}\.[\w-]+|\bAIza[\w-]{30,}", 0, MASK),
        (r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b", 0, MASK),
    )
)


def looks_secret(name: str) -> bool:
    """Whether a field or header of this name is never shown."""
    compact = re.sub(r"[^a-z0-9]", "", name.lower())
    if any(part in compact for part in _NAME_PARTS):
        return True
    return not _NAME_WORDS.isdisjoint(re.split(r"[^a-z0-9]+", name.lower()))


def _any_of(patterns: Mapping[str, str]) -> re.Pattern[str]:
    """The longest texts first, as one may begin another."""
    longest_first = sorted(patterns, key=len, reverse=True)
    return re.compile("|".join(patterns[text] for text in longest_first) or _NOTHING)


def _patterns(secret: str) -> dict[str, str]:
    """The texts that show a secret, and the pattern of each one's spellings."""
    stripped = secret.strip()
    if len(stripped) <= _WORD_MAX:
        return {stripped: rf"(?<!\w){re.escape(stripped)}(?!\w)"}
    return {text: _spellings(text) for text in _variants(secret) | _variants(stripped)}


class Redactor:
    """Masks text and values. Safe for any number of threads.

    Secrets that are fetched again and again may be new each time (tokens of a command): the
    latest :data:`SECRETS_MAX` are masked. One that is still used is fetched again, hence stays.
    """

    def __init__(self) -> None:
        self._secrets: dict[str, dict[str, str]] = {}  # texts and their patterns; the latest last
        self._literal: tuple[re.Pattern[str], ...] = ()  # whole secrets, then parts of them
        # a finaliser that the collector runs within may log, hence come in again
        self._lock = RLock()

    def hide(self, secret: str) -> None:
        """From now on this text is masked, escaped and quoted ever so often too, and in base64."""
        stripped = secret.strip()
        if not stripped:
            return
        with self._lock:
            known = self._secrets.pop(secret, None)
            self._secrets[secret] = known or _patterns(secret)
            if known is not None:
                return
            if len(self._secrets) > SECRETS_MAX:
                del self._secrets[next(iter(self._secrets))]
            self._literal = ()

    def text(self, text: str) -> str:
        """The text with everything masked, cut to :data:`TEXT_MAX`."""
        whole, text = text, text[:SCAN_MAX]
        for literal in self._literal or self._compiled():
            text = literal.sub(MASK, text)
        for pattern, mask in _SHAPES:
            text = pattern.sub(mask, text)
        if len(whole) > SCAN_MAX:
            text = text[:-_TAIL][:TEXT_MAX]
            return text + "[cut]"
        if len(text) > TEXT_MAX:
            return text[:TEXT_MAX] + "[cut]"
        return text

    def _compiled(self) -> tuple[re.Pattern[str], ...]:
        """All that is hidden, as patterns; made when they are needed, since that takes a while.

        Whole secrets come first: a line of one that stands before it would take its beginning.
        """
        with self._lock:
            patterns = {text: p for each in self._secrets.values() for text, p in each.items()}
            whole = {text for secret in self._secrets for text in (secret, secret.strip())}
            self._literal = (
                _any_of({text: p for text, p in patterns.items() if text in whole}),
                _any_of({text: p for text, p in patterns.items() if text not in whole}),
            )
            return self._literal

    def value(self, value: object, depth: int = 0) -> Any:  # noqa: ANN401 - any JSON value
        """The value as plain JSON types with everything masked; other objects become text."""
        match value:
            case str() | bytes():
                return self.text(_name(value))
            case None | bool():
                return value
            case int() | float():
                return self._number(value)
            case _ if depth >= DEPTH_MAX:
                return "[deeper]"
            case SluiceError():
                return self.value(explained(value), depth)
            case Mapping():
                return self._mapping(value, depth)
            case list() | tuple() | set() | frozenset():
                return self._items(list(value), depth)
            case _:
                return self.text(repr(value))

    def _number(self, value: float) -> float | str:
        text = self.text(str(value))
        return value if text == str(value) and math.isfinite(value) else text

    def _mapping(self, value: Mapping[Any, Any], depth: int) -> dict[str, Any]:
        return {
            self.text(_name(key)): self._named(_name(key), item, depth)
            for key, item in list(value.items())[:ITEMS_MAX]
        }

    def _items(self, items: list[Any], depth: int) -> list[Any]:
        match items:
            case [str() | bytes() as name, item] if _heads_secret(_name(name)):
                return [self.text(_name(name)), self._named(_name(name), item, depth)]
            case _:
                return [self.value(item, depth + 1) for item in items[:ITEMS_MAX]]

    def _named(self, name: str, value: object, depth: int) -> Any:  # noqa: ANN401 - any JSON value
        if looks_secret(name) and not isinstance(value, bool | None):
            return MASK
        return self.value(value, depth + 1)


def _heads_secret(text: str) -> bool:
    """Of the first of two items, which may be a header's name, or a sentence."""
    return not _SPACE.search(text) and looks_secret(text)


def explained(error: SluiceError) -> dict[str, str]:
    """What, where and remedy of an error, without what is empty."""
    parts = {"what": error.what, "where": error.where, "remedy": error.remedy}
    return {name: text for name, text in parts.items() if text}


def in_one_line(what: str, where: str = "", remedy: str = "") -> str:
    """What, where and remedy as one line, for those who show a list of reasons.

    Secrets are hidden first: half of one that is cut would not be known any more.
    """
    place = f"{where}: " if where else ""
    told = " ".join(HIDDEN.text(f"{place}{what}").split())
    if len(told) > LINE_CHARS_MAX:
        told = f"{told[:LINE_CHARS_MAX]}..."
    if not remedy:
        return told
    stop = "" if told.endswith((".", "!", "?")) else "."
    return f"{told}{stop} What to do: {' '.join(remedy.split())}"


def _name(key: object) -> str:
    return key.decode(errors="backslashreplace") if isinstance(key, bytes) else str(key)


def _variants(secret: str) -> set[str]:
    """A secret's text, its longer lines, and what other alphabets make of it."""
    raw = secret.encode(errors="surrogatepass")
    lines = {line.strip() for line in secret.splitlines() if len(line.strip()) >= _LINE_MIN}
    encoded = {raw.hex(), raw.hex().upper(), *_base64_cores(raw)}
    return {secret, *lines, *{text for text in encoded if len(text) >= _FRAGMENT_MIN}} - {""}


def _spellings(text: str) -> str:
    """The pattern of a text as JSON, Python, URLs and HTML escape it, once or again and again."""
    parts = re.findall(r"\\+|[A-Za-z0-9_.~-]+|.", text, re.DOTALL)
    return "".join(map(_spelling, parts))


def _spelling(part: str) -> str:
    """A run of backslashes, a run of characters that nobody escapes, or any other character."""
    before = rf"{_BACKSLASH}{{1,{_BACKSLASHES}}}"
    if part[0] == "\\":
        return rf"(?i:{_BACKSLASH}{{1,{_BACKSLASHES * len(part)}}})"
    if len(part) > 1 or (part.isascii() and (part.isalnum() or part in "_.~-")):
        return re.escape(part)
    code, raw = ord(part), part.encode(errors="surrogatepass")
    number = rf"(?:\#|{_percent(b'#')})(?:0*{code}|x0*{code:x})"
    name = "|".join(filter(None, [number, codepoint2name.get(code)]))
    bare = [
        re.escape(part),
        _percent(raw),
        rf"{_AMPERSAND}(?:amp{_SEMICOLON})*(?:{name}){_SEMICOLON}",
    ]
    if part == " ":
        bare += [r"\+", _percent(b"+")]
    units = part.encode("utf-16-be", "surrogatepass").hex()
    escaped = [
        before.join(f"u{units[n : n + 4]}" for n in range(0, len(units), 4)),
        before.join(f"x{byte:02x}" for byte in raw),
        *(f"U{code:08x}", f"x{code:02x}", *filter(None, [_SHORT.get(part)])),
    ]
    return rf"(?i:(?:{before})?(?:{'|'.join(bare)})|{before}(?:{'|'.join(escaped)}))"


def _percent(raw: bytes) -> str:
    return "".join(f"%(?:25){{0,4}}{byte:02x}" for byte in raw)


def _base64_cores(raw: bytes) -> Iterable[str]:
    """What base64 makes of these bytes wherever they begin, without the ends that others share."""
    for shift in range(3):
        first = -(-shift * 8 // 6)
        after = (shift + len(raw)) * 8 // 6
        padded = bytes(shift) + raw
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            yield encode(padded).decode()[first:after]


HIDDEN = Redactor()
"""The process's own: secrets add themselves when they are resolved."""
