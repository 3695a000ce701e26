"""Statements about the account: accepted, and nothing is done."""

import re

_NOTHING_TO_DO = re.compile(
    r"""\s*(
      ALTER\s+SESSION\s+(UN)?SET\s+(?!AUTOCOMMIT\b)
    | ALTER\s+WAREHOUSE\b
    | CREATE\s+(OR\s+REPLACE\s+)?(WAREHOUSE|ROLE)\b
    | GRANT\b
    | REVOKE\b
    | USE\s+SECONDARY\b
    | ALTER\s+TABLE\s+\S+\s+SET\s+(DATA_RETENTION|ENABLE_SCHEMA|CHANGE_TRACK)
    )""",
    re.IGNORECASE | re.VERBOSE,
)


def is_account_statement(command: str) -> bool:
    """Warehouses, roles, grants, session and retention settings; not AUTOCOMMIT."""
    return _NOTHING_TO_DO.match(command) is not None
