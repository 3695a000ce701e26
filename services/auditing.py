"""Audits a project's books."""

from collections.abc import Callable

from consumers.audit import AuditPorts, audit_once
from consumers.books import Books
from services.bootstrap import Project


def audit_project(
    project: Project, progress: Callable[[str, int], None] = lambda _topic, _count: None
) -> Books:
    """Prove the books of every stream. Raises TransientError and SetupError."""
    warehouse = project.warehouse()
    try:
        ports = AuditPorts(project.reader(), warehouse, progress)
        return audit_once(ports, project.streams)
    finally:
        warehouse.close()
