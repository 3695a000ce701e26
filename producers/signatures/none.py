"""No proof at all, for networks that are trusted otherwise. Only on an explicit wish."""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from producers.refusal import Refusal
from producers.signing import Options, Scheme, Verify
from schemas.events import Delivery


class NoneOptions(Options):
    """The wish."""

    anyone_may_send: Literal[True] = Field(
        description="Must be written as true: whoever reaches the address can add events."
    )


def prepare(options: NoneOptions, secrets: Sequence[str]) -> Verify:
    """Everything is let in."""
    del options, secrets

    def verify(delivery: Delivery) -> Refusal | None:
        del delivery
        return None

    return verify


SCHEME = Scheme(name="none", options=NoneOptions, prepare=prepare, needs_secret=False)
