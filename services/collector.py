"""Python's garbage collector, set to what our processes leave behind: hardly any cycles."""

import gc

YOUNG_MAX = 200_000  # more objects than a poll's messages; Python's default is 700


def calm_collector(young_max: int = YOUNG_MAX) -> None:
    """Look less often for cycles, and never again at what has been imported by now.

    Every message of Kafka's client is an object that the collector tracks: with its defaults it
    looked through a poll of 50,000 some seventy times, and through all modules now and then.
    That was a quarter of the loader's CPU time (``python -m benchmarks loader``).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(young_max, 20, 20)
