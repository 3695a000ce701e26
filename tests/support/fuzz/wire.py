"""The fuzzer's end of a connection: sends anything, and reads answers strictly."""

import asyncio
import socket
import struct
import time
from dataclasses import dataclass, field

from tests.support.fuzz.cases import Case, End

ANSWER_SECONDS_MAX = 30.0  # a shared machine may be slow
QUIET_SECONDS = 0.05
WRITE_BYTES = 65_536


class NoHttpError(Exception):
    """The gateway's answer is no HTTP."""


@dataclass(frozen=True)
class Answer:
    """One answer, and the bytes that it came in."""

    status: int
    headers: dict[str, str]
    body: bytes
    raw: bytes


@dataclass
class Heard:
    """What came back on a connection."""

    answers: list[Answer] = field(default_factory=list)
    closed: bool = False
    silent: bool = False  # nothing more came, for longer than anything may take
    rest: bytes = b""  # that was no answer
    sending_seconds: float = 0  # until all was sent


async def heard(port: int, case: Case) -> Heard:
    """Send a case, and listen as long as it says."""
    found, began = Heard(), time.monotonic()
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionError:
        found.closed = True
        return found
    try:
        await _send(writer, case)
        found.sending_seconds = time.monotonic() - began
        if case.end is End.READ:
            await _listen(reader, case, found)
    finally:
        await _hang_up(writer, reset=case.end is End.RESET)
    return found


async def _send(writer: asyncio.StreamWriter, case: Case) -> None:
    """All parts, or as much as the other side takes."""
    try:
        for part in case.parts:
            if isinstance(part, float):
                await asyncio.sleep(part)
                continue
            for start in range(0, len(part), WRITE_BYTES):
                writer.write(part[start : start + WRITE_BYTES])
                async with asyncio.timeout(ANSWER_SECONDS_MAX):
                    await writer.drain()
    except (ConnectionError, TimeoutError):
        return  # it has refused; its answer says why


async def _listen(reader: asyncio.StreamReader, case: Case, found: Heard) -> None:
    methods = [wanted.method for wanted in case.wanted]
    try:
        async with asyncio.timeout(ANSWER_SECONDS_MAX):
            for method in methods:
                found.answers.append(await _answer(reader, method))
    except TimeoutError:
        found.silent = True
        return
    except (asyncio.IncompleteReadError, ConnectionError) as error:
        found.closed = True
        found.rest = getattr(error, "partial", b"")
        return
    if case.exact:
        return
    try:
        while True:
            async with asyncio.timeout(QUIET_SECONDS):
                found.answers.append(await _answer(reader, b"POST"))
    except TimeoutError:
        return
    except (asyncio.IncompleteReadError, ConnectionError) as error:
        found.closed = True
        found.rest = getattr(error, "partial", b"")


async def _answer(reader: asyncio.StreamReader, method: bytes) -> Answer:
    """Raises asyncio.IncompleteReadError at the connection's end, and NoHttpError."""
    head = await reader.readuntil(b"\r\n\r\n")
    while head.startswith(b"HTTP/1.1 100 "):
        head = await reader.readuntil(b"\r\n\r\n")
    first, *lines = head[:-4].decode("latin-1").split("\r\n")
    version, _, status = first.partition(" ")
    if version != "HTTP/1.1" or not status[:3].isdigit():
        raise NoHttpError(first)
    headers = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or name.lower() in headers:
            raise NoHttpError(line)
        headers[name.lower()] = value.strip()
    if "content-length" not in headers:
        raise NoHttpError("an answer without a length")
    size = int(headers["content-length"]) if method != b"HEAD" else 0
    body = await reader.readexactly(size)
    return Answer(int(status[:3]), headers, body, head + body)


async def _hang_up(writer: asyncio.StreamWriter, *, reset: bool) -> None:
    if reset:
        own: socket.socket = writer.get_extra_info("socket")
        own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
        return
    writer.close()
