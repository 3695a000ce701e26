"""Audits a project's books."""

from collections.abc import Callable

from consumers.audit import AuditPorts, audit_once
from consumers.books import Books
from services.bootstrap import Project


def audit_project(
    project: Project, progress: Callable[[str, int], None] = lambda _topic, _count: None
) -> Books:
    """Prove the books of every stream. Raises TransientError and SetupError."""
    reader, warehouse = project.reader(), project.warehouse()
    try:
        return audit_once(AuditPorts(reader, warehouse, progress), project.streams)
    finally:
        warehouse.close()
        reader.close()
