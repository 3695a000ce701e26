"""The command line."""

import os


def main() -> None:
    """The entry point.

    A process works on one batch at a time, and more work means more processes: threads of Polars
    only cost (docs/adr/0009-two-encoders.md). It looks at this when it is imported.
    """
    os.environ.setdefault("POLARS_MAX_THREADS", "1")  # noqa: TID251 - no setting of ours
    from services.cli.app import main as run  # noqa: PLC0415 - see above

    run()
