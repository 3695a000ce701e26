"""``sluice status``."""

from services.cli.app import HERE, AsJson, Folder, app


@app.command()
def status(project: Folder = HERE, *, as_json: AsJson = False) -> None:
    """Show where every stream stands: log, loads, lag, dead letters, and the processes."""
    from services.cli.running import with_project
    from services.cli.status import show_status

    with_project(project, "status", lambda opened: show_status(opened, as_json=as_json))
