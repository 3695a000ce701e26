"""What the figures of the docs come from: ``python -m benchmarks``."""

import os

os.environ.setdefault("POLARS_MAX_THREADS", "1")  # as in every process of ours: services.cli
