"""Heads of requests: what names, lengths, encodings and lines may be made of."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random

from tests.support.fuzz.bodies import ANY

HEADER_BYTES_MAX = 16_384
REFUSED = frozenset({400})
NO_HTTP = frozenset({400, 404, 405})

Line = tuple[bytes, bytes]


@dataclass(frozen=True)
class Draft:
    """A request before it is bytes. ``statuses`` None: whatever they were before."""

    target: bytes
    lines: tuple[Line, ...]
    body: bytes
    method: bytes = b"POST"
    version: bytes = b"HTTP/1.1"
    statuses: frozenset[int] | None = None
    wire: bytes | None = field(default=None, repr=False)  # all of it, where it is no HTTP any more

    def __bytes__(self) -> bytes:
        if self.wire is not None:
            return self.wire
        head = b"".join(b"%s: %s\r\n" % line for line in self.lines)
        return b"%s %s %s\r\n%s\r\n%s" % (self.method, self.target, self.version, head, self.body)

    def but(self, *lines: Line) -> "Draft":
        """With these headers in the place of those of the same names."""
        names = {name for name, _ in lines}
        kept = (line for line in self.lines if line[0] not in names)
        return replace(self, lines=(*kept, *lines))

    def without(self, name: bytes) -> "Draft":
        return replace(self, lines=tuple(line for line in self.lines if line[0] != name))


Change = Callable[[Random, Draft], Draft]


def extra_lines(draw: Random, draft: Draft) -> Draft:
    """What a header may hold: nothing that we should mind."""
    more = draw.choice(
        [
            (b"x-name", b"\xc3\xa4\xff\xfe\x80"),
            (b"x-empty", b""),
            (b"x-tab", b"\ta\t b\t"),
            (b"X-UPPER", b"A"),
            (b"expect", b"100-continue"),
            (b"connection", b"close"),
            (b"connection", b"keep-alive, x-foo"),
            (b"accept-encoding", b"gzip"),
            (b"x-long", b"y" * 10_000),
            (b"content-language", b'"' * 40),
            (b"!#$%&'*+-.^_`|~09", b"1"),
        ]
    )
    return replace(draft, lines=(*draft.lines, more))


def doubled(draw: Random, draft: Draft) -> Draft:
    """A header twice, as it is, with another value, or folded."""
    name, value = draw.choice(draft.lines)
    other = draw.choice([value, value + b"x", b"", value.replace(b" ", b"\r\n "), b"\xff"])
    place = draw.randrange(len(draft.lines) + 1)
    lines = (*draft.lines[:place], (name, other), *draft.lines[place:])
    return replace(draft, lines=lines, statuses=ANY)


def other_value(draw: Random, draft: Draft) -> Draft:
    """A header that is there, with something else in it."""
    name, _ = draw.choice(draft.lines)
    odd = [
        *(b"", b"\xff", b"a\r\n b", b"a,b", b'"', b"\0", b"a\nb", b"a\rb", b"9" * 400, b"ping"),
        *(b"../x", b"charge.refunded", b"push", b" ", b"a" * 250),
    ]
    return replace(draft.but((name, draw.choice(odd))), statuses=ANY)


def odd_names(draw: Random, draft: Draft) -> Draft:
    """Names that are none."""
    name = draw.choice([b"x y", b"", b"x\0", b"x(", b"\xe4", b"x\r", b" x", b"x ", b"\x7f", b"\n"])
    return replace(draft, lines=(*draft.lines, (name, b"1")), statuses=ANY)


def large_head(draw: Random, draft: Draft) -> Draft:
    """One header block of the largest size, and larger ones."""
    size = sum(len(name) + len(value) + 4 for name, value in draft.lines) + len(b"x-pad: \r\n")
    more = draw.choice([0, 1, 1_000, 60_000, 1_000_000])
    pad = b"y" * (HEADER_BYTES_MAX - size + more)
    if draw.random() < 0.3:
        lines = (*draft.lines, *[(b"a%d" % n, b"b") for n in range(3_000)])
        return replace(draft, lines=lines, statuses=frozenset({431}))
    statuses = ANY if more < 1_000 else frozenset({431})  # the line before them counts a little
    return replace(draft, lines=(*draft.lines, (b"x-pad", pad)), statuses=statuses)


def odd_length(draw: Random, draft: Draft) -> Draft:
    """Lengths that are none, or those of another body."""
    size = len(draft.body)
    odd = [b"-1", b"+5", b"5 5", b"0x5", b"1e3", b"9" * 30, b"", b"1,1", b"\xb2", b"%d" % 2**63]
    near = [b"%d" % n for n in (0, max(0, size - 1), size + 1, size * 2, size + 999_999)]
    return replace(draft.but((b"content-length", draw.choice(odd + near))), statuses=ANY)


def too_long(draw: Random, draft: Draft) -> Draft:
    """A length that is refused before the body comes."""
    size = draw.choice([b"1000001", b"64000000", b"9" * 18])
    return replace(draft.but((b"content-length", size)), statuses=frozenset({413}))


def odd_type(draw: Random, draft: Draft) -> Draft:
    """Content types; what is no JSON is refused."""
    odd = [b"text/html", b"application/xml", b"application/x-www-form-urlencoded", b"\xff", b"*/*"]
    fine = [b"APPLICATION/JSON; charset=utf-8", b"", b"application/vnd.x+json", b"text/plain;x"]
    value = draw.choice(odd + fine)
    statuses = ANY if value in fine else frozenset({415})
    return replace(draft.but((b"content-type", value)), statuses=statuses)


def odd_encoding(draw: Random, draft: Draft) -> Draft:
    """Content encodings that nobody reads."""
    odd = [b"br", b"deflate", b"zstd", b"gzip, gzip", b"gzip,", b"\xff", b"x" * 500, b"chunked"]
    return replace(draft.but((b"content-encoding", draw.choice(odd))), statuses=frozenset({415}))


def chunked(draw: Random, draft: Draft) -> Draft:
    """In pieces, with extensions and trailers."""
    body, parts = draft.body, []
    while body:
        size = draw.choice([1, 7, 100, 5_000, 60_000])
        part, body = body[:size], body[size:]
        extension = draw.choice([b"", b"", b";x=y", b";" + b"z" * 50])
        parts.append(b"%x%s\r\n%s\r\n" % (len(part), extension, part))
        if len(parts) > 1_000:
            parts.append(b"%x\r\n%s\r\n" % (len(body), body) if body else b"")
            break
    end = draw.choice([b"0\r\n\r\n", b"0\r\nx-after: 1\r\nx-more: \r\n\r\n", b"000\r\n\r\n"])
    lines = draft.without(b"content-length").but((b"transfer-encoding", b"chunked")).lines
    return replace(draft, lines=lines, body=b"".join(parts) + end)


def badly_chunked(draw: Random, draft: Draft) -> Draft:
    """Pieces that are none."""
    size, body = len(draft.body), draft.body
    odd = [
        *(b"%x\r\n%s" % (size, body), b"%x\r\n%s\r\n1" % (size, body), b"zz\r\n%s" % body),
        *(b"-1\r\n%s" % body, b"%x\n%s\n0\n\n" % (size, body), b"ffffffffffffffff1\r\n" + body),
        *(b"%x\r\n%sX0\r\n\r\n" % (size, body), b"7fffffffffffffff\r\n" + body, b" 5\r\n" + body),
        *(
            b"%x;%s\r\n%s\r\n0\r\n\r\n" % (size, b"e" * 40_000, body),
            b"\r\n\r\n",
            b"0x5\r\n" + body,
        ),
        b"0\r\n" + b"".join(b"t%d: x\r\n" % n for n in range(4_000)) + b"\r\n",
    ]
    lines = draft.without(b"content-length").but((b"transfer-encoding", b"chunked")).lines
    return replace(draft, lines=lines, body=draw.choice(odd), statuses=ANY)


def odd_transfer(draw: Random, draft: Draft) -> Draft:
    """Two lengths at once, and codings that there are not: what smuggling is made of."""
    odd = [
        b"chunked",
        b"chunked, chunked",
        b"identity",
        b"gzip, chunked",
        b"xchunked",
        b"chunked\x0b",
    ]
    value = draw.choice(odd)
    return replace(draft, lines=(*draft.lines, (b"transfer-encoding", value)), statuses=ANY)


def odd_version(draw: Random, draft: Draft) -> Draft:
    """Versions of HTTP; 1.0 is taken."""
    odd = [b"HTTP/1.0", b"HTTP/0.9", b"HTTP/1.2", b"HTTP/2.0", b"HTTP/9.9", b"HTTP/11", b"http/1.1"]
    version = draw.choice([*odd, b"", b"HTTPS/1.1", b"RTSP/1.0"])
    return replace(draft, version=version, statuses=ANY)


def odd_method(draw: Random, draft: Draft) -> Draft:
    """Methods: those that there are, and others."""
    known = [b"GET", b"HEAD", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"TRACE"]
    others = [
        b"CONNECT",
        b"post",
        b"PO ST",
        b"",
        b"\xff",
        b"X" * 5_000,
        b"PRI",
        b"PURGE",
        b"SOURCE",
    ]
    method = draw.choice(known + others)
    return replace(draft, method=method, statuses=ANY)


def odd_target(draw: Random, draft: Draft) -> Draft:
    """Addresses of nothing, in most cases."""
    odd = [
        *(b"/", b"", b"*", b"//", b"/v1/in/", b"/v1/in", b"/v1/in/nobody", b"/v1/in//open", b"?"),
        *(b"/v1/in/open/", b"/v1/in/%00", b"/v1/in/..%2fopen", b"/v1/in/../in/open", b"/\xff\xc3"),
        *(b"http://[/", b"http://x/v1/in/nobody", b"x:443", b"/v1/in/" + b"%41" * 3_000, b"/%zz"),
        *(b"/v1/in/nobody?" + b"q" * 9_000, b"/#x", b"/v1/in/OPEN", b"/metrics", b"/ a", b"/\0"),
    ]
    return replace(draft, target=draw.choice(odd), statuses=ANY)


def upgrade(draw: Random, draft: Draft) -> Draft:
    """A wish for another protocol, which nobody has to grant."""
    wish = draw.choice([b"websocket", b"h2c", b"TLS/1.0", b"\xff"])
    return draft.but((b"upgrade", wish), (b"connection", b"Upgrade"))


def odd_lines(draw: Random, draft: Draft) -> Draft:
    """Ends of lines, spaces and empty lines where they do not belong."""
    whole = bytes(draft)
    head, _, body = whole.partition(b"\r\n\r\n")
    heads = [
        b"\r\n\r\n" + head,
        head.replace(b"\r\n", b"\n"),
        head.replace(b"\r\n", b"\r"),
        head.replace(b": ", b" : "),
        head.replace(b": ", b":"),
        head.replace(b"\r\n", b" \r\n", 1),
        head.replace(b" ", b"  ", 1),
        head + b"\r\n folded",
        head + b"\r\nnothing",
    ]
    return replace(draft, wire=draw.choice(heads) + b"\r\n\r\n" + body, statuses=ANY)


def flipped(draw: Random, draft: Draft) -> Draft:
    """Bytes of the head, changed."""
    whole = bytearray(bytes(draft))
    end = whole.find(b"\r\n\r\n") + 4
    for _ in range(draw.randint(1, 5)):
        whole[draw.randrange(end)] = draw.randrange(256)
    return replace(draft, wire=bytes(whole), statuses=ANY)


def no_http(draw: Random, draft: Draft) -> Draft:
    """Something else on the line."""
    odd = [
        *(
            draw.randbytes(draw.randint(1, 3_000)),
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 9,
        ),
        *(
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"\0" * 500,
            b"\r\n" * 500,
            b"GET\r\n\r\n",
            b"{}\n\n",
        ),
        *(
            b"A" * 30_000,
            b"SSH-2.0-x\r\n",
            b"EHLO x\r\n\r\n",
            b"POST / HTTP/1.1\r\n" + b"\xff" * 99,
        ),
    ]
    return replace(draft, wire=draw.choice(odd), statuses=ANY)


KINDS: dict[str, tuple[int, Change]] = {  # with their weights
    function.__name__: (weight, function)
    for weight, function in (
        (60, extra_lines),
        (60, doubled),
        (60, other_value),
        (30, odd_names),
        (20, large_head),
        (20, odd_length),
        (20, too_long),
        (30, odd_type),
        (30, odd_encoding),
        (60, chunked),
        (40, badly_chunked),
        (30, odd_transfer),
        (30, odd_version),
        (40, odd_method),
        (40, odd_target),
        (30, upgrade),
        (40, odd_lines),
        (60, flipped),
        (40, no_http),
    )
}
