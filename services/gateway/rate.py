"""A token bucket."""


class TokenBucket:
    """Lets ``rate`` calls a second through, and at most one second's worth at once."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._size = max(rate, 1.0)
        self._tokens = self._size
        self._at: float | None = None

    def take(self, now: float) -> float:
        """0 and a token is gone, or the seconds until there is one. ``now`` never goes back."""
        if self._at is not None:
            self._tokens = min(self._size, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens >= 1:
            self._tokens -= 1
            return 0.0
        return (1 - self._tokens) / self._rate
