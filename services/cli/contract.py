"""``sluice contract``: what a stream promises, and what follows from it."""

import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import typer
from pydantic import TypeAdapter, ValidationError
from rich.text import Text

from schemas import table as ddl_of
from schemas.avro import wire_schema
from schemas.contract import Contract, StreamName
from schemas.errors import SetupError
from schemas.sql import identifier, literal
from services import bootstrap, dictionary
from services.bootstrap import Project
from services.cli.answers import notice, print_json, screen, table
from services.cli.running import answer, require_project, with_project
from services.exit_codes import ExitCode
from services.infer import contract_text
from services.project import CONTRACTS, load_contract
from services.samples import parse_record, read_samples


def _contract(folder: Path, stream: str) -> Contract:
    """The contract of a stream. Raises SetupError naming those that there are."""
    require_project(folder)
    streams = bootstrap.read_project(folder).streams
    if stream not in streams:
        raise SetupError(
            f"there is no stream {stream}",
            where=str(folder / CONTRACTS),
            remedy=f"name one of {', '.join(sorted(streams)) or 'none yet'}",
        )
    return streams[stream]


def show_fields(folder: Path, stream: str, *, as_json: bool) -> ExitCode:
    """Answer ``sluice contract show``. Raises SetupError."""
    found = _contract(folder, stream)
    facts, about = dictionary.facts_of(found), dictionary.summary(found)
    if as_json:
        print_json({"stream": stream, **about, "fields": [asdict(fact) for fact in facts]})
        return ExitCode.OK
    console = screen()
    console.print(Text(f"{stream}  {found.description}".rstrip(), "bold"), soft_wrap=True)
    for name, text in about.items():
        console.print(Text(f"  {name:<14} {text}"), soft_wrap=True)
    rows = (
        (
            fact.name if fact.name == fact.source else f"{fact.name} (sent as {fact.source})",
            fact.type,
            fact.column,
            "no" if fact.required and not fact.nullable else "yes",
            "; ".join((*fact.roles, *fact.rules)),
            fact.description,
        )
        for fact in facts
    )
    console.print(table(("field", "type", "column", "null", "roles and rules", "what"), rows))
    return ExitCode.OK


def show_ddl(folder: Path, stream: str, *, as_json: bool) -> ExitCode:
    """Answer ``sluice contract ddl``. Raises SetupError."""
    statement = ddl_of.create_table(_contract(folder, stream))
    print_json({"ddl": statement}) if as_json else typer.echo(f"{statement};")
    return ExitCode.OK


def show_avro(folder: Path, stream: str) -> ExitCode:
    """Answer ``sluice contract avro``. Raises SetupError."""
    print_json(wire_schema(_contract(folder, stream)))
    return ExitCode.OK


def show_page(folder: Path, stream: str, *, as_json: bool) -> ExitCode:
    """Answer ``sluice contract dictionary``. Raises SetupError."""
    page = dictionary.dictionary_page(_contract(folder, stream))
    print_json({"page": page}) if as_json else typer.echo(page, nl=False)
    return ExitCode.OK


@dataclass(frozen=True, slots=True)
class Draft:
    """The contract that ``sluice contract infer`` is to write."""

    stream: str
    target: Path  # "-": standard output
    force: bool
    as_json: bool

    def write(self, records: list[dict[str, Any]], origin: str) -> ExitCode:
        """Write it, and say so. Raises SetupError."""
        _require_name(self.stream)
        text = contract_text(self.stream, records, origin)
        if str(self.target) == "-":
            print_json({"contract": text}) if self.as_json else typer.echo(text, nl=False)
            return ExitCode.OK
        _write(self.target, text, force=self.force)
        if self.as_json:
            told = {"file": str(self.target), "stream": self.stream, "records": len(records)}
            print_json(told)
        else:
            typer.echo(f"wrote {self.target} from {len(records)} records of {origin}")
            notice("review it, above all key and business date; then run: sluice apply")
        return ExitCode.OK


def target_of(folder: Path, stream: str) -> Path:
    """Where a stream's first contract goes, unless another file is named."""
    return folder / CONTRACTS / f"{re.sub('[^a-z0-9]+', '_', stream)}.py"


def from_samples(draft: Draft, samples: Path, limit: int) -> None:
    """Answer ``sluice contract infer`` from a file; ends with its exit code."""
    answer("contract", lambda: draft.write(read_samples(samples, limit), samples.name))


def from_table(draft: Draft, folder: Path, limit: int) -> None:
    """Answer it from what landed in the stream's table; ends with its exit code."""

    def run(opened: Project) -> ExitCode:
        return draft.write(landed(opened, draft.stream, limit), "the table")

    with_project(folder, "contract", run)


def landed(project: Project, stream: str, limit: int) -> list[dict[str, Any]]:
    """The payloads of a stream without a contract. Raises SetupError where there are none."""
    found = project.streams.get(stream)
    if found is None or [field.name for field in found.fields] != ["payload"]:
        folder = project.settings.root / CONTRACTS
        raise SetupError(
            f"no stream is called {stream}"
            if found is None
            else f"{stream} has a contract already",
            where=str(folder if found is None else _file_of(stream, folder)),
            remedy="give a sample file: sluice contract infer STREAM FILE",
        )
    warehouse = project.warehouse()
    try:
        rows = warehouse.rows(
            f"SELECT TO_JSON(PAYLOAD) AS PAYLOAD FROM {identifier(found.table_name)} "
            f"ORDER BY _LOADED_AT DESC LIMIT {literal(limit)}"
        )
    finally:
        warehouse.close()
    if not rows:
        raise SetupError(
            "no event has landed yet",
            where=found.table_name,
            remedy="send some, or give a sample file: sluice contract infer STREAM FILE",
        )
    return [parse_record(row["payload"]) for row in rows]


def _file_of(stream: str, folder: Path) -> Path:
    """The file that declares a stream's contract; the folder if it is none of them."""
    files = sorted(path for path in folder.glob("*.py") if not path.name.startswith("_"))
    return next((path for path in files if load_contract(path).stream == stream), folder)


def _require_name(stream: str) -> None:
    """Raises SetupError for what can be no stream's name."""
    try:
        TypeAdapter(StreamName).validate_python(stream)
    except ValidationError:
        raise SetupError(
            f"{stream!r} can be no stream's name",
            where="STREAM",
            remedy="write <source>.<stream> in lower case, such as shop.orders",
        ) from None


def _write(target: Path, text: str, *, force: bool) -> None:
    """Write the file, after it was proved to load. Raises SetupError, leaving no trace."""
    if target.exists() and not force:
        raise SetupError(
            "the file is there already",
            where=str(target),
            remedy="name another with --out, or replace it with --force",
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f"_{target.stem}_draft.py")  # never taken for a contract
    try:
        draft.write_text(text, encoding="utf-8", errors="backslashreplace")
        load_contract(draft)
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
