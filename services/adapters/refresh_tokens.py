"""Refresh tokens that sources gave in place of the configured ones: files of the state folder."""

import json
import os
from pathlib import Path

from schemas.errors import TransientError
from schemas.identity import digest

OWNER_ALONE = 0o600


class FileRefreshTokens:
    """Port ``RefreshTokens``: one file a source, readable by its owner alone.

    A file remembers by a digest which configured token its own one replaced, so that a new one in
    the settings is used at once.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, source: str, configured: str) -> str | None:
        """See the port. A file that cannot be read counts as none."""
        try:
            found = json.loads(self._path(source).read_bytes())
            fits = found["instead_of"] == digest(configured)
            return str(found["refresh_token"]) if fits else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, source: str, configured: str, token: str) -> None:
        """See the port."""
        text = json.dumps({"instead_of": digest(configured), "refresh_token": token})
        path = self._path(source)
        draft = path.with_suffix(".tmp")
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            draft.unlink(missing_ok=True)
            handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ALONE)
            with open(handle, "w") as out:  # noqa: PTH123 - a path would not take the mode
                out.write(text)
                out.flush()
                os.fsync(out.fileno())
            draft.replace(path)
        except OSError as error:
            raise TransientError(
                f"cannot be written ({error.strerror})",
                where=str(path),
                remedy="make room for the state folder, or give it back to our user",
            ) from error

    def _path(self, source: str) -> Path:
        return self._folder / f"{source}.json"
