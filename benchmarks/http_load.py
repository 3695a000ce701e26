"""Sends one body over many connections, as fast as it is answered: by wrk, or without it by us.

``python -m benchmarks.http_load PORT CONNECTIONS SECONDS`` reads headers and body as JSON lines
from standard input and prints what :func:`load` returns.
"""

import asyncio
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping

PATH = "/v1/in/bench"
_UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}
_DONE = re.compile(r"(\d+) requests in")
_P99 = re.compile(r"99%\s+([\d.]+)(us|ms|s|m)")
_BAD = re.compile(r"(Non-2xx|Socket errors)[^\n]*")


def request(headers: Mapping[str, str], body: bytes) -> bytes:
    """A delivery as it goes over the wire."""
    lines = {"host": "127.0.0.1", "content-length": str(len(body)), **headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"POST {PATH} HTTP/1.1\r\n{head}\r\n".encode() + body


def load(
    port: int, headers: Mapping[str, str], body: bytes, connections: int, seconds: float
) -> dict[str, float]:
    """{requests, p99_ms}. Raises RuntimeError for any answer but 2xx."""
    if shutil.which("wrk"):
        return _wrk(port, headers, body, (connections, seconds))
    command = [sys.executable, "-m", "benchmarks.http_load", str(port), str(connections)]
    sent = json.dumps([dict(headers), body.decode()])
    done = subprocess.run(  # noqa: S603
        [*command, str(seconds)], input=sent, check=True, capture_output=True, text=True
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _wrk(
    port: int, headers: Mapping[str, str], body: bytes, how: tuple[int, float]
) -> dict[str, float]:
    connections, seconds = how
    lines = ['wrk.method = "POST"', f"wrk.body = {json.dumps(body.decode())}"]
    lines += [f'wrk.headers["{name}"] = "{value}"' for name, value in headers.items()]
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write("\n".join(lines))
        script.flush()
        command = [
            *("wrk", "--latency", "-t1", f"-c{connections}", f"-d{round(seconds)}s"),
            *("--timeout", "10s", "-s", script.name, f"http://127.0.0.1:{port}{PATH}"),
        ]
        text = subprocess.run(  # noqa: S603
            command, check=True, capture_output=True, text=True
        ).stdout
    done, p99, bad = _DONE.search(text), _P99.search(text), _BAD.search(text)
    if done is None or p99 is None or bad is not None:
        raise RuntimeError(text)
    return {"requests": int(done[1]), "p99_ms": float(p99[1]) * _UNITS[p99[2]]}


async def _ours(port: int, request: bytes, connections: int, seconds: float) -> dict[str, float]:
    times: list[float] = []
    ends = time.monotonic() + seconds

    async def one() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.monotonic() < ends:
            started = time.monotonic()
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 2"):
                raise RuntimeError(head.decode())
            length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
            await reader.readexactly(length)
            times.append(time.monotonic() - started)
        writer.close()

    await asyncio.gather(*(one() for _ in range(connections)))
    times.sort()
    return {"requests": len(times), "p99_ms": times[int(len(times) * 0.99)] * 1000}


def main() -> None:
    port, connections, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    headers, body = json.loads(sys.stdin.read())
    sent = request(headers, body.encode())
    print(json.dumps(asyncio.run(_ours(port, sent, connections, seconds))))


if __name__ == "__main__":
    main()
