"""``sluice contract``."""

from pathlib import Path
from typing import Annotated

import typer

from services.cli.app import HERE, AsJson, Folder, app

SAMPLES_MAX = 10_000

contract = typer.Typer(help="Show contracts and what follows from them.", no_args_is_help=True)
app.add_typer(contract, name="contract")

Name = Annotated[str, typer.Argument(metavar="STREAM", help="Such as shop.orders.")]
Out = Annotated[
    Path | None, typer.Option("--out", help="The file to write; - writes to standard output.")
]


@contract.command()
def show(stream: Name, project: Folder = HERE, *, as_json: AsJson = False) -> None:
    """Show a stream's fields with types, rules and roles."""
    from services.cli.contract import show_fields
    from services.cli.running import answer

    answer("contract", lambda: show_fields(project, stream, as_json=as_json))


@contract.command()
def ddl(stream: Name, project: Folder = HERE, *, as_json: AsJson = False) -> None:
    """Show the statement that creates the stream's table."""
    from services.cli.contract import show_ddl
    from services.cli.running import answer

    answer("contract", lambda: show_ddl(project, stream, as_json=as_json))


@contract.command()
def avro(stream: Name, project: Folder = HERE, *, as_json: AsJson = False) -> None:
    """Show the Avro schema of the stream's events, as JSON."""
    from services.cli.contract import show_avro
    from services.cli.running import answer

    del as_json  # it is JSON either way
    answer("contract", lambda: show_avro(project, stream))


@contract.command(name="dictionary")
def dictionary_command(stream: Name, project: Folder = HERE, *, as_json: AsJson = False) -> None:
    """Show the stream's page of the data dictionary, in Markdown."""
    from services.cli.contract import show_page
    from services.cli.running import answer

    answer("contract", lambda: show_page(project, stream, as_json=as_json))


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
    from services.cli.contract import Draft, from_samples, from_table, target_of

    draft = Draft(stream, out or target_of(project, stream), force, as_json)
    if samples is not None:
        from_samples(draft, samples, limit)
    else:
        from_table(draft, project, limit)
