"""Fixtures of the end-to-end tests."""

import sys
from collections.abc import Callable

import pytest

Tell = Callable[[str], object]


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str]) -> Tell:
    """Shows a line at once, whatever the options of pytest: what was measured is worth reading."""

    def told(text: str) -> None:
        with capsys.disabled():
            sys.stdout.write(f"  {text}\n")
            sys.stdout.flush()

    return told
