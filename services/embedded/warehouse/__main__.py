"""``python -m services.embedded.warehouse --data-dir DIR``: the server in the foreground."""

import argparse
import sys
from importlib.abc import MetaPathFinder
from pathlib import Path

from typing_extensions import override


class WithoutPandas(MetaPathFinder):
    """Hides pandas, which the connector imports wherever it is installed.

    Nothing here needs it, and without it the start takes half the time.
    """

    @override
    def find_spec(self, fullname: str, *_: object) -> None:
        """Raises ModuleNotFoundError for pandas, and leaves the rest to others."""
        if fullname == "pandas":
            raise ModuleNotFoundError("hidden from the embedded warehouse", name=fullname)


def main() -> None:
    """Read the arguments and serve until a signal comes."""
    sys.meta_path.insert(0, WithoutPandas())
    from services.embedded.warehouse.extension.server import (  # noqa: PLC0415 - only now
        ServerOptions,
        serve,
    )

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
