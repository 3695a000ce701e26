"""The embedded warehouse as a supervised child process."""

import http.client
import json
import sys
from pathlib import Path
from typing import Any, Self

from services.embedded.process import Process, ProcessSpec

HOST = "127.0.0.1"  # nothing is verified, so nobody else may come in
READY_SECONDS_MAX = 60.0
PROBE_SECONDS_MAX = 2.0


def port_file(folder: Path) -> Path:
    """Where the server writes the port that it got."""
    return folder / "port"


def port_of(folder: Path) -> int:
    """The port that the folder's server has, or had last; 0 for none."""
    try:
        return int(port_file(folder).read_text())
    except (OSError, ValueError):
        return 0


class EmbeddedWarehouse:
    """fakesnow with our extensions on 127.0.0.1, its data in ``folder``.

    A restart keeps the port while nobody else takes it.
    """

    def __init__(
        self,
        folder: Path,
        port: int = 0,
        *,
        idle_transaction_seconds: float = 300.0,
        faults: bool = False,
    ) -> None:
        self.folder = folder
        command = [sys.executable, "-m", "services.embedded.warehouse", "--data-dir", str(folder)]
        command += ["--port", str(port)]
        command += ["--idle-transaction-seconds", str(idle_transaction_seconds)]
        command += ["--faults"] if faults else []
        self._process = Process(
            ProcessSpec(
                name="warehouse",
                command=command,
                folder=folder,
                ready=self._is_ready,
                ready_seconds_max=READY_SECONDS_MAX,
            )
        )

    def start(self) -> None:
        """Return once it answers. Raises SetupError with the log's last lines."""
        self._process.start()

    def launch(self) -> None:
        """Start without waiting."""
        self._process.launch()

    def wait_ready(self) -> None:
        """Return once it answers after :meth:`launch`. Raises SetupError."""
        self._process.wait_ready()

    def stop(self) -> None:
        """End it in good order."""
        self._process.stop()

    def kill(self) -> None:
        """KILL, and leave it dead until the next start."""
        self._process.kill()

    @property
    def process(self) -> Process:
        """The child, for monitors: pid, restarts, log."""
        return self._process

    @property
    def port(self) -> int:
        """Where it listens, or did last; 0 before the first start."""
        return port_of(self.folder)

    @property
    def connection(self) -> dict[str, Any]:
        """Arguments of ``snowflake.connector.connect``. Nothing is verified."""
        return {
            "account": "embedded",
            "user": "sluice",
            "password": "embedded",  # the connector wants one
            "host": HOST,
            "port": self.port,
            "protocol": "http",
        }

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _is_ready(self) -> bool:
        """Whether our own child answers, and not somebody else on that port."""
        port = self.port
        if not port:
            return False
        client = http.client.HTTPConnection(HOST, port, timeout=PROBE_SECONDS_MAX)
        try:
            client.request("GET", "/sluice/ready")
            answer = json.loads(client.getresponse().read())
        except (OSError, http.client.HTTPException, ValueError):
            return False
        finally:
            client.close()
        return isinstance(answer, dict) and answer.get("pid") == self._process.pid
