"""Recorded SQL against the forms that mean the same on Snowflake and on the stand-in.

The stand-in accepts or ignores much that Snowflake refuses or reads otherwise, so what it ran
proves less than what it was asked.
"""

import re
from collections.abc import Callable, Iterable, Iterator

import sqlglot
from sqlglot import exp

_COMMAND_ONLY = re.compile(
    r"\s*(REMOVE|GET|LIST|SHOW|ALTER\s+(SESSION|WAREHOUSE))\b", re.IGNORECASE
)
_START = re.compile(r"\s*START\s+TRANSACTION\b", re.IGNORECASE)
_UNQUOTED_FORMAT = re.compile(r"FORMAT_NAME\s*=\s*(?!')", re.IGNORECASE)
_PUT = re.compile(
    r"PUT 'file:///[^'*?]+' @[\w.]+/\S* AUTO_COMPRESS=FALSE OVERWRITE=TRUE", re.IGNORECASE
)

Rule = Callable[[exp.Expression, str], str | None]


def lint(statements: Iterable[str]) -> list[str]:
    """What is wrong, as ``rule: statement``; empty if all is well."""
    found: list[str] = []
    inside = looking = False
    for statement in statements:
        tree = None if _COMMAND_ONLY.match(statement) else _parsed(statement)
        found += [f"{problem}: {statement}" for problem in _problems(tree, statement)]
        if inside and isinstance(tree, exp.Create | exp.Alter | exp.Drop | exp.Merge):
            found.append(f"DDL or MERGE inside a transaction: {statement}")
        if _goes_on(tree):
            looking = True
            if not inside:
                found.append(f"ON_ERROR=CONTINUE outside a transaction: {statement}")
        if isinstance(tree, exp.Transaction):
            inside = True
        elif isinstance(tree, exp.Commit | exp.Rollback):
            if looking and isinstance(tree, exp.Commit):
                found.append(f"COMMIT after ON_ERROR=CONTINUE: {statement}")
            inside = looking = False
    return found


def _parsed(statement: str) -> exp.Expression | None:
    parsed = sqlglot.parse_one(statement, read="snowflake")
    return parsed if isinstance(parsed, exp.Expression) else None


def _problems(tree: exp.Expression | None, statement: str) -> Iterator[str]:
    if _START.match(statement):
        yield "write BEGIN"
    if "@~" in statement:
        yield "user stage"
    if _UNQUOTED_FORMAT.search(statement):
        yield "unquoted FORMAT_NAME"
    if tree is None:
        return
    for rule in _RULES:
        problem = rule(tree, statement)
        if problem:
            yield problem


def _unknown_form(tree: exp.Expression, _: str) -> str | None:
    return "a form that sqlglot does not know" if isinstance(tree, exp.Command) else None


def _put(tree: exp.Expression, statement: str) -> str | None:
    if isinstance(tree, exp.Put) and not _PUT.fullmatch(statement):
        return "PUT takes one quoted file, an unquoted stage, no compression, and overwrites"
    return None


def _constraint(tree: exp.Expression, _: str) -> str | None:
    keys = (exp.PrimaryKey, exp.PrimaryKeyColumnConstraint, exp.UniqueColumnConstraint)
    found = isinstance(tree, exp.Create) and tree.find(*keys, exp.ForeignKey)
    return "a key, which Snowflake does not enforce" if found else None


def _false_switch(tree: exp.Expression, _: str) -> str | None:
    options = _options(tree)
    wrong = [name for name in ("FORCE", "PURGE") if _is_false(options.get(name))]
    if wrong:
        return f"{wrong[0]}=FALSE is left out"
    return "PURGE is not transactional" if "PURGE" in options else None


def _is_false(value: object) -> bool:
    return isinstance(value, exp.Boolean) and not value.this


def _timestamps(tree: exp.Expression, statement: str) -> str | None:
    if not isinstance(tree, exp.Copy) or "PARQUET" not in statement.upper():
        return None
    has = re.search(r"USE_LOGICAL_TYPE\s*=\s*TRUE", statement, re.IGNORECASE)
    return None if has else "Parquet without USE_LOGICAL_TYPE"


def _on_error(tree: exp.Expression, _: str) -> str | None:
    if not isinstance(tree, exp.Copy):
        return None
    value = _options(tree).get("ON_ERROR")
    abort = isinstance(value, exp.Expression) and value.name.upper() == "ABORT_STATEMENT"
    return None if abort or _goes_on(tree) else "COPY is all or nothing: ON_ERROR=ABORT_STATEMENT"


def _goes_on(tree: exp.Expression | None) -> bool:
    """A COPY that loads what fits: to be looked at, and rolled back."""
    value = _options(tree).get("ON_ERROR") if tree is not None else None
    return isinstance(value, exp.Expression) and value.name.upper() == "CONTINUE"


def _other_database(tree: exp.Expression, _: str) -> str | None:
    if any(table.catalog for table in tree.find_all(exp.Table)):
        return "a table of another database"
    return None


def _options(tree: exp.Expression) -> dict[str, object]:
    if not isinstance(tree, exp.Copy):
        return {}
    return {p.this.name.upper(): p.args.get("expression") for p in tree.args.get("params") or ()}


_RULES: tuple[Rule, ...] = (
    _unknown_form,
    _put,
    _constraint,
    _false_switch,
    _timestamps,
    _on_error,
    _other_database,
)
