"""Audits a project's books."""

from collections.abc import Callable

from consumers.books.audit import AuditPorts, audit_once
from consumers.books.balance import Books
from consumers.reading.decode import SchemaLookup
from services.bootstrap import Project

Progress = Callable[[str, int], None]


def audit_project(project: Project, progress: Progress = lambda _topic, _count: None) -> Books:
    """Prove the books of every stream by counts. Raises TransientError and SetupError."""
    return _audited(project, progress, None)


def audit_project_by_ids(
    project: Project, progress: Progress = lambda _topic, _count: None
) -> Books:
    """The same, and look at the ids of all events: that duplicates are duplicates."""
    return _audited(project, progress, project.registry.schema)


def _audited(project: Project, progress: Progress, lookup: SchemaLookup | None) -> Books:
    reader, warehouse = project.reader(), project.warehouse()
    try:
        return audit_once(AuditPorts(reader, warehouse, progress, lookup), project.streams)
    finally:
        warehouse.close()
        reader.close()
