"""What import-linter cannot say of the code's shape; each check is shown to find what it is for."""

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.sql_text import unquoted

ROOT = Path(__file__).parents[2]
PACKAGES = ("schemas", "producers", "consumers", "services")
LINES_MAX = 400
STILL_LONGER: set[str] = set()

CATCHES_ALL = {
    "services/run.py": 1,  # the supervisor
    "producers/receive.py": 1,  # the guard around plug-ins
    "schemas/rules.py": 1,  # the guard around a contract's own validators
    "services/adapters/otlp.py": 1,  # a thread that goes on: telemetry never stops the flow
    "services/adapters/lanes.py": 2,  # a thread hands its error to the loop, bugs too
}

IMPORTS = """
import importlib, sys, threading

EFFECTS = {
    "socket.connect", "socket.bind", "socket.getaddrinfo", "subprocess.Popen", "os.system",
    "os.exec", "os.fork", "os.posix_spawn", "os.mkdir", "os.remove", "os.rename", "os.rmdir",
    "os.putenv", "os.unsetenv", "shutil.rmtree", "tempfile.mkstemp", "tempfile.mkdtemp", "os.kill",
    "a thread",
}

def ours():
    # the innermost importer or module: what a library does when it is imported is its own
    frame = sys._getframe(2)
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith("<frozen importlib"):
            return False
        if "site-packages" not in file and file.startswith(tuple(FOLDERS)):
            return True
        frame = frame.f_back
    return False

def refuse(event, arguments):
    written = event == "open" and set(str(arguments[1])) & set("wax+")
    if (written or event in EFFECTS) and ours():
        raise AssertionError(f"importing {name} has the effect {event} {arguments}")

def start(*arguments):
    refuse("a thread", arguments)
    return start_new_thread(*arguments)

FOLDERS = sys.argv[1].split(":")
start_new_thread, threading._start_new_thread = threading._start_new_thread, start
name = ""
sys.addaudithook(refuse)
for name in sys.argv[2:]:
    importlib.import_module(name)
"""
"""Imports the modules that are named; an effect ends it."""


def sources(*folders: str) -> Iterator[Path]:
    for folder in folders:
        yield from sorted((ROOT / folder).rglob("*.py"))


def modules() -> list[str]:
    """Every module but those that run when they are imported, by their nature."""
    found = []
    for path in sources(*PACKAGES):
        if path.stem != "__main__":
            parts = path.relative_to(ROOT).with_suffix("").parts
            found.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return found


def imported(names: list[str], path: Path) -> subprocess.CompletedProcess[str]:
    """The end of a Python that imports modules of ours, or of ``path``."""
    folders = f"{path}:{ROOT}"
    return subprocess.run(
        [sys.executable, "-B", "-W", "ignore", "-c", IMPORTS, folders, *names],
        cwd=path,
        env={"PYTHONPATH": folders, "HOME": str(path)},
        capture_output=True,
        check=False,
        text=True,
    )


def test_importing_any_module_has_no_effect(tmp_path: Path) -> None:
    done = imported(modules(), tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("line", "effect"),
    [
        ("import socket; socket.create_connection(('127.0.0.1', 9))", "socket.getaddrinfo"),
        ("import subprocess; subprocess.run(['true'])", "subprocess.Popen"),
        ("open('left_behind', 'w')", "open"),
        ("import threading; threading.Thread(target=print).start()", "a thread"),
        ("import httpx2; httpx2.get('http://127.0.0.1:9')", "socket.getaddrinfo"),
        ("import os; os.environ['A'] = 'b'", "os.putenv"),
    ],
    ids=["connects", "runs", "writes", "starts a thread", "asks", "sets a variable"],
)
def test_an_effect_at_import_is_found(tmp_path: Path, line: str, effect: str) -> None:
    (tmp_path / "guilty.py").write_text(line)
    done = imported(["guilty"], tmp_path)
    assert done.returncode == 1
    assert f"importing guilty has the effect {effect}" in done.stderr


VIOLATIONS = {
    "schemas/types.py": "import consumers.reading.judge",
    "services/unplaced.py": "",
    "services/processes/watched.py": "import services.adapters.clock",
    "services/gateway/app.py": "import confluent_kafka",
    "producers/sources/github.py": "import producers.sources.stripe",
    "producers/signatures/hmac.py": "import producers.signatures.basic",
    "producers/pagers/page.py": "import producers.pagers.link",
    "consumers/reading/judge.py": "import time",
}
"""A line that breaks each contract of import-linter, one a contract."""


