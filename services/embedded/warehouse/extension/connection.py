"""A session's connection: hands out extended cursors and can be ended as a logout ends it."""

import contextlib
from functools import cached_property
from typing import Any

import duckdb
from fakesnow.conn import FakeSnowflakeConnection
from typing_extensions import override

from services.embedded.warehouse.extension.cursor import ExtendedCursor, Transaction


class ExtendedConnection(FakeSnowflakeConnection):
    """fakesnow's connection, with what the extensions remember of a session."""

    @cached_property
    def transaction(self) -> Transaction:
        """The session's, whichever cursor works in it."""
        return Transaction()

    @override
    def cursor(self, cursor_class: Any = None) -> ExtendedCursor:
        return ExtendedCursor(self, self._duck_conn, self.transaction)

    @property
    def busy(self) -> bool:
        """Whether changes wait for a COMMIT."""
        return self.transaction.open or self._in_transaction

    def roll_back(self) -> None:
        """Undo what is open; does nothing where nothing is."""
        with contextlib.suppress(duckdb.Error):  # no transaction is active
            self._duck_conn.rollback()
        self.transaction.end()
        self._in_transaction = False

    def abort(self) -> None:
        """Roll back behind the client's back: its next statement fails, whatever it is."""
        self.roll_back()
        self.transaction.aborted = True

    def end(self) -> None:
        """End the session as a logout does: an open transaction is rolled back."""
        self.roll_back()
        self.close()
