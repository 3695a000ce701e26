"""``python -m services.embedded.warehouse --data-dir DIR``: the server in the foreground."""

import argparse
import sys
from pathlib import Path

# The connector imports pandas wherever it is installed; without it the start takes half the time.
sys.modules["pandas"] = None  # type: ignore[assignment]  # the import system's word for "absent"

from services.embedded.warehouse.extension.server import ServerOptions, serve  # noqa: E402 - see above


def main() -> None:
    """Read the arguments and serve until a signal comes."""
    parser = argparse.ArgumentParser(description="Sluice's embedded stand-in for Snowflake.")
    parser.add_argument("--data-dir", type=Path, required=True, help="folder that keeps the data")
    parser.add_argument("--port", type=int, default=0, help="0: last time's port, or a free one")
    parser.add_argument(
        "--idle-transaction-seconds",
        type=float,
        default=300.0,
        help="a transaction whose client is silent for so long is rolled back",
    )
    parser.add_argument("--faults", action="store_true", help="let tests inject faults")
    given = parser.parse_args()
    folder = given.data_dir.resolve()
    serve(ServerOptions(folder, given.port, given.idle_transaction_seconds, given.faults))


if __name__ == "__main__":
    main()