def linted(root: Path) -> dict[str, bool]:
    """The contracts, and whether they are kept."""
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-logo", "--no-cache"],
        cwd=root,
        env={"PYTHONPATH": str(root), "COLUMNS": "300", "NO_COLOR": "1"},
        capture_output=True,
        check=False,
        text=True,
    )
    found = re.findall(r"^(.+?) (KEPT|BROKEN)\b", done.stdout, re.MULTILINE)
    return {name: word == "KEPT" for name, word in found}


def test_every_contract_of_the_import_linter_finds_what_it_is_for(tmp_path: Path) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for package in PACKAGES:
        shutil.copytree(
            ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    kept = linted(tmp_path)
    assert kept
    assert all(kept.values()), kept
    for path, line in VIOLATIONS.items():
        with (tmp_path / path).open("a") as file:
            file.write(f"\n{line}\n")
    assert linted(tmp_path) == dict.fromkeys(kept, False)
    assert len(VIOLATIONS) == len(kept)


def test_no_file_is_longer_than_a_reader_holds_in_mind() -> None:
    long = {
        str(path.relative_to(ROOT))
        for path in sources(*PACKAGES, "tests", "benchmarks")
        if len(path.read_text().splitlines()) > LINES_MAX
    }
    assert long <= STILL_LONGER
    assert long >= STILL_LONGER, "take what is short now out of the list"


def catches_all(tree: ast.AST) -> int:
    """How many handlers take every error and go on; one that cleans up and raises is none."""
    count = 0
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler):
            kinds = {"BaseException", "Exception"} & set(caught(node))
            last = node.body[-1]
            passed_on = isinstance(last, ast.Raise) and last.exc is None
            count += bool(kinds or node.type is None) and not passed_on
    return count


def caught(handler: ast.ExceptHandler) -> list[str]:
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return [ast.unparse(kind).rpartition(".")[2] for kind in kinds if kind is not None]


def test_every_error_is_caught_in_named_places_only() -> None:
    found = {
        str(path.relative_to(ROOT)): count
        for path in sources(*PACKAGES)
        if (count := catches_all(ast.parse(path.read_text())))
    }
    assert found == CATCHES_ALL


@pytest.mark.parametrize(
    ("handler", "count"),
    [
        ("except Exception: pass", 1),
        ("except: pass", 1),
        ("except (ValueError, builtins.BaseException) as error: print(error)", 1),
        ("except BaseException:\n    close()\n    raise", 0),
        ("except ValueError: pass", 0),
    ],
)
def test_a_handler_of_everything_is_found(handler: str, count: int) -> None:
    assert catches_all(ast.parse(f"try:\n    act()\n{handler}")) == count


SQL_FILES = [
    path for path in sources(*PACKAGES) if not path.is_relative_to(ROOT / "services/embedded")
]
"""Without the stand-in, whose SQL is DuckDB's, of names that DuckDB gave it."""


def test_names_and_values_enter_sql_through_schemas_sql() -> None:
    found = {str(path.relative_to(ROOT)): unquoted(path.read_text()) for path in SQL_FILES}
    assert {path: places for path, places in found.items() if places} == {}


@pytest.mark.parametrize(
    "text",
    [
        'def f(name): return f"SELECT * FROM {name}"',
        'def f(name): return f"SELECT * FROM {name.upper()}"',
        "def f(row): return f\"SELECT * FROM T WHERE A = '{row.a}'\"",
        'def f(names):\n    rows = ", ".join(names)\n    return f"INSERT INTO T VALUES {rows}"',
        'def f(c): return ", ".join(f"SELECT {a}" for a, b in (("A", 1), (c, 2)))',
        'def f(a):\n    b = a\n    return f"DELETE FROM T WHERE A = {b}"',
        'def f(a): return "SELECT * FROM T WHERE A = %s" % a',
        'def f(a): return "SELECT * FROM {}".format(a)',
        'def f(a): return "SELECT * FROM T WHERE A = " + a',
    ],
)
def test_unquoted_names_and_values_in_sql_are_found(text: str) -> None:
    assert unquoted(text) != []


@pytest.mark.parametrize(
    "text",
    [
        'def f(name): return f"SELECT * FROM {identifier(name)} WHERE A = {literal(1)}"',
        'def f(): return f"SELECT * FROM {ledger.OFFSETS}"',
        'def f(a):\n    b = ", ".join(literal(x) for x in a)\n    return f"SELECT {b}"',
        'def f():\n    a, b = literal(1), TABLE\n    return f"SELECT {a} FROM {b}"',
        'def f(): return ", ".join(f"PUT {a} IN {b}" for a, b in FILES.items())',
        'def f(name): return f"no table is called {name}"',
    ],
)
def test_quoted_names_and_values_in_sql_are_fine(text: str) -> None:
    assert unquoted(text) == []
