"""``sluice gateway``, ``poller``, ``loader``, ``apply``."""

from typing import Annotated

import typer

from services.cli.app import HERE, AsJson, Folder, app


@app.command()
def gateway(project: Folder = HERE) -> None:
    """Receive webhooks."""
    from services.cli.running import with_project
    from services.processes.gateway import run_gateway

    with_project(project, "gateway", run_gateway)


@app.command()
def poller(
    project: Folder = HERE,
    *,
    once: Annotated[bool, typer.Option(help="Poll every stream once, then end.")] = False,
) -> None:
    """Poll sources."""
    from services.cli.running import with_project
    from services.processes.poller import run_poller

    with_project(project, "poller", lambda opened: run_poller(opened, once=once))


@app.command()
def loader(project: Folder = HERE) -> None:
    """Load events into the warehouse."""
    from services.cli.running import with_project
    from services.processes.loader import run_loader

    with_project(project, "loader", run_loader)


@app.command(name="apply")
def apply_command(project: Folder = HERE, *, as_json: AsJson = False) -> None:
    """Create topics, tables and schema ids that the contracts ask for.

    Ends with 1 where something that is there differs and a person has to decide.
    """
    from services.cli.applying import apply_all
    from services.cli.running import with_project

    with_project(project, "apply", lambda opened: apply_all(opened, as_json=as_json))
