"""``sluice up``."""

from services.cli.app import HERE, Folder, app


@app.command()
def up(project: Folder = HERE) -> None:
    """Run every process of the project, supervised; Ctrl-C drains."""
    from services.cli.running import with_project
    from services.cli.up import keep_up, require_startable

    with_project(project, "up", keep_up, require_startable)
