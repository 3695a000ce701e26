"""What ``sluice apply`` does, and says."""

from dataclasses import asdict

import typer

from services.bootstrap import Project
from services.cli.answers import print_json
from services.exit_codes import ExitCode
from services.settings import Kafka
from services.setup.apply import Changes, apply_tables, apply_topics, topic_specs


def apply_project(project: Project) -> Changes:
    """Schema ids, topics and tables as the contracts say."""
    changes = Changes()
    _ = project.schema_ids
    specs = topic_specs(project.streams, project.settings.kafka or Kafka())
    apply_topics(project.admin(), specs, changes)
    warehouse = project.warehouse()
    try:
        apply_tables(warehouse, project.streams, changes)
    finally:
        warehouse.close()
    return changes


def apply_all(project: Project, *, as_json: bool = False) -> ExitCode:
    """Apply, and list what was done."""
    changes = apply_project(project)
    if as_json:
        print_json(asdict(changes))
    else:
        for line in changes.done or ["nothing to do"]:
            typer.echo(line)
        for line in changes.differences:
            typer.echo(f"differs: {line}", err=True)
        for line in changes.warnings:
            typer.echo(f"warning: {line}", err=True)
    return ExitCode.CHECK_FAILED if changes.differences else ExitCode.OK
