"""``sluice contract``: what a stream promises, and what follows from it."""

import re
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

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
from services.cli.app import HERE, AsJson, Folder, answer, app, require_project, with_project
from services.exit_codes import ExitCode
from services.infer import contract_text
from services.project import CONTRACTS, load_contract
from services.samples import parse_record, read_samples

SAMPLES_MAX = 10_000

contract = typer.Typer(help="Show contracts and what follows from them.", no_args_is_help=True)
app.add_typer(contract, name="contract")

Name = Annotated[str, typer.Argument(metavar="STREAM", help="Such as shop.orders.")]
Out = Annotated[
    Path | None, typer.Option("--out", help="The file to write; - writes to standard output.")
]


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


@contract.command()
def show(stream: Name, project: Folder = HERE, *, as_json: AsJson = False) -> None:
    """Show a stream's fields with types, rules and roles."""

    def run() -> ExitCode:
        found = _contract(project, stream)
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
                fact.name,
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

    answer("contract", run)


@contract.command()
def ddl(stream: Name, project: Folder = HERE, *, as_json: AsJson = False) -> None:
    """Show the statement that creates the stream's table."""

    def run() -> ExitCode:
        statement = ddl_of.create_table(_contract(project, stream))
        print_json({"ddl": statement}) if as_json else typer.echo(f"{statement};")
        return ExitCode.OK

    answer("contract", run)


@contract.command()
def avro(stream: Name, project: Folder = HERE, *, as_json: AsJson = False) -> None:
    """Show the Avro schema of the stream's events, as JSON."""
    del as_json  # it is JSON either way

    def run() -> ExitCode:
        print_json(wire_schema(_contract(project, stream)))
        return ExitCode.OK

    answer("contract", run)


@contract.command(name="dictionary")
def dictionary_command(stream: Name, project: Folder = HERE, *, as_json: AsJson = False) -> None:
    """Show the stream's page of the data dictionary, in Markdown."""

    def run() -> ExitCode:
        page = dictionary.dictionary_page(_contract(project, stream))
        print_json({"page": page}) if as_json else typer.echo(page, nl=False)
        return ExitCode.OK

    answer("contract", run)


@contract.command()
def infer(  # noqa: PLR0913 - one argument an option
    stream: Name,
    samples: Annotated[
        Path | None,
        typer.Argument(help="JSON, a JSON array, NDJSON or CSV; default: the stream's table."),
    ] = None,
    out: Out = None,
    limit: Annotated[int, typer.Option(min=1, help="Most records to look at.")] = SAMPLES_MAX,
    project: Folder = HERE,
    *,
    force: Annotated[bool, typer.Option("--force", help="Replace the file.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write a first contract from what landed in the stream's table, or from a sample file."""
    target = out or project / CONTRACTS / f"{re.sub('[^a-z0-9]+', '_', stream)}.py"

    def write(records: list[dict[str, Any]], origin: str) -> ExitCode:
        _require_name(stream)
        text = contract_text(stream, records, origin)
        if str(target) == "-":
            print_json({"contract": text}) if as_json else typer.echo(text, nl=False)
            return ExitCode.OK
        _write(target, text, force=force)
        if as_json:
            print_json({"file": str(target), "stream": stream, "records": len(records)})
        else:
            typer.echo(f"wrote {target} from {len(records)} records of {origin}")
            notice("review it, above all key and business date; then run: sluice apply")
        return ExitCode.OK

    if samples is not None:
        answer("contract", lambda: write(read_samples(samples, limit), samples.name))
    with_project(
        project, "contract", lambda opened: write(landed(opened, stream, limit), "the table")
    )


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
