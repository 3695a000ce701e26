"""Finds SQL text that a name or value enters without a quoting function of ``schemas.sql``.

Reads source code, one function at a time: whatever is put into a text that looks like SQL must be
quoted there, or be a constant, or be built in the same function from such.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

STATEMENT = re.compile(
    r"\s*(SELECT|INSERT INTO|UPDATE|DELETE FROM|COPY INTO|CREATE|ALTER|DROP|TRUNCATE|MERGE"
    r"|PUT(?= \{)|SHOW|DESCRIBE|USE|CALL|PARSE_JSON)\b"
)
CLAUSE = re.compile(r"\b(FROM|WHERE|VALUES|ORDER BY|GROUP BY|LIMIT|AND|OR|IN)\s+\S*\{")
QUOTING = {"identifier", "quoted", "literal", "literals", "timestamp"}
SQL_ALREADY = {
    "sql_name",  # of a column: quoted
    "type",  # of a column: one of schemas.table
    "where",  # of a filter: built of literals
    "stage_path",  # of a load's plan: our stage, and a stream's name, which the contract checks
}
SQL_ARGUMENTS = {
    "constants",  # of copy_into: SQL texts by column
    "staged",  # of copy_into: a plan's path and file
}
CONSTANT = re.compile(r"_?[A-Z][A-Z0-9_]*")

Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Module


def unquoted(source: str) -> list[str]:
    """``line: expression`` of whatever enters SQL as it is."""
    tree = ast.parse(source)
    functions = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    found = []
    for owner in (tree, *_functions(tree)):
        scope = _Scope(functions, _assigned(owner))
        for node in _own(owner):
            found += [f"{part.lineno}: {ast.unparse(part)}" for part in _entering(node, scope)]
    return found


@dataclass(frozen=True, slots=True)
class _Scope:
    functions: set[str]  # of the module
    assigned: dict[str, list[ast.expr]]  # in this function


def _functions(tree: ast.AST) -> Iterator[Function]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def _own(owner: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a function without those of functions inside it."""
    for child in ast.iter_child_nodes(owner):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield child
            yield from _own(child)


def _assigned(owner: ast.AST) -> dict[str, list[ast.expr]]:
    """What a function's local names stand for; the names of comprehensions too."""
    found: dict[str, list[ast.expr]] = {}
    for node in _own(owner):
        match node:
            case ast.Assign(targets, value):
                pairs = [pair for target in targets for pair in _pairs(target, value)]
            case ast.AugAssign(target, _, ast.expr() as value):
                pairs = [(target, value)]
            case ast.AnnAssign(target, _, ast.expr() as value):
                pairs = [(target, value)]
            case ast.comprehension(target, iterated):
                pairs = _each(target, iterated)
            case _:
                continue
        for target, value in pairs:
            if isinstance(target, ast.Name):
                found.setdefault(target.id, []).append(value)
    return found


def _pairs(target: ast.expr, value: ast.expr) -> list[tuple[ast.expr, ast.expr]]:
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        return list(zip(target.elts, value.elts, strict=True))
    return [(target, value)]


def _each(target: ast.expr, iterated: ast.expr) -> list[tuple[ast.expr, ast.expr]]:
    """The names of a comprehension: a literal's items, or whatever it goes through."""
    match iterated:
        case ast.Tuple(items) | ast.List(items):
            return [pair for item in items for pair in _pairs(target, item)]
        case ast.Call(ast.Attribute(mapping, "items")):
            iterated = mapping
    names = target.elts if isinstance(target, ast.Tuple) else [target]
    return [(name, iterated) for name in names]


def _entering(node: ast.AST, scope: _Scope) -> Iterator[ast.expr]:
    """What is put into a text that looks like SQL, and is not quoted."""
    match node:
        case ast.JoinedStr() if _is_sql(_text(node)):
            parts = [part.value for part in node.values if isinstance(part, ast.FormattedValue)]
        case ast.BinOp(ast.Constant(str() as text), ast.Mod() | ast.Add(), right) if _is_sql(
            text + "{"
        ):
            parts = [right]
        case ast.Call(ast.Attribute(ast.Constant(str() as text), "format"), parts) if _is_sql(text):
            pass
        case _:
            return
    yield from (part for part in parts if not _quoted(part, scope))


def _text(node: ast.JoinedStr) -> str:
    return "".join(str(p.value) if isinstance(p, ast.Constant) else "{" for p in node.values)


def _is_sql(text: str) -> bool:
    return bool(STATEMENT.match(text) or CLAUSE.search(text))


def _quoted(node: ast.expr, scope: _Scope) -> bool:
    match node:
        case ast.Attribute(_, name):
            return name in SQL_ALREADY or bool(CONSTANT.fullmatch(name))
        case ast.Name(name) if name in scope.assigned:
            return all(_quoted(value, scope) for value in scope.assigned[name])
        case ast.Name(name) | ast.Subscript(ast.Name(name)):
            return name in SQL_ARGUMENTS or bool(CONSTANT.fullmatch(name))
        case ast.Call():
            return _quoted_call(node, scope)
        case _:
            parts = _parts(node)
            return parts is not None and all(_quoted(part, scope) for part in parts)


def _parts(node: ast.expr) -> list[ast.expr] | None:
    """What a text is made of; None where that cannot be seen."""
    match node:
        case ast.Constant():
            return []
        case ast.JoinedStr(values):
            return [v.value for v in values if isinstance(v, ast.FormattedValue)]
        case ast.BinOp(left, ast.Add(), right) | ast.IfExp(_, left, right):
            return [left, right]
        case ast.GeneratorExp(element) | ast.ListComp(element):
            return [element]
        case ast.Tuple(elements) | ast.List(elements):
            return elements
        case _:
            return None


def _quoted_call(node: ast.Call, scope: _Scope) -> bool:
    match node.func:
        case ast.Name(name) | ast.Attribute(_, name) if name in QUOTING:
            return True
        case ast.Name(name):
            return name in scope.functions  # its own texts are looked at as well
        case ast.Attribute(ast.Constant(), "join"):
            return all(_quoted(argument, scope) for argument in node.args)
        case ast.Attribute(text, "upper"):
            return _quoted(text, scope)
        case _:
            return False
